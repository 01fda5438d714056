"""A million steps in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm

STATES, TOTAL = 5, 1_000_000


def rows(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.dirichlet(np.ones(size), STATES).astype(np.float32)


EMISSIONS = {
    "categorical": lambda rng: ssm.emissions.Categorical(rows(rng, 8)),
    "normal": lambda rng: ssm.emissions.Normal(
        np.linspace(-3, 3, STATES, dtype=np.float32), np.ones(STATES, np.float32)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EMISSIONS)
def test_a_million_steps_in_float32_are_within_their_bound(name: str) -> None:
    rng = np.random.default_rng(0)
    transition = 0.9 * np.eye(STATES, dtype=np.float32) + 0.1 * rows(rng, STATES)
    single = ssm.HMM(np.full(STATES, 1 / STATES, np.float32), transition, EMISSIONS[name](rng))
    ys = jax.block_until_ready(ssm.simulate(single, jax.random.key(0), TOTAL)[1])
    answer = ssm.smooth(single, ys)
    evidence = ssm.log_prob(single, ys)
    with jax.enable_x64(True):
        # Both from the same rounded numbers, so that only the arithmetic differs.
        wide = lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf
        double, data = jax.tree.map(wide, single), wide(ys)
        increments = np.asarray(ssm.filter(double, data).log_evidence)
        truth = np.asarray(ssm.smooth(double, data).smoothed.probs)
    # The bound of law 12: sixteen roundings of 2⁻²⁴ a step, of its increment or of one, without counting on errors
    # of both signs to cancel. Measured: 80 times below it.
    allowed = 16 * 2.0**-24 * np.sum(np.maximum(1, np.abs(increments)))
    for found in (evidence, answer.log_prob):
        assert found.dtype == jnp.float32
        assert abs(float(found) - increments.sum()) < allowed
    # A filter that forgets carries the roundings of few steps, whatever T is. Measured: 2e-5 at most.
    np.testing.assert_allclose(np.asarray(answer.smoothed.probs, float), truth, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["side_by_side", "sequential"])
def test_a_kalman_filter_of_long_series_in_float32_is_within_its_bound(schedule: str) -> None:
    # Variances of 10⁻³ to 10³ at the start (condition 10⁶), a state without noise of its own, a slow rotation.
    rotation = 0.995 * np.array([[np.cos(0.1), np.sin(0.1), 0], [-np.sin(0.1), np.cos(0.1), 0], [0.1, 0, 0.9]])
    single = ssm.LinearGaussian(
        np.zeros(3, np.float32),
        np.diag([1e-3, 1.0, 1e3]).astype(np.float32),
        rotation.astype(np.float32),
        np.diag([0.1, 0.0, 0.01]).astype(np.float32),
        np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], np.float32),
        np.diag([0.5, 2.0]).astype(np.float32),
    )
    ys = jax.block_until_ready(ssm.simulate(single, jax.random.key(1), 100_000)[1])
    evidence = ssm.log_prob(single, ys, schedule=schedule)
    means = ssm.smooth(single, ys, schedule=schedule).smoothed.mean
    with jax.enable_x64(True):
        double, data = jax.tree.map(lambda leaf: leaf.astype(np.float64), (single, ys))
        increments = np.asarray(ssm.filter(double, data, schedule="sequential").log_evidence)
        smoothed = ssm.smooth(double, data, schedule="sequential").smoothed
        deviations = np.sqrt(np.diagonal(np.asarray(smoothed.covariance), axis1=1, axis2=2))
        truth = np.asarray(smoothed.mean)
    assert evidence.dtype == jnp.float32
    # The bound of law 12, as above. Measured: 460 times below it.
    assert abs(float(evidence) - increments.sum()) < 16 * 2.0**-24 * np.sum(np.maximum(1, np.abs(increments)))
    # Errors of a mean, in its own standard deviations. Measured: 1e-4, and 2e-5 in order.
    assert np.max(np.abs(np.asarray(means, float) - truth) / deviations) < 1e-3
