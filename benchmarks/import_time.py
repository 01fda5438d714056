"""What does `import ssm` cost beyond importing jax, equinox and distrax?"""

import statistics
import subprocess
import sys

BASE = "import jax, equinox, distrax"
WITH = BASE + ", ssm"
ALLOWED = 0.3  # seconds


def seconds(program: str) -> float:
    """Wall-clock time of the imports in a new interpreter, without starting it."""
    timed = f"import time; start = time.perf_counter(); {program}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


def main(rounds: int = 7) -> None:
    """Print the medians of runs taken in turn, and their difference."""
    seconds(WITH)  # bytecode is written, files are in memory
    pairs = [(seconds(BASE), seconds(WITH)) for _ in range(rounds)]
    base, both = (statistics.median(times) for times in zip(*pairs, strict=True))
    extra = statistics.median(after - before for before, after in pairs)
    print(f"{'jax, equinox, distrax':<24}{base:.2f} s")
    print(f"{'and ssm':<24}{both:.2f} s")
    print(f"{'difference':<24}{extra:.2f} s, {'within' if extra <= ALLOWED else 'above'} {ALLOWED} s")


if __name__ == "__main__":
    main()
