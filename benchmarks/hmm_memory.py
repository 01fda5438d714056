"""Is there ever an array of T × K × K numbers?"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import table
from ssm.data import observe
from ssm.fitting.em_steps import iterate, start

LENGTH, SIZE, SYMBOLS, WIDTH, INPUTS = 10_000, 64, 30, 8, 2


def main(quick: bool = False) -> str:
    """Temporary memory of compiled verbs at K = 64, T = 10⁴, for every kind of transition; nothing is run."""
    rows, most = [], 4 * LENGTH * SIZE**2
    symbols = np.random.default_rng(0).integers(0, SYMBOLS, LENGTH)
    for name, (model, inputs) in models().items():
        sizes = [temporary(verb, model, symbols, inputs) for verb in (list(VERBS)[:2] if quick else VERBS)]
        if max(sizes) > most / 2:
            raise AssertionError(f"{name}: {max(sizes) / 1e6:.0f} MB of temporaries, more than half a T × K × K array")
        rows.append([name, *(f"{each / 1e6:.1f} MB" for each in sizes)])
    rows.append(["one T × K × K array", *[f"{most / 1e6:.0f} MB"] * (len(rows[0]) - 1)])
    title = f"Temporary memory of one compiled call, T = {LENGTH}, K = {SIZE}, categorical emission, float32"
    return table(title, ["transition", *list(VERBS)[: len(rows[0]) - 1]], rows)


def models() -> dict[str, tuple[ssm.HMM, np.ndarray | None]]:
    """One model of each kind, and its inputs."""
    random = np.random.default_rng(0)
    rows = lambda *shape: random.dirichlet(np.ones(shape[-1]), shape[:-1])
    successors = (np.arange(SIZE)[:, None] + np.arange(WIDTH)) % SIZE
    transitions = {
        "one matrix": rows(SIZE, SIZE),
        f"sparse, {WIDTH} successors": ssm.transitions.Sparse(successors, rows(SIZE, WIDTH)),
        f"low rank, {WIDTH} classes": ssm.transitions.LowRank(rows(SIZE, WIDTH), rows(WIDTH, SIZE)),
        f"driven by {INPUTS} inputs": ssm.transitions.Driven(
            rows(SIZE, SIZE), 0.1 * random.normal(size=(SIZE, SIZE, INPUTS))
        ),
    }
    emission = ssm.emissions.Categorical(rows(SIZE, SYMBOLS))
    inputs = random.normal(size=(LENGTH, INPUTS)).astype(np.float32)
    return {
        name: (ssm.HMM(rows(1, SIZE)[0], each, emission), inputs if name.startswith("driven") else None)
        for name, each in transitions.items()
    }


def improve(model: ssm.HMM, ys: jax.Array, inputs: Any) -> Any:
    """One EM iteration."""
    tolerance = jnp.zeros((), jnp.float32)
    return iterate(start([model]), observe(model, ys, inputs), None, jnp.asarray(1), tolerance, ())


VERBS: dict[str, Callable] = {
    "evidence": ssm.log_prob,
    "gradient": lambda model, ys, inputs: eqx.filter_grad(ssm.log_prob)(model, ys, inputs),
    "smooth": lambda model, ys, inputs: ssm.smooth(model, ys, inputs).smoothed.probs,
    "EM iteration": improve,
    "Viterbi": ssm.decode,
}


def temporary(verb: str, model: ssm.HMM, ys: np.ndarray, inputs: Any) -> int:
    """Bytes that a compiled verb needs beside its arguments and results."""
    compiled = jax.jit(VERBS[verb]).lower(model, jnp.asarray(ys), inputs).compile()
    return compiled.memory_analysis().temp_size_in_bytes
