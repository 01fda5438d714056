"""When is EM faster than a gradient method, and when not?

Seven models whose states are told apart well, and one, "overlapping", whose two states are 1.6 standard deviations
apart: there what EM has to guess is most of what it needs to know, and it slows down.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ssm
from benchmarks.timing import microseconds, table
from ssm.emissions import Categorical, LinearRegression, Normal, Poisson
from ssm.recursion import AbstractRecursion

LENGTH = 2_000
CLOSE = 1e-4  # nats per observation: what counts as the same maximum, and as having reached it
METHODS = {
    "EM": ssm.EM(3_000, tol=1e-7),
    "SGD": ssm.SGD(optax.adam(0.03), num_epochs=3_000, tol=1e-8),
    "L-BFGS": ssm.LBFGS(500, tol=1e-7),
}


def main(quick: bool = False) -> str:
    """EM, Adam on all data and L-BFGS from the same start, until they stop; medians of three fits, compiled before."""
    rows, compiling = [], {method: [] for method in METHODS}
    for name, (start, ys, inputs) in list(problems().items())[: 1 if quick else None]:
        fits = {method: fit(start, ys, inputs, how, 1 if quick else 3) for method, how in METHODS.items()}
        best = max(each.objective for each, _ in fits.values())
        entries, needed = [], {}
        for method, (result, pace) in fits.items():
            gap = (best - result.objective) / result.observations
            if gap > CLOSE:
                raise AssertionError(f"{name}: {method} ends {gap:.1e} nats per observation below the best")
            there = 1 + int(np.argmax(result.log_probs >= best - CLOSE * result.observations))
            needed[method] = there * pace
            entries.append(f"{there} in {microseconds(needed[method])}")
            compiling[method].append(result.compile_seconds)
        rows.append([name, *entries, min(needed, key=needed.get)])
    rows.append(["compiling, once", *(f"{np.median(each):.1f} s" for each in compiling.values()), ""])
    title = (
        f"Iterations, and the time they take, from one start to within {CLOSE:g} nats per observation of the maximum "
        f"that all three methods find, T = {LENGTH}"
    )
    return table(title, ["model", "EM", "SGD (Adam)", "L-BFGS", "fastest"], rows)


def fit(start: AbstractRecursion, ys: jax.Array, inputs: jax.Array | None, method: Any, repeats: int) -> tuple:
    """A fit, and the median seconds of its iterations after everything is compiled."""
    fits = [ssm.fit(start, ys, method, inputs, progress=False) for _ in range(repeats)]
    return fits[0], float(np.median([each.seconds / each.num_iters for each in fits]))


def problems(length: int = LENGTH) -> dict[str, tuple[AbstractRecursion, jax.Array, jax.Array | None]]:
    """Models of several kinds: a start not far from the truth, and data (and inputs) drawn from the truth."""
    key = jax.random.key(0)
    covariates = jax.random.normal(key, (length, 1))
    drawn = {}
    for name, (truth, start) in pairs().items():
        us = covariates if name == "regression" else None
        drawn[name] = (start, jax.block_until_ready(ssm.simulate(truth, key, length, us)[1]), us)
    return drawn


def pairs() -> dict[str, tuple[AbstractRecursion, AbstractRecursion]]:
    """The truth and a start."""
    three, two = jnp.full(3, 1 / 3), jnp.full(2, 1 / 2)
    slow, faster = 0.85 * jnp.eye(3) + 0.05, 0.5 * jnp.eye(3) + 0.5 / 3
    regimes, vague = jnp.array([[0.95, 0.05], [0.1, 0.9]]), jnp.array([[0.7, 0.3], [0.3, 0.7]])
    swap = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    symbols = jnp.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.2, 0.6]])
    near, far = Normal([-2.0, 0.0, 2.0], [1.0, 1.0, 1.0]), Normal([-1.0, 0.2, 1.0], [1.5, 1.5, 1.5])
    sticky = lambda rows: ssm.transitions.Homogeneous(rows, pseudo_counts=5 * jnp.eye(3))
    line = lambda slope: LinearRegression([[slope], [-slope]], [0.0, 1.0], [0.5, 0.5])
    order = lambda weight: ([[[weight]], [[-weight]]], [[0.0], [0.5]], [[[0.3]], [[0.5]]])
    lasting = lambda mean, loc: (ssm.durations.Poisson(mean, 12), Normal([-loc, loc], [1.0, 1.0]))
    return {
        "categorical": (
            ssm.HMM(three, slow, Categorical(symbols)),
            ssm.HMM(three, faster, Categorical(0.6 * symbols + 0.1)),
        ),
        "normal": (ssm.HMM(three, slow, near), ssm.HMM(three, faster, far)),
        "overlapping": (
            ssm.HMM(two, jnp.array([[0.8, 0.2], [0.3, 0.7]]), Normal([-0.8, 0.8], [1.0, 1.0])),
            ssm.HMM(two, vague, Normal([-0.4, 0.4], [1.0, 1.0])),
        ),
        "counts": (
            ssm.HMM(three, slow, Poisson([1.0, 4.0, 10.0])),
            ssm.HMM(three, faster, Poisson([2.0, 5.0, 8.0])),
        ),
        "autoregressive": (ssm.ARHMM(two, regimes, *order(0.8)), ssm.ARHMM(two, vague, *order(0.4))),
        "regression": (ssm.HMM(two, regimes, line(1.5)), ssm.HMM(two, vague, line(0.7))),
        "sticky": (ssm.HMM(three, sticky(slow), near), ssm.HMM(three, sticky(faster), far)),
        "semi-Markov": (
            ssm.HSMM(two, swap, *lasting([3.0, 6.0], 1.0)),
            ssm.HSMM(two, swap, *lasting([4.0, 4.0], 0.5)),
        ),
    }
