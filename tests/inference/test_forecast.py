"""Forecasts against draws, against enumeration and against smoothing a sequence with a missing tail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm

KEY = jax.random.key(0)


def markov(emission) -> ssm.HMM:
    return ssm.HMM([0.3, 0.7], [[0.9, 0.1], [0.25, 0.75]], emission)


def kalman() -> ssm.LinearGaussian:
    return ssm.LinearGaussian(
        [0.5, -1.0], np.eye(2), [[0.9, 0.2], [0.0, 0.8]], 0.3 * np.eye(2), [[1.0, 0.5]], [[0.4]],
        transition_input=[[1.0], [0.5]], emission_input=[[2.0]],
    )  # fmt: skip


def test_a_normal_mixture_has_the_quantiles_of_its_distribution_function():
    model = markov(ssm.emissions.Normal([-2.0, 1.0], [0.5, 1.5]))
    ahead = ssm.forecast(model, np.array([-2.0, -1.5, 0.3]), 4)
    for q in (0.05, 0.5, 0.9):
        points = np.asarray(ahead.quantile(q))
        weights = np.asarray(ahead.predicted.probs)
        cdf = sum(
            weights[:, k] * jax.scipy.stats.norm.cdf((points - loc) / s)
            for k, (loc, s) in enumerate([(-2, 0.5), (1, 1.5)])
        )
        np.testing.assert_allclose(cdf, q, atol=2e-6)  # bisection to the last float32 digit
    low, high = ahead.interval(0.9)
    np.testing.assert_array_equal(low, ahead.quantile(0.05))
    np.testing.assert_allclose(high, ahead.quantile(0.95), rtol=1e-6)


@pytest.mark.parametrize("family", ["Normal", "MultivariateNormal", "LinearGaussian"])
def test_moments_and_quantiles_agree_with_draws(family):
    """20,000 draws: means within 5 standard errors, spreads and medians within 5 %."""
    rng, inputs, future = np.random.default_rng(0), None, None
    if family == "LinearGaussian":
        model, ys = kalman(), rng.normal(size=(6, 1))
        inputs, future = rng.normal(size=(6, 1)), rng.normal(size=(3, 1))
    elif family == "Normal":
        model, ys = markov(ssm.emissions.Normal([-2.0, 1.0], [0.5, 1.5])), rng.normal(size=6)
    else:
        covariance = np.array([[[1.0, 0.6], [0.6, 1.0]], [[0.5, -0.2], [-0.2, 2.0]]])
        model, ys = (
            markov(ssm.emissions.MultivariateNormal([[0.0, 1.0], [3.0, -1.0]], covariance)),
            rng.normal(size=(6, 2)),
        )
    ahead = ssm.forecast(model, ys, 3, inputs, future)
    draws = np.asarray(ahead.sample(KEY, 20_000))
    assert draws.shape == (20_000, 3, *model.event_shape)
    np.testing.assert_allclose(draws.mean(0), ahead.mean, atol=5 * float(ahead.stddev.max()) / np.sqrt(20_000))
    np.testing.assert_allclose(draws.std(0), ahead.stddev, rtol=0.05)
    np.testing.assert_allclose((draws < np.asarray(ahead.quantile(0.3))).mean(0), 0.3, atol=0.02)


def test_the_forecast_of_symbols_is_a_table_of_probabilities():
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    model = markov(ssm.emissions.Categorical(probs))
    ys = np.array([0, 2, 2])
    ahead = ssm.forecast(model, ys, 2)
    now = np.asarray(ssm.filter(model, ys).filtered.probs[-1])
    moved = now @ np.asarray(model.transition)
    np.testing.assert_allclose(ahead.probs[0], moved @ probs, rtol=1e-5)
    np.testing.assert_allclose(ahead.probs[1], moved @ np.asarray(model.transition) @ probs, rtol=1e-5)
    assert ahead.quantile(0.99).tolist() == [2, 2]
    with pytest.raises(TypeError, match="mean: the observations of this HMM have no mean; use probs"):
        _ = ahead.mean


def test_joint_densities_of_the_future_are_ratios_of_evidence():
    rng = np.random.default_rng(1)
    ys, inputs = rng.normal(size=(9, 1)), rng.normal(size=(9, 1))
    ahead = ssm.forecast(kalman(), ys[:5], 4, inputs[:5], inputs[5:])
    expected = ssm.log_prob(kalman(), ys, inputs) - ssm.log_prob(kalman(), ys[:5], inputs[:5])
    np.testing.assert_allclose(ahead.log_prob(ys[5:]), expected, rtol=1e-5)


def test_forecasts_are_predictions_with_a_missing_tail():
    """Also with inputs, whose effect reaches the state and the observation of the first step ahead."""
    rng = np.random.default_rng(2)
    ys, inputs = rng.normal(size=(8, 1)), rng.normal(size=(8, 1))
    ys[5:] = np.nan
    tail = ssm.filter(kalman(), ys, inputs).predicted
    ahead = ssm.forecast(kalman(), ys[:5], 3, inputs[:5], inputs[5:])
    expected = tail.mean[5:] @ np.array([[1.0], [0.5]]) + 2.0 * inputs[5:]
    np.testing.assert_allclose(ahead.mean, expected, rtol=1e-5)
    variance = np.einsum("i,tij,j->t", [1.0, 0.5], tail.covariance[5:], [1.0, 0.5]) + 0.4
    np.testing.assert_allclose(ahead.stddev[:, 0] ** 2, variance, rtol=1e-5)


def test_the_future_reads_the_parameters_of_its_own_times():
    """The step h after length T moves by the matrix of time T + h - 1, counted from 0."""
    rng = np.random.default_rng(4)
    moves = rng.dirichlet(np.ones(2), (8, 2))
    model = ssm.HMM([0.3, 0.7], ssm.transitions.TimeVarying(moves), ssm.emissions.Normal([-2.0, 1.0], [0.5, 1.5]))
    ys, lengths = rng.normal(size=(2, 5)), np.array([5, 2])
    ahead = ssm.forecast(model, ys, 3, lengths=lengths).predicted.probs
    ends = ssm.filter(model, ys, lengths=lengths).filtered.probs[:, -1]
    for b, end in enumerate(lengths):
        expected = np.asarray(ends[b], float)
        for h in range(3):
            expected = expected @ moves[end + h]
            np.testing.assert_allclose(ahead[b, h], expected, rtol=1e-5)


def test_a_batch_is_forecast_from_its_own_ends():
    rng = np.random.default_rng(3)
    ys, inputs, future = rng.normal(size=(3, 7, 1)), rng.normal(size=(3, 7, 1)), rng.normal(size=(3, 2, 1))
    lengths = np.array([7, 4, 1])
    together = ssm.forecast(kalman(), ys, 2, inputs, future, lengths=lengths)
    for b, length in enumerate(lengths):
        alone = ssm.forecast(kalman(), ys[b, :length], 2, inputs[b, :length], future[b])
        np.testing.assert_allclose(together.mean[b], alone.mean, rtol=1e-5)
        np.testing.assert_allclose(together.quantile(0.2)[b], alone.quantile(0.2), rtol=1e-4, atol=1e-5)
    assert together.sample(KEY, 5).shape == (3, 5, 2, 1)
    assert together.log_prob(np.zeros((3, 2, 1))).shape == (3,)


def test_a_network_that_reads_its_outputs_is_forecast_by_drawing():
    network = ssm.RNN(ssm.cells.Tanh(3, 4, key=KEY), ssm.heads.Categorical(4, 3, key=KEY))
    ys = np.array([0, 2, 1, 1])
    with pytest.raises(ValueError, match="key: a RNN that reads its own outputs is forecast by drawing"):
        ssm.forecast(network, ys, 2)
    ahead = ssm.forecast(network, ys, 2, key=KEY, num_samples=20_000)
    exact = np.array([[np.exp(ssm.log_prob(network, np.append(ys, [a, b]))) for b in range(3)] for a in range(3)])
    exact /= np.exp(ssm.log_prob(network, ys))
    np.testing.assert_allclose(ahead.probs[0], exact.sum(1), atol=0.02)  # 5 standard errors of 20,000 draws
    np.testing.assert_allclose(ahead.probs[1], exact.sum(0), atol=0.02)
    np.testing.assert_allclose(np.exp(ahead.log_prob(np.array([1, 2]))), exact[1, 2], rtol=1e-4)


def test_a_variational_network_is_forecast_from_many_draws_of_its_latent_path():
    """Futures that all continued one draw would miss the spread of the latent state itself."""
    model = ssm.VRNN(ssm.cells.GRU(5, 8, key=KEY), ssm.heads.Normal(8, key=KEY), 4, key=KEY)
    ahead = ssm.forecast(model, np.zeros(6, np.float32), 2, key=KEY, num_samples=200)
    starts = ahead.beliefs.state.hidden
    assert starts.shape[0] == 200 and float(jnp.std(starts, axis=0).max()) > 1e-3
    assert np.isfinite(ahead.log_prob(np.zeros(2, np.float32), key=KEY))
