"""States of which observations come to leave no doubt, and states that only the future knows, smoothed and drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import ssm
from ssm.schedules import AbstractSchedule, Sequential

TOTAL = 300
# Filtered variances fall as 0.25^t, so from t = 27 on they are below the rounding of those that they come from, and a
# state's kernel back multiplies by two in a step.
MOVING_AVERAGE = np.array([[0.7, 1.0], [0.0, 0.0]]), np.array([[1.0], [0.5]])


def moving_average(constant: bool, blur: float = 0.0) -> ssm.LinearGaussian:
    """An ARMA(1, 1), seen without noise unless there is `blur`, and if it is `constant`, plus a level.

    Of that level, which nothing moves, the first guess is off by a thousand; all observations tell of it.
    """
    matrix, noise = MOVING_AVERAGE
    if not constant:
        return ssm.LinearGaussian(np.zeros(2), np.eye(2), matrix, noise @ noise.T, np.eye(1, 2), blur * np.eye(1))
    whole, moves = np.eye(3), np.zeros((3, 3))
    whole[:2, :2], moves[:2, :2] = matrix, noise @ noise.T
    start, look = np.diag([1.0, 1.0, 1e6]), np.array([[1.0, 0, 0.1]])
    return ssm.LinearGaussian(np.zeros(3), start, whole, moves, look, np.zeros((1, 1)))


def truth(model: ssm.LinearGaussian, ys: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the states (T, D)."""
    system = oracles.System(*map(np.asarray, oracles.system_of(model, None, len(ys))[:-1]))
    mean, covariance = oracles.condition_all(system, ys, observed)
    states = len(ys) * model.num_dims
    return mean[:states].reshape(len(ys), -1), np.diagonal(covariance)[:states].reshape(len(ys), -1)


def gaps() -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(TOTAL, 1)) > 0.1


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("constant", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("schedule", ["auto", pytest.param("sequential", marks=pytest.mark.slow)])
@pytest.mark.parametrize("observed", [None, gaps()], ids=["whole", "gaps"])
def test_smoothing_is_that_of_the_joint_distribution(constant: bool, schedule: str, observed: np.ndarray) -> None:
    model, ys = moving_average(constant), np.random.default_rng(3).normal(size=(TOTAL, 1))
    found = ssm.smooth(model, ys, mask=observed, schedule=schedule).smoothed
    means, variances = truth(model, ys, np.ones_like(ys, bool) if observed is None else observed)
    # The oracle subtracts from variances of 1e4, of an observation, or one, and divides by its condition number.
    close = 1e-7 if constant else 1e-12
    np.testing.assert_allclose(found.mean, means, rtol=0, atol=close)
    np.testing.assert_allclose(np.diagonal(found.covariance, axis1=1, axis2=2), variances, rtol=0, atol=close)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_draws_have_the_spread_that_is_left(noise: float) -> None:
    model, ys, draws = moving_average(False, noise), np.random.default_rng(3).normal(size=(TOTAL, 1)), 2000
    paths = np.asarray(ssm.posterior_sample(model, jax.random.key(0), ys, draws, mask=gaps()))
    means, variances = truth(model, ys, gaps())
    doubt = np.sqrt(np.maximum(variances, 1e-15))  # which is what the oracle knows of variances
    # Five standard errors of a mean and of a variance; what is certain is so to rounding.
    assert (np.abs(paths.mean(0) - means) <= 5 / np.sqrt(draws) * doubt + 1e-12).all()
    assert (np.abs(paths.var(0) - variances) <= 5 * np.sqrt(2 / draws) * variances + 1e-12).all()
    assert (doubt[:, 1] > 0.1).any() and (doubt[:, 1] < 1e-7).any() == (noise == 0)  # there are both


def vague(dtype: type) -> tuple[ssm.LinearGaussian, np.ndarray, np.ndarray]:
    """A trend of which nothing is known, seen after a long gap: the future knows its past a million times better."""
    start = np.array([[1e6, 0], [0, 1e6]])
    given = np.zeros(2), start, np.array([[1.0, 1], [0, 1]]), 1e-2 * np.eye(2), np.eye(1, 2), np.eye(1)
    ys = np.cumsum(np.random.default_rng(0).normal(size=(60, 1)), axis=0)
    model = ssm.LinearGaussian(*(np.asarray(each, dtype) for each in given))
    return model, ys.astype(dtype), np.arange(60)[:, None] >= 20


@pytest.mark.parametrize("schedule", ["auto", pytest.param(Sequential(), marks=pytest.mark.slow)])
def test_what_the_future_knows_better_keeps_its_digits_in_float32(schedule: str | AbstractSchedule) -> None:
    answers = []
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            model, ys, observed = vague(dtype)
            found = ssm.smooth(model, ys, mask=observed, schedule=schedule).smoothed
            answers.append((np.asarray(found.mean), np.asarray(jnp.diagonal(found.covariance, axis1=1, axis2=2))))
    (mean, variance), (exact, spread) = answers
    assert spread.max() < 1e3  # of 1e6 and 4e8 before anything was seen
    # A subtraction would leave errors of 6e-8 x 4e8 / 1e2; a few hundred roundings of 6e-8 are left.
    np.testing.assert_allclose(variance, spread, rtol=2e-5)
    assert (np.abs(mean - exact) <= 1e-4 * np.sqrt(spread)).all()


@pytest.mark.parametrize("schedule", ["side_by_side", pytest.param("sequential", marks=pytest.mark.slow)])
def test_what_nothing_was_known_of_is_smoothed_and_counted_in_float32(schedule: str) -> None:
    """Of a start with a variance of 1e6 the first two observations leave next to nothing."""
    answers = []
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            model, ys, _ = vague(dtype)
            found = ssm.smooth(model, ys, schedule=schedule).smoothed
            counted = ssm.expected_statistics(model, ys, schedule=schedule)
            regressions = counted.initial.targets, counted.transition.regressors, counted.emission.regressors
            answers.append([np.asarray(each) for each in (found.mean, found.covariance, *regressions)])
    (mean, spread, *single), (exact, covariance, *double) = answers
    deviation = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    # A subtraction would leave errors of 6e-8 x 1e6 in covariances, and as large ones in means: they were 0.03.
    assert (np.abs(mean - exact) <= 1e-4 * deviation).all()
    np.testing.assert_allclose(spread, covariance, atol=1e-5 * np.max(covariance))
    for one, other in zip(single, double, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


def test_what_nothing_was_known_of_is_drawn_in_float32() -> None:
    """Two draws a step apart differ by what the trend allows: rounding of 6e-8 x 1e6 or more would stand out."""
    model, ys, observed = vague(np.float32)
    draws = 2000
    paths = np.asarray(ssm.posterior_sample(model, jax.random.key(0), ys, draws, mask=observed), np.float64)
    with jax.enable_x64(True):
        wide, data, _ = vague(np.float64)
        means, variances = truth(wide, data, observed)
    spread = np.sqrt(variances)
    # Five standard errors of a mean and of a variance.
    assert (np.abs(paths.mean(0) - means) <= 5 / np.sqrt(draws) * spread).all()
    assert (np.abs(paths.var(0) - variances) <= 5 * np.sqrt(2 / draws) * variances).all()
    moves = np.diff(paths, axis=1) - np.stack([paths[:, :-1, 1], np.zeros_like(paths[:, :-1, 1])], axis=-1)
    assert np.abs(moves).max() <= 6 * 0.1  # six standard deviations of the noise, of 240,000 draws
