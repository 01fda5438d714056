"""How much memory do value and gradient of a million steps take?"""

import resource
import time

import jax
import jax.numpy as jnp

import ssm
from benchmarks.timing import finished, table

LENGTH, SIZE = 1_000_000, 32


def main() -> str:
    """T = 10⁶, K = 32: a Gaussian and a categorical HMM, one sequence each; bar 1.5 GiB."""
    key = jax.random.key(0)
    rows = jax.random.dirichlet(key, jnp.ones(SIZE), (SIZE,))
    emissions = {
        "Normal": ssm.emissions.Normal.random(key, SIZE),
        "Categorical": ssm.emissions.Categorical.random(key, SIZE, 27),
    }
    results = []
    for name, emission in emissions.items():
        model = ssm.HMM(rows[0], rows, emission)
        ys = finished(lambda model=model: ssm.simulate(model, key, LENGTH)[1])
        both = jax.jit(jax.value_and_grad(ssm.log_prob)).lower(model, ys).compile()
        memory = both.memory_analysis()
        total = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
        began = time.perf_counter()
        value, _ = finished(lambda both=both, model=model, ys=ys: both(model, ys))
        elapsed = time.perf_counter() - began
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        results.append(
            [name, f"{total / 2**30:.2f} GiB", f"{process:.2f} GiB", f"{elapsed:.2f} s", f"{float(value):.0f}"]
        )
    header = ["emission", "arguments, results and temporaries", "peak of the process", "time", "log-evidence"]
    return table(f"Value and gradient, T = {LENGTH}, K = {SIZE}, float32", header, results)
