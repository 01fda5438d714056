"""Simulated checks: draws have the known distribution of a statistic, of equally long data with the same gaps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import ssm

KEY = jax.random.key(0)
NUMBER = 1920


def alternating() -> ssm.HMM:
    """Emits 0 1 0 1 ... or 1 0 1 0 ..."""
    return ssm.HMM([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], ssm.emissions.Categorical(np.eye(2)))


def changes(ys, seen):
    return jnp.sum(jnp.diff(ys) != 0)


def total(ys, seen):
    return jnp.sum(ys, where=seen)


def test_draws_have_the_gaps_and_lengths_of_the_data() -> None:
    """Independent normals: the sum of the m entries that are seen is N(m loc, m scale^2)."""
    model = ssm.HMM([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]], ssm.emissions.Normal([1.0, 1.0], [2.0, 2.0]))
    ys = np.random.default_rng(0).normal(1.0, 2.0, (3, 6)).astype(np.float32)
    mask, lengths = np.ones((3, 6), bool), np.array([6, 2, 4])
    mask[0, :3] = mask[2, 3] = False
    ys[~mask] = np.nan
    ys[1, 2:] = 1e6  # padding
    check = ssm.simulated_check(model, ys, total, NUMBER, KEY, mask=mask, lengths=lengths)
    seen = mask & (np.arange(6) < lengths[:, None])
    np.testing.assert_allclose(check.observed, ys[seen].sum(), rtol=1e-5)  # float32
    known = scipy.stats.norm(seen.sum() * 1.0, np.sqrt(seen.sum()) * 2.0)
    assert check.draws.shape == (NUMBER,)
    assert scipy.stats.kstest(np.asarray(check.draws), known.cdf).pvalue > 1e-3  # one seed in a thousand fails
    # 5 standard errors of 1920 draws are at most 0.057
    np.testing.assert_allclose(check.p_low, known.cdf(check.observed), atol=0.057)
    np.testing.assert_allclose(check.p_high, known.sf(check.observed), atol=0.057)


def test_order_in_time_is_kept() -> None:
    good, bad = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 0, 0])
    usual = ssm.simulated_check(alternating(), good, changes, 49, KEY)
    np.testing.assert_array_equal(usual.draws, 5)
    assert (usual.p_low, usual.p_high, usual.p_value) == (1, 1, 1)
    odd = ssm.simulated_check(alternating(), bad, changes, 49, KEY)
    np.testing.assert_allclose([odd.p_low, odd.p_high, odd.p_value], [1 / 50, 1, 2 / 50], rtol=1e-6)


def test_several_statistics_and_inputs() -> None:
    """Without noise the input is the observation: every draw is the data."""
    tiny = 1e-12 * np.ones((1, 1))
    model = ssm.LinearGaussian([0.0], tiny, [[0.0]], tiny, [[0.0]], tiny, emission_input=[[1.0]])
    us = np.random.default_rng(1).normal(size=(5, 1)).astype(np.float32)
    both = lambda ys, seen: jnp.stack([jnp.min(ys), jnp.max(ys)])
    check = ssm.simulated_check(model, us, both, 3, KEY, us)
    np.testing.assert_allclose(check.observed, [us.min(), us.max()], rtol=1e-6)
    np.testing.assert_allclose(check.draws, np.tile(check.observed, (3, 1)), atol=1e-4)
    assert check.p_value.shape == (2,)


def test_an_unknown_statistic_has_an_unknown_p_value() -> None:
    check = ssm.simulated_check(alternating(), np.array([0, 1, 0]), lambda ys, seen: jnp.nan, 9, KEY)
    assert np.isnan([check.p_low, check.p_high, check.p_value]).all()
    with pytest.raises(ValueError, match="num_simulations: must be at least 1, got 0"):
        ssm.simulated_check(alternating(), np.array([0, 1]), total, 0, KEY)
    with pytest.raises(TypeError, match="key: expected a typed key"):
        ssm.simulated_check(alternating(), np.array([0, 1]), total, 9, 0)
