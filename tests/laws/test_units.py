"""Fits of small, large, constant, collinear or too few numbers: finite and monotone, in any unit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.emissions import (
    AdditiveNormal,
    FactorNormal,
    LinearRegression,
    Mixture,
    MultivariateLinearRegression,
    MultivariateNormal,
    MultivariateStudentT,
    NoisyNormal,
    Normal,
    SharedScaleNormal,
    StudentT,
    TiedMultivariateNormal,
)
from ssm.numeric.trees import float_dtype
from ssm.parameters import constrain

KEY = jax.random.key(0)
TOTAL = 120
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "float64"])


def chain(emission: Any) -> ssm.HMM:
    return ssm.HMM([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], emission)


def states(rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.uniform(size=TOTAL) < 0.1) % 2


def finite(model: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(constrain(model)))


def monotone(fit: Any) -> bool:
    """Up to the rounding of an evidence: 200 epsilons of its size, as EM itself asks, and of one nat a step."""
    reached, epsilon = np.append(fit.start_log_prob, fit.log_probs), float(jnp.finfo(float_dtype(fit.model)).eps)
    return (np.diff(reached) > -200 * epsilon * (np.abs(reached[1:]) + TOTAL)).all()


# -- units ---------------------------------------------------------------------------------------------------------


def started(kind: str, unit: float, size: int = 2) -> Any:
    loc, scale = np.array([0.0, 3.0]) * unit, np.ones(2) * unit
    vectors, spread = np.stack([loc, scale], 1), np.broadcast_to(np.eye(2) * unit**2, (2, 2, 2))
    return {
        "normal": lambda: Normal(loc, scale),
        "shared": lambda: SharedScaleNormal(loc, scale[:1]),
        "additive": lambda: AdditiveNormal([loc], unit),
        "student": lambda: StudentT(loc, scale, [5.0, 5.0]),
        "mixture": lambda: Mixture([[1.0], [1.0]], Normal(loc, scale)),
        "multivariate": lambda: MultivariateNormal(vectors, spread),
        "tied": lambda: TiedMultivariateNormal(vectors, spread[0]),
        "multivariate-t": lambda: MultivariateStudentT(vectors, spread, [5.0, 5.0]),
        "factor": lambda: FactorNormal(vectors, np.ones((2, 2, 1)) * unit / 2, np.ones((2, 2)) * unit),
        "regression": lambda: LinearRegression([[0.0], [0.0]], loc, scale),
        "regression-vector": lambda: MultivariateLinearRegression(np.zeros((2, 2, 1)), vectors, spread),
        "noisy": lambda: NoisyNormal(loc, scale),
    }[kind]()


KINDS = ["normal", "shared", "additive", "student", "mixture", "noisy", "multivariate", "tied", "multivariate-t"]
KINDS += ["factor", "regression", "regression-vector"]


@pytest.mark.parametrize("kind", KINDS)
def test_units_change_nothing(kind: str) -> None:
    """log p(c y) = log p(y) - T N log c, step by step of EM; one state lies on a point, so that floors are reached."""
    rng = np.random.default_rng(0)
    z = states(rng)
    ys = z * 3 + np.where(z == 1, 0, rng.normal(size=TOTAL))
    wide = kind in ("multivariate", "tied", "multivariate-t", "factor", "regression-vector")
    ys = np.stack([ys, rng.normal(size=TOTAL)], 1) if wide else ys
    us = {"regression": rng.normal(size=(TOTAL, 1)), "regression-vector": rng.normal(size=(TOTAL, 1))}.get(kind)
    reached = []
    for unit in (1e-6, 1.0, 1e6):
        inputs = np.full((TOTAL, 1), 0.1 * unit) if kind == "noisy" else us
        fit = ssm.fit(chain(started(kind, unit)), (ys * unit).astype(np.float32), ssm.EM(8, tol=0), inputs=inputs)
        assert finite(fit.model) and monotone(fit)
        reached.append(fit.log_probs + TOTAL * (2 if wide else 1) * np.log(unit))
    # Log-probabilities of 14 a step, rounded by some 1e-7 of themselves; units no powers of two round the data.
    count = min(len(each) for each in reached)  # EM stops where rounding leaves no gain
    for other in (reached[0], reached[2]):
        np.testing.assert_allclose(other[:count], reached[1][:count], rtol=1e-5, atol=1e-4 * TOTAL)


# -- each state around its own centre ------------------------------------------------------------------------------


def far_apart(distance: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    z = states(rng)
    return z, (z * distance + rng.normal(size=TOTAL)).astype(np.float32)


@pytest.mark.parametrize("distance", [pytest.param(1e4, marks=pytest.mark.slow), 1e6])
@pytest.mark.parametrize("kind", KINDS)
def test_a_far_state_costs_the_others_no_digits(kind: str, distance: float) -> None:
    """The M-step of known states, against float64 of the same numbers."""
    z, ys = far_apart(distance)
    wide = kind in ("multivariate", "tied", "multivariate-t", "factor", "regression-vector")
    other = np.random.default_rng(2).normal(size=TOTAL).astype(np.float32)
    rows = np.stack([ys, other], 1) if wide else ys
    us = np.linspace(-1, 1, TOTAL)[:, None].astype(np.float32)
    us = np.zeros_like(us) if kind == "noisy" else us
    weights = np.eye(2, dtype=np.float32)[z]
    found = {}
    for precision in ("float32", "float64"):
        with jax.enable_x64(precision == "float64"):
            as_asked = lambda array, precision=precision: jnp.asarray(array, precision)
            move = jax.jit(lambda e, w, y, u: constrain(e).maximise(w, y, u, None))
            start = jax.tree.map(as_asked, started(kind, 1.0))
            for _ in range(2):  # families that climb start from where the state is
                start = move(start, *(as_asked(array) for array in (weights, rows, us)))
            found[precision] = [np.asarray(leaf, float) for leaf in jax.tree.leaves(start)]
    for plain, exact in zip(found["float32"], found["float64"], strict=True):
        # What belongs to the state around 0 has its digits; the other's means are rounded with its data.
        own = [array[0] if array.shape[:1] == (2,) else array for array in (plain, exact)]
        # A scale that both share has the rounding of the other's mean, 1 / 16, in it: its square is wrong by 1e-3.
        pooled = kind in ("shared", "additive", "tied")
        np.testing.assert_allclose(*own, rtol=2e-3 if pooled else 1e-4, atol=1e-4)


@pytest.mark.parametrize("distance", [1e4, 1e6])
def test_em_with_a_far_state_is_that_of_float64(distance: float) -> None:
    z, ys = far_apart(distance)
    fit = ssm.fit(chain(Normal([0.3, distance + 0.3], [1.0, 1.0])), ys, ssm.EM(10))
    assert monotone(fit)
    groups = [ys[z == k].astype(float) for k in (0, 1)]
    np.testing.assert_allclose(fit.model.emission.loc, [g.mean() for g in groups], rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(fit.model.emission.scale, [g.std() for g in groups], rtol=2e-3)  # its mean is rounded


# -- directions without variance -----------------------------------------------------------------------------------


DEGENERATE = ["few rows", "duplicated", "one-hot", "constant", "zero"]


def degenerate(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    base = states(rng) * 3 + rng.normal(size=TOTAL)
    return {
        "few rows": lambda: rng.normal(size=(30, 12)),
        "duplicated": lambda: np.stack([base, base, rng.normal(size=TOTAL)], 1),
        "one-hot": lambda: np.eye(4)[rng.integers(0, 4, TOTAL)],
        "constant": lambda: np.stack([base, np.full(TOTAL, 5.0)], 1),
        "zero": lambda: np.stack([base, np.zeros(TOTAL)], 1),
    }[kind]()


def degenerate_cases() -> list[Any]:
    """In every run the hardest of each family, in float32."""
    always = {(MultivariateNormal, "few rows"), (TiedMultivariateNormal, "duplicated"), (Normal, "zero")}
    always |= {(MultivariateNormal, "one-hot"), (FactorNormal, "duplicated")}
    families = (Normal, MultivariateNormal, TiedMultivariateNormal, FactorNormal)
    cases = [(f, k, p) for f in families for k in DEGENERATE for p in ("float32", "float64")]
    kept = lambda family, kind, precision: precision == "float32" and (family, kind) in always
    return [pytest.param(*case, marks=[] if kept(*case) else [pytest.mark.slow]) for case in cases]


@pytest.mark.parametrize(("family", "kind", "precision"), degenerate_cases())
def test_directions_without_variance(family: Any, kind: str, precision: str) -> None:
    """All finite and climbing, and where `hmmlearn` goes: what has variance is fitted as if the rest were not there."""
    with jax.enable_x64(precision == "float64"):
        ys = degenerate(kind).astype(precision)
        fit = ssm.fit(chain(family.from_data(KEY, 2, ys)), ys, ssm.EM(15))
        assert finite(fit.model) and monotone(fit) and fit.log_prob > fit.start_log_prob


@PRECISIONS
def test_raised_covariances_are_the_constrained_maximum(precision: str) -> None:
    """No covariance that is allowed has a higher likelihood, and none is below its bounds."""
    with jax.enable_x64(precision == "float64"):
        rng = np.random.default_rng(0)
        ys = jnp.asarray(rng.normal(size=(5, 4)) * [1e-3, 1, 1, 1e3], precision)
        start = constrain(MultivariateNormal.from_data(KEY, 1, ys))
        weights = jnp.ones((5, 1), precision)
        for minimum in (None, 0.5):
            start = MultivariateNormal(start.loc, start.covariance, minimum)
            new = jax.jit(lambda e: constrain(e).maximise(weights, ys, None, None))(start)
            floor = np.linalg.eigvalsh(np.asarray(new.covariance[0], float)).min()
            assert minimum is None or floor > minimum**2 * (1 - 1e-4)
            value = lambda root: float(
                jnp.sum(MultivariateNormal(new.loc, (root @ root.T)[None], minimum).log_likelihoods(ys, None))
            )
            best = value(new.root[0])
            for seed in range(5):
                # Turned and widened: what lies above a bound, a larger matrix does too.
                extra = 0.1 * new.root[0] @ jnp.asarray(np.random.default_rng(seed).normal(size=(4, 4)), precision)
                assert value(jnp.linalg.cholesky(new.covariance[0] + extra @ extra.T)) < best + 1e-3


# -- regimes without noise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", [LinearRegression, MultivariateLinearRegression])
def test_regimes_without_noise(family: Any, precision: str) -> None:
    with jax.enable_x64(precision == "float64"):
        for seed in range(6):
            rng = np.random.default_rng(seed)
            z, us = rng.integers(0, 2, 60), rng.normal(size=(60, 2)) * 10.0 ** rng.uniform(-1, 1)
            weights, bias = 3 * rng.normal(size=(2, 2)), 2 * rng.normal(size=2)
            ys = np.sum(weights[z] * us, axis=1) + bias[z]
            ys = np.stack([ys, 2 * us[:, 0] - bias[z]], 1) if family is MultivariateLinearRegression else ys
            ys, us = ys.astype(precision), us.astype(precision)
            start = family.from_data(jax.random.key(seed), 2, ys, us)
            fit = ssm.fit(chain(start), ys, ssm.EM(30), inputs=us)
            assert finite(fit.model) and fit.log_prob > fit.start_log_prob


# -- heavy tails ---------------------------------------------------------------------------------------------------


@PRECISIONS
@pytest.mark.parametrize("unit", [1e-6, 1.0])
@pytest.mark.parametrize("family", [StudentT, MultivariateStudentT])
def test_one_value_millions_of_scales_away(family: Any, unit: float, precision: str) -> None:
    with jax.enable_x64(precision == "float64"):
        rng = np.random.default_rng(0)
        ys = rng.normal(size=TOTAL)
        ys[50] = 1e6
        ys = (unit * (ys if family is StudentT else np.stack([ys, rng.normal(size=TOTAL)], 1))).astype(precision)
        spread = np.array([unit]) if family is StudentT else np.eye(2)[None] * unit**2
        start = family(np.zeros(1) if family is StudentT else np.zeros((1, 2)), spread, [5.0])
        fit = ssm.fit(ssm.HMM([1.0], [[1.0]], start), ys, ssm.EM(30))
        assert finite(fit.model) and monotone(fit)
        assert 0.3 < fit.model.emission.df[0] < 5
        assert np.abs(np.asarray(fit.model.emission.loc)).max() < 0.5 * unit
