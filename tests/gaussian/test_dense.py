"""Linear-Gaussian models against the joint normal distribution of all states and observations, in every combination."""

import itertools
from typing import NamedTuple

import jax
import numpy as np
import pytest
from oracles import _block_diagonal, _joint, system_of

import ssm
from ssm.schedules import Blocked, SideBySide

pytestmark = pytest.mark.usefixtures("float64")

TOTAL, CLOSE = 6, {"rtol": 1e-9, "atol": 1e-9}  # two float64 computations of numbers of order one
GAPS = np.array([[0, 1], [0, 0], [1, 1], [1, 0], [1, 1], [0, 1]], bool)
NOTHING_MISSING = np.ones_like(GAPS)


class Features(NamedTuple):
    """What a model has beside constant matrices."""

    missing: bool = False
    varying: bool = False
    inputs: bool = False
    diffuse: bool = False
    singular: bool = False
    correlated: bool = False


def model_of(features: Features) -> ssm.LinearGaussian:
    """Three states seen through two observations."""
    rng = np.random.default_rng(0)
    lead = (TOTAL,) if features.varying else ()
    draw = lambda *shape: rng.normal(size=(*lead, *shape))
    square = lambda root: root @ np.swapaxes(root, -1, -2)
    loading, shared = draw(3, 1 if features.singular else 3), draw(2, 1 if features.singular else 3)
    shared = shared * features.correlated
    return ssm.LinearGaussian(
        rng.normal(size=3),
        np.diag([1.0, 0.5, 0.0 if features.singular else 2.0]),
        0.6 * draw(3, 3),
        square(loading),
        draw(2, 3),
        square(draw(2, 2)) + 0.2 * np.eye(2) + square(shared),
        *((draw(3), draw(2), draw(3, 2), draw(2, 2)) if features.inputs else ()),
        diffuse=np.array([True, False, True]) if features.diffuse else None,
        cross_covariance=loading @ np.swapaxes(shared, -1, -2) if features.correlated else None,
    )


def data_of(features: Features) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    rng = np.random.default_rng(1)
    ys, us = rng.normal(size=(TOTAL, 2)), rng.normal(size=(TOTAL, 2))
    return ys, us if features.inputs else None, GAPS if features.missing else NOTHING_MISSING


class Posterior(NamedTuple):
    """Of the whole path, (T·D,) and (T·D, T·D)."""

    log_prob: float
    mean: np.ndarray
    covariance: np.ndarray


def posterior(model: ssm.LinearGaussian, ys: np.ndarray, us: np.ndarray | None, seen: np.ndarray) -> Posterior:
    """By generalised least squares in what is diffuse at the start, a regression of everything on it."""
    total, size = len(ys), model.num_dims
    system = system_of(model, us, total)
    known = model.known
    start = np.asarray(system.initial_covariance) * np.outer(known, known)
    system = system._replace(initial_mean=np.where(known, system.initial_mean, 0), initial_covariance=start)
    means, states, y_mean, y_covariance, across = _joint(system)
    paths = [np.eye(size)[:, ~known]]
    for matrix in system.transition_matrix[1:]:
        paths.append(np.asarray(matrix) @ paths[-1])
    path = np.concatenate(paths)
    those = np.flatnonzero(seen)
    look = (_block_diagonal(np.asarray(system.emission_matrix)) @ path)[those]
    spread, across = y_covariance[np.ix_(those, those)], across[:, those]
    residual = ys.ravel()[those] - y_mean[those]
    weigh = lambda right: np.linalg.solve(spread, right)
    information = look.T @ weigh(look)
    start = np.linalg.solve(information, look.T @ weigh(residual))
    left = residual - look @ start
    moved = path - across @ weigh(look)
    logs = np.linalg.slogdet(2 * np.pi * spread)[1] + np.linalg.slogdet(information)[1] + residual @ weigh(left)
    return Posterior(
        -logs / 2,
        means + path @ start + across @ weigh(left),
        states - across @ weigh(across.T) + moved @ np.linalg.solve(information, moved.T),
    )


def blocks(covariance: np.ndarray, size: int = 3) -> np.ndarray:
    """Those of single times."""
    return np.stack([covariance[t : t + size, t : t + size] for t in range(0, len(covariance), size)])


def combinations() -> list:
    """All of them, for every schedule; the one with everything is not slow, with correlated noises few are there."""
    every = []
    for flags in itertools.product([True, False], repeat=6):
        features = Features(*flags)
        if features.correlated and not features.missing == features.varying == features.inputs:
            continue
        for schedule in (
            ("sequential",) if features.diffuse else ("sequential", "associative", "blocked", "lanes", "auto")
        ):
            marks = () if all(flags) else pytest.mark.slow
            name = " ".join(name for name, flag in features._asdict().items() if flag) or "plain"
            every.append(pytest.param(features, schedule, marks=marks, id=f"{name}, {schedule}"))
    return every


@pytest.mark.parametrize(("features", "schedule"), combinations())
def test_smoothed_beliefs_and_evidence_are_those_of_the_joint_distribution(features: Features, schedule: str) -> None:
    model, (ys, us, seen) = model_of(features), data_of(features)
    truth = posterior(model, ys, us, seen)
    mask = seen if features.missing else None
    how = {"blocked": Blocked(2), "lanes": SideBySide(lanes=2)}.get(schedule, schedule)
    answer = ssm.smooth(model, ys, us, mask=mask, schedule=how)
    np.testing.assert_allclose(answer.log_prob, truth.log_prob, **CLOSE)
    # Behind the three states there is the noise of what is seen, where it is correlated with theirs.
    np.testing.assert_allclose(answer.smoothed.mean[:, :3].ravel(), truth.mean, **CLOSE)
    np.testing.assert_allclose(answer.smoothed.covariance[:, :3, :3], blocks(truth.covariance), **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_fixed_lag_with_a_diffuse_start(lag: int) -> None:
    features = Features(missing=True, inputs=True, diffuse=True)
    model, (ys, us, seen) = model_of(features), data_of(features)
    assert us is not None
    upto = [ssm.smooth(model, ys[:size], us[:size], mask=seen[:size]).smoothed for size in range(1, TOTAL + 1)]
    whole = ssm.fixed_lag_smooth(model, ys, lag, us, mask=seen).smoothed
    stream = ssm.fixed_lag(model, lag)
    state = stream.init(us[0])

    def same(answer, truth) -> None:
        known = np.isfinite(np.diagonal(truth.covariance, axis1=-2, axis2=-1))  # else a mean stands for nothing
        np.testing.assert_allclose(answer.covariance, truth.covariance, **CLOSE)
        np.testing.assert_allclose(np.asarray(answer.mean)[known], np.asarray(truth.mean)[known], **CLOSE)

    at = lambda belief, which: jax.tree.map(lambda leaf: leaf[which], belief)
    for t in range(TOTAL):
        same(at(whole, t), at(upto[min(t + lag, TOTAL - 1)], t))
        state, _ = stream.step(state, np.where(seen[t], ys[t], np.nan), us[t])
        back = slice(-min(lag + 1, t + 1), None)
        same(at(state.smoothed, back), at(upto[t], back))


@pytest.mark.parametrize(
    "features",
    [
        Features(True, True, True, True),
        pytest.param(Features(True, False, True, False, True), marks=pytest.mark.slow),
        pytest.param(Features(True, False, True, correlated=True), marks=pytest.mark.slow),
    ],
)
def test_drawn_paths_have_the_moments_of_the_joint_distribution(features: Features) -> None:
    # Two sequences of unlike length; all covariances along a path, that of neighbours among them.
    model, (ys, us, seen) = model_of(features), data_of(features)
    lengths, draws = (TOTAL, TOTAL - 1), 20_000
    twice = lambda array: None if array is None else np.stack([array, array])
    paths = np.asarray(
        ssm.posterior_sample(
            model, jax.random.key(0), twice(ys), draws, twice(us), mask=twice(seen), lengths=np.array(lengths)
        )
    )
    assert np.all(np.isfinite(paths[0]))
    for drawn, size in zip(paths, lengths, strict=True):
        truth = posterior(model, ys[:size], None if us is None else us[:size], seen[:size])
        drawn, spread = drawn[:, :size, :3].reshape(draws, -1), np.sqrt(np.diagonal(truth.covariance))
        spread = np.where(spread > 1e-7, spread, 1e-7)  # of a state without noise: exactly its mean, to rounding
        # Five standard errors, of means and of covariances: 2e-4 that one of some 200 numbers falls out.
        error = 5 / np.sqrt(draws)
        np.testing.assert_allclose((drawn.mean(0) - truth.mean) / spread, 0, atol=error)
        scaled = (np.cov(drawn.T) - truth.covariance) / np.outer(spread, spread)
        np.testing.assert_allclose(scaled, 0, atol=error * np.sqrt(2))
