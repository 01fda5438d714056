"""How much memory do value and gradient of a million steps take?"""

import pathlib
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import finished, table

LENGTH, SIZE, SYMBOLS = 1_000_000, 32, 27


def main() -> str:
    """T = 10⁶, K = 32: a Gaussian and a categorical HMM, one sequence each, each in a process of its own."""
    rows = []
    for name in ("Normal", "Categorical"):
        command = [sys.executable, "-m", "benchmarks.hmm_million_steps", name]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append([name, *answer.strip().split("\t")])
    header = ["emission", "arguments, results and temporaries", "peak of the process", "time", "log-evidence"]
    return table(f"Value and gradient, T = {LENGTH}, K = {SIZE}, float32", header, rows)


def measure(name: str) -> str:
    """One row, its entries separated by tabs."""
    random = np.random.default_rng(0)
    rows = random.dirichlet(np.ones(SIZE), SIZE)
    if name == "Normal":
        emission = ssm.emissions.Normal(random.normal(size=SIZE), np.ones(SIZE))
        ys = jnp.asarray(random.normal(size=LENGTH), jnp.float32)
    else:
        emission = ssm.emissions.Categorical(random.dirichlet(np.ones(SYMBOLS), SIZE))
        ys = jnp.asarray(random.integers(0, SYMBOLS, LENGTH))
    model = ssm.HMM(rows[0], rows, emission)
    both = jax.jit(jax.value_and_grad(ssm.log_prob)).lower(model, ys).compile()
    memory = both.memory_analysis()
    total = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    began = time.perf_counter()
    value, _ = finished(lambda: both(model, ys))
    elapsed = time.perf_counter() - began
    return f"{total / 2**30:.2f} GiB\t{peak() / 2**30:.2f} GiB\t{elapsed:.2f} s\t{float(value):.0f}"


def peak() -> int:
    """Bytes that this program has held at most; `getrusage` would count those of the program that started it."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 2**10


if __name__ == "__main__":
    print(measure(sys.argv[1]))
