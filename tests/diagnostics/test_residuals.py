"""Pseudo-residuals are what the definition says, and flat where the model is true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from oracles import enumerate_paths

import ssm
from ssm import plotting

INITIAL, TRANSITION = np.array([0.6, 0.4]), np.array([[0.8, 0.2], [0.3, 0.7]])


def others(table: np.ndarray) -> np.ndarray:
    """p(x_t | y_s, s != t) (T, K), each by enumerating paths with row t unobserved."""
    rows = []
    for t in range(len(table)):
        without = table.copy()
        without[t] = 0
        rows.append(enumerate_paths(INITIAL, TRANSITION, without).smoothed[t])
    return np.stack(rows)


def test_normal_residuals_are_quantiles_of_the_mixture(float64):
    loc, scale = np.array([-1.0, 2.0]), np.array([1.0, 0.5])
    ys = np.array([0.3, -1.2, 2.5, 1.9, -30.0, 2.2])
    observed = np.arange(6) != 3
    table = np.where(observed[:, None], scipy.stats.norm.logpdf(ys[:, None], loc, scale), 0)
    model = ssm.HMM(INITIAL, TRANSITION, ssm.emissions.Normal(loc, scale))
    # The fifth is 29 standard deviations out: one minus its probability is 1, its quantile is -29.
    expected = {"forecast": enumerate_paths(INITIAL, TRANSITION, table).predicted, "ordinary": others(table)}
    for kind, probs in expected.items():
        found = ssm.residuals(model, ys, mask=observed, kind=kind)
        share = (probs * scipy.stats.norm.cdf(ys[:, None], loc, scale)).sum(1)
        truth = np.where(observed, scipy.stats.norm.ppf(share), np.nan)
        np.testing.assert_allclose(found.mid, truth, rtol=1e-8)
        np.testing.assert_array_equal(found.low, found.high)
    mirrored = ssm.HMM(INITIAL, TRANSITION, ssm.emissions.Normal(-loc, scale))
    opposite = ssm.residuals(mirrored, -ys, mask=observed).mid
    np.testing.assert_allclose(opposite, -ssm.residuals(model, ys, mask=observed).mid, rtol=1e-8)


@pytest.mark.parametrize("family", ["Poisson", "Categorical"])
def test_discrete_residuals_are_segments(float64, family):
    ys, observed = np.array([2, 0, 1, 2, 2]), np.array([True, False, True, True, True])
    if family == "Poisson":
        rates = np.array([0.7, 3.0])
        emission, law = ssm.emissions.Poisson(rates), scipy.stats.poisson(rates)
        table, cdf = law.logpmf(ys[:, None]), law.cdf
    else:
        probs = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])  # symbol 2 says that the state is 1
        emission = ssm.emissions.Categorical(probs)
        cumulative = np.concatenate([np.zeros((2, 1)), probs.cumsum(1)], axis=1)
        table = np.log(np.maximum(probs, 1e-200)).T[ys]  # the oracle subtracts rows, so it needs them finite
        cdf = lambda y: cumulative[:, y[:, 0] + 1].T
    model = ssm.HMM(INITIAL, TRANSITION, emission)
    table = np.where(observed[:, None], table, 0)
    expected = {"forecast": enumerate_paths(INITIAL, TRANSITION, table).predicted, "ordinary": others(table)}
    for kind, probs in expected.items():
        found = jax.tree.map(lambda z: z[observed], ssm.residuals(model, ys, mask=observed, kind=kind))
        low, high = ((probs * cdf(at[:, None])).sum(1).clip(0, 1) for at in (ys - 1, ys))
        low, high = low[observed], high[observed]
        quantile = lambda share: scipy.stats.norm.ppf(np.where(share > 1 - 1e-12, 1, share))
        np.testing.assert_allclose(found.low, quantile(low), rtol=1e-8)
        np.testing.assert_allclose(found.mid, quantile((low + high) / 2), rtol=1e-8, atol=1e-12)
        finite = np.isfinite(quantile(high))
        np.testing.assert_allclose(np.asarray(found.high)[finite], quantile(high)[finite], rtol=1e-8)


@pytest.mark.slow
def test_residuals_of_a_true_model_are_independent_standard_normals(float64):
    """Of a Kalman filter, in a padded batch; 600 draws have a mean and lag-one correlation within 4/√600 = 0.16."""
    model = ssm.LinearGaussian([0.0], [[1.0]], [[0.9]], [[0.5]], [[1.0]], [[0.5]])
    ys = jax.vmap(lambda key: ssm.simulate(model, key, 100)[1])(jax.random.split(jax.random.key(0), 7))
    lengths = np.array([100, 100, 100, 100, 100, 100, 40])
    z = np.asarray(ssm.residuals(model, ys, lengths=lengths).mid)[..., 0]
    assert np.isnan(z[6, 40:]).all() and not np.isnan(z[6, :40]).any()
    whole = z[:6]
    assert abs(whole.mean()) < 0.16 and abs(whole.std() - 1) < 0.12
    assert abs((whole[:, 1:] * whole[:, :-1]).mean()) < 0.16
    with pytest.raises(TypeError, match='"ordinary" residuals are for an ssm.HMM, got LinearGaussian'):
        ssm.residuals(model, ys, kind="ordinary")


def test_the_figure_shows_what_was_observed():
    z = jnp.array([0.5, jnp.nan, -1.0, 2.0, -0.5])
    series, shape, quantiles, memory = plotting.residuals(ssm.Residuals(z, z, z), times=np.arange(1990, 1995)).axes
    np.testing.assert_allclose(series.lines[0].get_xydata()[2:], [[1992, -1.0], [1993, 2.0], [1994, -0.5]])
    heights = {(bar.get_x(), bar.get_x() + bar.get_width()): bar.get_height() for bar in shape.patches}
    assert heights[-1, 0] == 0.5 and sum(heights.values()) == pytest.approx(1)  # bins of width 1
    np.testing.assert_allclose(shape.lines[0].get_ydata().max(), scipy.stats.norm.pdf(0), rtol=1e-3)
    np.testing.assert_allclose(quantiles.lines[0].get_ydata(), [-1.0, -0.5, 0.5, 2.0])
    np.testing.assert_allclose(quantiles.lines[0].get_xdata(), scipy.stats.norm.ppf([0.125, 0.375, 0.625, 0.875]))
    # Around their mean, 0.25; of pairs that are there.
    expected = np.array([-1.25 * 1.75 - 1.75 * 0.75, 0.25 * -1.25 + 1.25 * 0.75, 0.25 * 1.75, -0.25 * 0.75]) / 5.25
    np.testing.assert_allclose([bar.get_height() for bar in memory.patches], expected)


def test_the_figure_has_a_colour_for_each_component():
    z = np.random.default_rng(0).normal(size=(30, 2))
    series, *_ = plotting.residuals(z, labels=["east", "north"]).axes
    assert [text.get_text() for text in series.get_legend().get_texts()] == ["east", "north"]
    with pytest.raises(ValueError, match="residuals: expected at most 8 components, got 9"):
        plotting.residuals(np.eye(9))
