"""Subspace identification: the system that made the data, and a start near the maximum."""

import equinox as eqx
import jax
import numpy as np
import pytest

import ssm

pytestmark = pytest.mark.usefixtures("float64")

TURN = 0.95 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
SEEN = np.array([[1.0, 0.4], [-0.3, 1.2], [0.5, 0.5]])
INTO, ACROSS = np.array([[1.0], [-0.5]]), np.array([[0.8], [0.0], [-1.0]])


def series(rng: np.random.Generator, total: int, us: np.ndarray) -> np.ndarray:
    """A damped rotation seen through noise, and moved by inputs."""
    ys, state = [], np.zeros(2)
    for u in us[:total]:
        state = TURN @ state + INTO @ u + 0.5 * rng.normal(size=2)
        ys.append(SEEN @ state + ACROSS @ u + 100 + 0.4 * rng.normal(size=3))
    return np.array(ys)


def test_a_long_series_gives_its_system_away() -> None:
    """Poles and the response to inputs, which do not depend on the coordinates of the state."""
    rng = np.random.default_rng(0)
    us = rng.normal(size=(6000, 1)) + 2
    ys = series(rng, len(us), us)
    model = ssm.LinearGaussian.from_data(2, ys, us)
    poles = lambda matrix: np.sort_complex(np.linalg.eigvals(np.asarray(matrix)))
    # Standard error of a pole about sqrt((1 - 0.95²) / 6000) = 0.004; three of them.
    np.testing.assert_allclose(poles(model.transition_matrix), poles(TURN), atol=0.012)
    respond = lambda seen, matrix, into, k: seen @ np.linalg.matrix_power(np.asarray(matrix), k) @ into
    for k in range(4):
        found = respond(model.emission_matrix, model.transition_matrix, model.transition_input, k)
        expected = respond(SEEN, TURN, INTO, k)
        if k == 0:
            found, expected = found + model.emission_input, expected + ACROSS
        np.testing.assert_allclose(found, expected, atol=0.06)  # noise of about 1 over sqrt(6000), four of them
    # At the mean of the inputs the level is the mean of the data.
    gain = np.linalg.solve(np.eye(2) - np.asarray(model.transition_matrix), model.transition_input)
    steady = np.asarray(model.emission_matrix) @ gain + model.emission_input
    np.testing.assert_allclose(model.emission_bias + steady @ us.mean(0), ys.mean(0), rtol=1e-12)
    halves = ssm.LinearGaussian.from_data(2, ys.reshape(2, 3000, 3), us.reshape(2, 3000, 1), lags=5)
    np.testing.assert_allclose(poles(halves.transition_matrix), poles(TURN), atol=0.012)


def test_it_is_a_better_start_than_random_ones() -> None:
    rng = np.random.default_rng(1)
    ys = series(rng, 200, np.zeros((200, 1)))
    start = ssm.LinearGaussian.from_data(2, ys)
    steps = ssm.data.observe(start, ys).steps
    evidence = eqx.filter_jit(lambda model: ssm.log_prob(model, ys))
    restart = eqx.filter_jit(lambda key: start.restart(key, steps))
    others = [evidence(restart(jax.random.key(seed))) for seed in range(5)]
    assert evidence(start) > max(others) + 0.2 * len(ys)
    values = [np.linalg.eigvalsh(each)[0] for each in (start.transition_covariance, start.emission_covariance)]
    assert min(values) > 0


def test_data_too_short_and_gaps_are_named() -> None:
    with pytest.raises(ValueError, match=r"lags: 2 states take at least 1 lags of 3 components, .* got 10 lags and 0"):
        ssm.LinearGaussian.from_data(2, np.ones((12, 3)), lags=10)
    with pytest.raises(ValueError, match="ys: expected finite numbers, got nan at index"):
        ssm.LinearGaussian.from_data(2, np.full((12, 3), np.nan))
