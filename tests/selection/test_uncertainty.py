"""Standard errors: textbook formulas, published numbers, differences; loud where there is nothing to say."""

import jax.numpy as jnp
import numpy as np
import pytest
from published import fedfunds

import ssm
from ssm import datasets

pytestmark = pytest.mark.usefixtures("float64")


def alone(emission) -> ssm.HMM:
    """One state: independent draws."""
    return ssm.HMM([1.0], [[1.0]], emission)


def test_independent_draws_have_the_textbook_errors():
    """Mean σ/√n, standard deviation σ/√2n, variance σ²√(2/n); a frozen one has none, and the others do not change."""
    ys = np.random.default_rng(0).normal(3.0, 2.0, 50)
    model = alone(ssm.emissions.Normal([ys.mean()], [ys.std()]))
    errors = ssm.standard_errors(model, ys)
    np.testing.assert_allclose(errors.emission.loc, [ys.std() / np.sqrt(50)], rtol=1e-9)
    np.testing.assert_allclose(errors.emission.scale, [ys.std() / np.sqrt(100)], rtol=1e-9)
    np.testing.assert_array_equal(errors.transition, 0)
    variance = ssm.standard_errors(model, ys, of=lambda m: {"variance": m.emission.scale**2}, frozen=["emission.loc"])
    np.testing.assert_allclose(variance["variance"], [ys.var() * np.sqrt(2 / 50)], rtol=1e-9)
    # 0.3 from the maximum, n 0.3² / 2σ² nats could still be gained.
    with pytest.raises(ValueError, match=r"not at a maximum .* in emission.loc would gain 0\.\d+ nats; .*LBFGS"):
        ssm.standard_errors(alone(ssm.emissions.Normal([ys.mean() + 0.3], [ys.std()])), ys)


def test_shares_of_symbols_have_binomial_errors_and_hard_zeros_none():
    ys = np.repeat([0, 1, 3], [10, 25, 5])
    shares = np.array([10, 25, 0, 5]) / 40
    errors = ssm.standard_errors(alone(ssm.emissions.Categorical(shares[None])), ys)
    np.testing.assert_allclose(errors.emission.probs[0], np.sqrt(shares * (1 - shares) / 40), rtol=1e-9)
    # Together: one share is larger where others are smaller.
    of = lambda model: {"rest": model.emission.probs[0, 1:], "first": model.emission.probs[0, :1]}
    together = ssm.parameter_covariance(alone(ssm.emissions.Categorical(shares[None])), ys, of=of)
    expected = (np.diag(shares) - np.outer(shares, shares)) / 40  # "first" comes before "rest": dictionaries are sorted
    np.testing.assert_allclose(together, expected, rtol=1e-9, atol=1e-16)


def test_covariances_have_wishart_errors():
    """The variance of an entry is (S_ij² + S_ii S_jj) / n."""
    ys = np.random.default_rng(1).normal(size=(60, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]])
    spread = np.cov(ys.T, bias=True)
    model = alone(ssm.emissions.MultivariateNormal(ys.mean(0)[None], spread[None]))
    found = ssm.standard_errors(model, ys, of=lambda m: m.emission.covariance[0])
    expected = np.sqrt((spread**2 + np.outer(np.diag(spread), np.diag(spread))) / 60)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_two_regimes_of_the_fed_funds_rate_as_published():
    """Stata's manual of mswitch and statsmodels' tests: mean switching, one variance, a stationary start."""
    ys = fedfunds()
    emission = ssm.emissions.SharedScaleNormal([3.0, 9.0], [2.0])
    fit = ssm.fit(ssm.HMM("stationary", [[0.98, 0.02], [0.05, 0.95]], emission), ys, ssm.LBFGS(tol=1e-12))
    np.testing.assert_allclose(fit.log_prob, -508.63592, atol=5e-6)  # the digits that were published, here and below
    np.testing.assert_allclose(fit.model.transition[:, 0], [0.9820939, 0.0503587], atol=1e-6)
    np.testing.assert_allclose(fit.model.emission.loc, [3.70877, 9.556793], atol=5e-6)
    np.testing.assert_allclose(fit.model.emission.scale, [2.107562], atol=5e-6)
    errors = ssm.standard_errors(fit.model, ys)
    np.testing.assert_allclose(errors.transition[:, 0], [0.0104002, 0.0268434], atol=1e-6)
    np.testing.assert_allclose(errors.emission.loc, [0.1767083, 0.2999889], atol=1e-6)
    # The stationary share of state 0 is p10 / (p10 + p01), written out although it is not stored.
    share_of = lambda transition: transition[1, 0] / (transition[1, 0] + transition[0, 1])
    share = ssm.standard_errors(fit.model, ys, of=lambda m: share_of(m.transition))
    np.testing.assert_allclose(errors.initial[0], share, rtol=1e-9)
    levels = ssm.parameter_covariance(fit.model, ys, of=lambda m: m.emission.loc)
    np.testing.assert_allclose(np.sqrt(np.diag(levels)), errors.emission.loc, rtol=1e-9)
    gap = ssm.standard_errors(fit.model, ys, of=lambda m: m.emission.loc[1] - m.emission.loc[0])
    np.testing.assert_allclose(levels[0, 0] + levels[1, 1] - 2 * levels[0, 1], gap**2, rtol=1e-9)


@pytest.mark.slow
def test_a_kalman_filters_errors_are_those_of_differences():
    ys = np.asarray(datasets.nile(), float)[:, None] / 100
    held = ["initial_mean", "initial_covariance", "transition_matrix", "emission_matrix"]
    make = lambda level, noise: ssm.LinearGaussian([11.0], [[4.0]], [[1.0]], [[level]], [[1.0]], [[noise]])
    fit = ssm.fit(make(0.15, 1.5), ys, ssm.LBFGS(tol=1e-13), frozen=held)
    best = np.array([fit.model.transition_covariance[0, 0], fit.model.emission_covariance[0, 0]])
    errors = ssm.standard_errors(fit.model, ys, frozen=held)
    at = lambda x: float(ssm.log_prob(make(*x), ys))
    h = 1e-3 * best  # error about h², some 1e-6 of the curvature
    moves = np.diag(h)
    corners = lambda a, b: at(best + a + b) - at(best + a - b) - at(best - a + b) + at(best - a - b)
    covariance = np.linalg.inv([[-corners(a, b) / (4 * a.sum() * b.sum()) for b in moves] for a in moves])
    found = [errors.transition_covariance[0, 0], errors.emission_covariance[0, 0]]
    np.testing.assert_allclose(found, np.sqrt(np.diag(covariance)), rtol=1e-4)


def test_what_the_data_do_not_say_has_an_infinite_error():
    ys = np.random.default_rng(0).normal(size=(30, 2))
    mask = np.stack([np.ones(30, bool), np.zeros(30, bool)], axis=1)
    first = ys[:, 0]
    model = alone(ssm.emissions.Normal([[first.mean(), 0.0]], [[first.std(), 1.0]]))
    errors = ssm.standard_errors(model, ys, mask=mask)
    np.testing.assert_allclose(errors.emission.loc, [[first.std() / np.sqrt(30), np.inf]], rtol=1e-9)
    assert np.isinf(errors.emission.scale[0, 1])
    levels = ssm.parameter_covariance(model, ys, mask=mask, of=lambda m: m.emission.loc)
    np.testing.assert_allclose(levels, [[first.var() / 30, np.nan], [np.nan, np.inf]], rtol=1e-9)


def test_misuse_is_named():
    loc, scale = jnp.zeros(2), jnp.ones(2)
    saddle = ssm.HMM([0.5, 0.5], np.full((2, 2), 0.5), ssm.emissions.Normal(loc, scale))
    ys = np.concatenate([np.full(20, -1.0), np.full(20, 1.0)])  # two equal states: a saddle between two regimes
    with pytest.raises(ValueError, match="not at a maximum of the evidence, which curves upwards in"):
        ssm.standard_errors(saddle, ys)
    with pytest.raises(TypeError, match="the evidence of a ParticleFilter is drawn"):
        kalman = ssm.LinearGaussian([0.0], [[1.0]], [[0.9]], [[0.5]], [[1.0]], [[0.5]])
        ssm.standard_errors(ssm.ParticleFilter(kalman, 4), ys[:, None])
