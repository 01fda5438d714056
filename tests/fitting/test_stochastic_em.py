"""Stochastic EM: EM where a batch is everything, running averages in closed form, and loud where it cannot be."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

import ssm
from ssm.transitions import Driven, Homogeneous

pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key(0)


def series(count: int = 6, length: int = 12) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.normal(np.where((np.arange(length) // 4) % 2, 2.0, -1.0), 0.7, (count, length))


def model() -> ssm.HMM:
    transition = Homogeneous([[0.8, 0.2], [0.3, 0.7]], 1.5)
    return ssm.HMM([0.6, 0.4], transition, ssm.emissions.Normal([-1.0, 1.5], [1.0, 0.8]))


def test_one_batch_of_everything_at_full_rate_is_em():
    """Also with a prior, missing values, lengths and frozen parameters."""
    ys, lengths = series(), np.array([12, 12, 7, 3, 12, 1])
    ys[0, 4:6] = np.nan
    more: dict[str, Any] = {"lengths": lengths, "frozen": ["emission.scale"], "key": KEY}
    em = ssm.fit(model(), ys, ssm.EM(4, tol=0.0), **more).model
    online = ssm.fit(model(), ys, ssm.StochasticEM(4, batch_size=6, step_size=1.0), **more)
    for a, b in zip(jax.tree.leaves(online.model), jax.tree.leaves(em), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)  # sums in another order
    np.testing.assert_allclose(online.start_log_prob, ssm.log_prob(model(), ys, lengths=lengths).sum(), rtol=1e-12)
    np.testing.assert_allclose(online.log_prob, ssm.log_prob(em, ys, lengths=lengths).sum(), rtol=1e-9)


def test_rates_of_one_over_n_average_all_batches():
    """One state has nothing to infer, so the running average over an epoch is that of all the data, exactly."""
    ys = series()
    start = ssm.HMM([1.0], [[1.0]], ssm.emissions.Normal([0.0], [1.0]))
    fit = ssm.fit(start, ys, ssm.StochasticEM(1, 2, step_size=lambda n: 1 / (n + 1)), key=KEY)
    np.testing.assert_allclose(fit.model.emission.loc, [ys.mean()], rtol=1e-12)
    np.testing.assert_allclose(fit.model.emission.scale, [ys.std()], rtol=1e-12)
    # At full rate only the last batch counts: here one sequence, which the filling beside it does not touch.
    last = ssm.fit(start, ys[:3], ssm.StochasticEM(1, 2, step_size=1.0), key=KEY).model.emission.loc[0]
    assert np.isclose(ys[:3].mean(axis=1), last, rtol=1e-12).sum() == 1


def test_where_all_sequences_are_the_same_every_batch_is_a_step_of_em():
    """So a batch stands for all the data also beside a prior, whose pseudo-counts belong to all of them."""
    ys = np.tile(series(1), (6, 1))
    em = ssm.fit(model(), ys, ssm.EM(3, tol=0.0)).model
    online = ssm.fit(model(), ys, ssm.StochasticEM(1, batch_size=2, step_size=1.0), key=KEY).model
    np.testing.assert_allclose(online.transition, em.transition, rtol=1e-9)
    np.testing.assert_allclose(online.emission.loc, em.emission.loc, rtol=1e-9)


@pytest.mark.slow
def test_two_passes_over_many_sequences_do_what_em_needs_more_for():
    ys = series(60)
    best = ssm.fit(model(), ys, ssm.EM(200, tol=1e-10)).log_prob
    em = ssm.fit(model(), ys, ssm.EM(2)).log_prob
    rate = optax.exponential_decay(0.9, transition_steps=4, decay_rate=0.7)
    online = ssm.fit(model(), ys, ssm.StochasticEM(2, batch_size=10, step_size=rate), key=KEY, validation=ys[:2])
    assert best > online.log_prob > em
    np.testing.assert_allclose(online.validation_log_probs[-1], ssm.log_prob(online.model, ys[:2]).sum(), rtol=1e-12)


def test_what_cannot_be_is_named():
    ys = series()
    start, inputs = model(), np.zeros((6, 12, 1))
    driven = ssm.HMM([0.5, 0.5], Driven([[0.5, 0.5], [0.5, 0.5]], np.zeros((2, 2, 1))), start.emission)
    with pytest.raises(TypeError, match="Driven has no sufficient statistics of fixed size; use ssm.EM"):
        ssm.fit(driven, ys, ssm.StochasticEM(), inputs, key=KEY)
    for method, key, message in (
        (ssm.StochasticEM(batch_size=7), KEY, "batch_size: at most the 6 sequences"),
        (ssm.StochasticEM(), None, "key: mini-batches are shuffled"),
        (ssm.StochasticEM(step_size=lambda n: 2.0), KEY, "step_size: .* got 2.0 at step 0"),
    ):
        with pytest.raises(ValueError, match=message):
            ssm.fit(start, ys, method, key=key)
    with pytest.raises(ValueError, match="step_size: expected a number in"):
        ssm.StochasticEM(step_size=0.0)
