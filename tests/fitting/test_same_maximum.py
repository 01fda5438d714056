"""EM and gradient methods climb the same evidence: from one start they end at one maximum."""

import jax
import numpy as np
import optax
import pytest

import ssm
from ssm.emissions import Categorical, LinearRegression, Normal, Poisson

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float64")]

LENGTH = 400
TWO, THREE = np.full(2, 1 / 2), np.full(3, 1 / 3)
REGIMES, VAGUE = np.array([[0.95, 0.05], [0.1, 0.9]]), np.array([[0.7, 0.3], [0.3, 0.7]])
SLOW, FASTER = 0.85 * np.eye(3) + 0.05, 0.5 * np.eye(3) + 0.5 / 3
SYMBOLS = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.1, 0.7]])


def sticky(probs: np.ndarray) -> ssm.transitions.Homogeneous:
    return ssm.transitions.Homogeneous(probs, pseudo_counts=5 * np.eye(3))


def line(slope: float) -> LinearRegression:
    return LinearRegression([[slope], [-slope]], [0.0, 1.0], [0.5, 0.5])


def order(probs: np.ndarray, weight: float) -> ssm.ARHMM:
    return ssm.ARHMM(TWO, probs, [[[weight]], [[-weight]]], [[0.0], [0.5]], [[[0.3]], [[0.5]]])


def normal(loc: float, scale: float) -> Normal:
    return Normal([-loc, 0.0, loc], [scale] * 3)


# The truth that makes the data, and a start not far from it.
PAIRS = {
    "categorical": lambda: (
        ssm.HMM(THREE, SLOW, Categorical(SYMBOLS)),
        ssm.HMM(THREE, FASTER, Categorical(0.6 * SYMBOLS + 0.1)),
    ),
    "normal": lambda: (ssm.HMM(THREE, SLOW, normal(3.0, 1.0)), ssm.HMM(THREE, FASTER, normal(2.0, 1.5))),
    "counts": lambda: (
        ssm.HMM(THREE, SLOW, Poisson([1.0, 5.0, 15.0])),
        ssm.HMM(THREE, FASTER, Poisson([2.0, 6.0, 10.0])),
    ),
    "autoregressive": lambda: (order(REGIMES, 0.8), order(VAGUE, 0.4)),
    "regression": lambda: (ssm.HMM(TWO, REGIMES, line(1.5)), ssm.HMM(TWO, VAGUE, line(0.7))),
    "sticky": lambda: (
        ssm.HMM(THREE, sticky(SLOW), normal(3.0, 1.0)),
        ssm.HMM(THREE, sticky(FASTER), normal(2.0, 1.5)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_em_and_gradients_reach_the_same_maximum(name: str) -> None:
    truth, start = PAIRS[name]()
    us = jax.random.normal(jax.random.key(1), (LENGTH, 1)) if name == "regression" else None
    ys = jax.block_until_ready(ssm.simulate(truth, jax.random.key(0), LENGTH, us)[1])
    methods = {
        "EM": ssm.EM(2000, tol=1e-10),
        "SGD": ssm.SGD(optax.adam(0.03), num_epochs=3000),
        "L-BFGS": ssm.LBFGS(500, tol=1e-10),
    }
    # The best first state is certain, which logits only ever approach: it is left as it is.
    frozen = ["chain.initial" if isinstance(start, ssm.ARHMM) else "initial"]
    fits = {key: ssm.fit(start, ys, how, us, frozen=frozen, progress=False) for key, how in methods.items()}
    reached = {key: fit.objective / LENGTH for key, fit in fits.items()}
    assert reached["EM"] > fits["EM"].start_log_prob / LENGTH + 1e-2  # there was something to climb
    # 0.004 nats in all. What is left are probabilities that are best at zero: logits go there for ever, ever slower.
    assert max(reached.values()) - min(reached.values()) < 1e-5, reached
