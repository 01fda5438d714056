"""What does `import ssm` cost beyond importing jax, equinox and distrax?"""

import os
import statistics
import subprocess
import sys

from benchmarks.timing import table

BASE = "import jax, equinox, distrax"
WITH = BASE + ", ssm"
ALLOWED = 0.3  # seconds


def seconds(program: str) -> float:
    """Wall-clock time of the imports in a new interpreter, without starting it."""
    timed = f"import time; start = time.perf_counter(); {program}; print(time.perf_counter() - start)"
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", timed]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=usual).stdout)


def main(rounds: int = 7) -> str:
    """Medians of imports in new interpreters, the two taken in turn."""
    seconds(WITH)  # bytecode is written, files are in memory
    pairs = [(seconds(BASE), seconds(WITH)) for _ in range(rounds)]
    base, both = (statistics.median(times) for times in zip(*pairs, strict=True))
    extra = statistics.median(after - before for before, after in pairs)
    verdict = f"{'within' if extra <= ALLOWED else 'above'} {ALLOWED} s"
    rows = [["jax, equinox, distrax", f"{base:.2f} s"], ["and ssm", f"{both:.2f} s"]]
    rows += [["difference", f"{extra:.2f} s, {verdict}"]]
    return table("Importing, in a new interpreter", ["import", "median"], rows)
