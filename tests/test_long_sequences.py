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
