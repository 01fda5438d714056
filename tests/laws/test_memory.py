"""No array of T × K × K numbers: what the compiled verbs need, for every kind of transition."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.data import observe
from ssm.fitting.em_steps import iterate, start
from ssm.transitions import Driven, LowRank, Sparse

LENGTH, SIZE, WIDTH, INPUTS = 3000, 64, 4, 2  # longer than the length from which blocks go side by side
ALLOWED = 4 * LENGTH * SIZE**2 / 2  # bytes: half of one float32 array; beliefs and tables take 1/64 each


def improve(model: ssm.HMM, ys: jax.Array, us: jax.Array | None) -> object:
    """One EM iteration."""
    once, tolerance = jnp.asarray(1), jnp.zeros((), jnp.float32)
    return iterate(start([model]), observe(model, ys, us), None, once, tolerance, ())


VERBS: dict[str, Callable] = {
    "evidence": ssm.log_prob,
    "gradient": lambda model, ys, us: eqx.filter_grad(ssm.log_prob)(model, ys, us),
    "smooth": lambda model, ys, us: ssm.smooth(model, ys, us).smoothed.probs,
    "em": improve,
    "viterbi": ssm.decode,
}


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), shape[:-1])


KINDS: dict[str, Callable] = {
    "homogeneous": lambda: rows(SIZE, SIZE),
    "sparse": lambda: Sparse((np.arange(SIZE)[:, None] + np.arange(WIDTH)) % SIZE, rows(SIZE, WIDTH)),
    "low-rank": lambda: LowRank(rows(SIZE, WIDTH), rows(WIDTH, SIZE)),
    "driven": lambda: Driven(rows(SIZE, SIZE), np.zeros((SIZE, SIZE, INPUTS))),
}

# Compiling is all that happens here; the two programs that hold most run every time.
CASES = [
    pytest.param(kind, verb, marks=() if (kind, verb) in {("homogeneous", "em"), ("sparse", "gradient")} else marks)
    for marks in [pytest.mark.slow]
    for kind in KINDS
    for verb in VERBS
]


def temporary(kind: str, verb: Callable) -> int:
    """Bytes that a compiled verb needs beside its arguments and its results."""
    model = ssm.HMM(np.full(SIZE, 1 / SIZE), KINDS[kind](), ssm.emissions.Categorical(rows(SIZE, 5)))
    us = jnp.zeros((LENGTH, INPUTS)) if kind == "driven" else None
    compiled = jax.jit(verb).lower(model, jnp.zeros(LENGTH, int), us).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("kind, verb", CASES)
def test_verbs_keep_beliefs_and_no_pairs_of_states(kind: str, verb: str) -> None:
    assert temporary(kind, VERBS[verb]) < ALLOWED


@pytest.mark.slow
def test_what_does_make_pairs_of_states_is_seen() -> None:
    # Composed maps are K × K by nature: the measure finds them.
    assert temporary("homogeneous", lambda *args: ssm.log_prob(*args, schedule="associative")) > ALLOWED
