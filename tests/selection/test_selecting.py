"""Model choice: published criteria, and cross-validation by hand where fits have a closed form."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import ssm
from ssm import plotting

pytestmark = pytest.mark.usefixtures("float64")


def constant(scale: float) -> ssm.HMM:
    """Independent normals, of which the mean is learnt."""
    return ssm.HMM([1.0], [[1.0]], ssm.emissions.Normal([0.0], [scale]))


def by_hand(ys: np.ndarray, group: np.ndarray, scale: float) -> float:
    """Density of each group under the mean of the others."""
    mean = lambda kept: ys[~kept].mean()
    return sum(scipy.stats.norm.logpdf(ys[group == g], mean(group == g), scale).sum() for g in np.unique(group))


def test_cross_validation_scores_what_was_left_out():
    ys = np.random.default_rng(2).normal(1.0, 2.0, (5, 4))
    models = {"narrow": constant(0.5), "right": constant(2.0)}
    options = {"criterion": "held-out", "folds": 2, "frozen": ["emission.scale"]}
    table = ssm.select(models, ys, ssm.EM(1), **options)
    assert [row.name for row in table.rows] == ["right", "narrow"] and table.best == "right"
    group = np.repeat([0, 0, 0, 1, 1], 4)  # folds as even as they can be
    np.testing.assert_allclose(table.rows[0].held_out, by_hand(ys.ravel(), group, 2.0) / 20, rtol=1e-9)
    np.testing.assert_allclose(table.rows[1].held_out, by_hand(ys.ravel(), group, 0.5) / 20, rtol=1e-9)
    # One sequence is cut into blocks of equally many observed steps.
    mask = np.arange(20) != 3
    alone = ssm.select({"right": models["right"]}, ys.ravel(), ssm.EM(1), mask=mask, **options)
    blocks = np.arange(19) * 2 // 19
    np.testing.assert_allclose(alone.rows[0].held_out, by_hand(ys.ravel()[mask], blocks, 2.0) / 19, rtol=1e-9)
    assert "held out" in str(table) and "19 observed time steps" in str(alone)
    points = plotting.selection(table).axes[0].lines[0]
    assert list(points.get_ydata()) == ["right", "narrow"]
    difference = table.rows[0].held_out - table.rows[1].held_out
    np.testing.assert_allclose(np.asarray(points.get_xdata(), float), [0, difference], rtol=1e-9)


def test_criteria_count_free_parameters_and_observed_steps():
    ys = np.random.default_rng(3).normal(size=30)
    ys[4] = np.nan
    table = ssm.select({"normal": constant(1.0)}, ys, ssm.EM(1))
    seen = ys[~np.isnan(ys)]
    log_prob = scipy.stats.norm.logpdf(seen, seen.mean(), seen.std()).sum()
    np.testing.assert_allclose(table.rows[0].aic, 2 * 2 - 2 * log_prob, rtol=1e-9)
    np.testing.assert_allclose(table.rows[0].bic, 2 * np.log(29) - 2 * log_prob, rtol=1e-9)
    with pytest.raises(ValueError, match="criterion: expected one of bic, aic, held-out, got 'r2'"):
        ssm.select({"normal": constant(1.0)}, ys, ssm.EM(1), criterion="r2")
    with pytest.raises(ValueError, match="folds: at most the 29 observed time steps of ys, got 40"):
        ssm.select({"normal": constant(1.0)}, ys, ssm.EM(1), criterion="held-out", folds=40)


def test_what_a_fit_brings_to_zero_is_free_and_what_was_made_zero_is_not():
    """Also after a second fit, and without a trace in the standard errors."""
    ys = np.array([0, 0, 2, 0, 2, 2, 0, 1])  # no 3, which is possible
    start = ssm.HMM([0.5, 0.5], np.eye(2), ssm.emissions.Categorical([[0.4, 0.0, 0.3, 0.3], [0.25, 0.25, 0.25, 0.25]]))
    assert ssm.num_parameters(start) == 1 + 0 + 2 + 3
    fit = ssm.fit(start, ys, ssm.EM(3, tol=0))
    again = ssm.fit(fit.model, ys, ssm.EM(3, tol=0))
    for each in (fit, again):
        # The state that cannot emit 1 is impossible, so that it keeps its emission and its start is zero.
        expected = [[0.4, 0, 0.3, 0.3], [0.5, 0.125, 0.375, 0]]
        np.testing.assert_allclose(each.model.emission.probs, expected, rtol=1e-12, atol=0)  # zeros exactly
        np.testing.assert_array_equal(each.model.initial, [0, 1])
        assert each.num_parameters == 1 + 0 + 2 + 3
    one = lambda probs: ssm.HMM([1.0], [[1.0]], ssm.emissions.Categorical([probs]))
    found = ssm.fit(one([0.25, 0.25, 0.25, 0.25]), ys, ssm.EM(2, tol=0)).model
    assert (ssm.num_parameters(found), ssm.num_parameters(one(found.emission.probs[0]))) == (3, 2)
    errors = ssm.standard_errors(found, ys).emission.probs[0]
    np.testing.assert_allclose(errors, np.sqrt([16 / 64, 7 / 64, 15 / 64, 0]) / np.sqrt(8), rtol=1e-9)


@pytest.mark.slow
def test_earthquakes_have_three_regimes(data: Path):
    """Zucchini & MacDonald 2009, table 6.3: stationary Poisson chains; two decimals are published."""
    ys = np.genfromtxt(data / "hmm" / "earthquakes_annual_1900_2006.csv", delimiter=",", skip_header=1)[:, 1]
    rates = {1: [19.0], 2: [15.0, 26.0], 3: [13.0, 20.0, 30.0], 4: [11.0, 14.0, 20.0, 30.0]}
    stay = lambda size: np.full((size, size), 0.1 / max(size - 1, 1)) + np.eye(size) * (0.9 - 0.1 / max(size - 1, 1))
    chain = lambda size: np.ones((1, 1)) if size == 1 else stay(size)
    models = {str(k): ssm.HMM("stationary", chain(k), ssm.emissions.Poisson(rate)) for k, rate in rates.items()}
    table = ssm.select(models, ys, ssm.LBFGS(300, tol=1e-10), criterion="aic")
    assert table.best == "3"
    found = {row.name: (row.aic, row.bic) for row in table.rows}
    expected = {"1": (785.84, 788.51), "2": (692.64, 703.33), "3": (676.92, 700.98), "4": (687.66, 730.43)}
    for name, criteria in expected.items():
        np.testing.assert_allclose(found[name], criteria, atol=0.006)
    best = table.fits["3"].model
    np.testing.assert_allclose(np.sort(best.emission.rate), [13.146, 19.721, 29.714], atol=6e-4)
