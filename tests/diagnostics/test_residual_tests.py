"""The tests of residuals are those of statsmodels, and of gaps what their definition says."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import ssm
from ssm import datasets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from statsmodels.tsa.statespace.structural import UnobservedComponents
    from statsmodels.tsa.stattools import breakvar_heteroskedasticity_test


def test_as_statsmodels_of_the_nile() -> None:
    """The first year is diffuse, so that there are 99 residuals."""
    model = UnobservedComponents(datasets.nile(), "llevel", use_exact_diffuse=True)
    known = model.smooth([15099.0, 1469.1])
    residuals = np.array(known.standardized_forecasts_error[0])
    residuals[0] = np.nan
    found = ssm.diagnose(residuals, lags=[1, 9, 10])
    (correlated,) = known.test_serial_correlation("ljungbox", lags=10)
    ((normal, normal_p, *_),), ((equal, equal_p),) = known.test_normality(None), known.test_heteroskedasticity(None)
    statistics = [*correlated[0, [0, 8, 9]], normal, equal]
    np.testing.assert_allclose([row.statistic for row in found.rows], statistics, rtol=1e-10)
    np.testing.assert_allclose(
        list(found.p_values().values()), [*correlated[1, [0, 8, 9]], normal_p, equal_p], rtol=1e-10
    )
    # Durbin & Koopman 2012, section 2.12: Q(9), N and H(33).
    np.testing.assert_allclose(statistics[1:2] + statistics[3:], [8.84, 0.05, 0.61], atol=0.005)
    assert [row.degrees for row in found.rows] == [(1,), (9,), (10,), (2,), (33, 33)]
    assert found.observations == (99,)
    lines = str(found).splitlines()
    assert "heteroskedasticity, H(33)      0.613    33, 33   0.1650" in lines[5] and lines[6].startswith("99 residuals")


def test_gaps() -> None:
    column = np.random.default_rng(0).normal(size=31) + 0.5
    column[[0, 4, 5, 12, 29]] = np.nan
    both = np.stack([column, np.where(np.arange(31) % 2, column, np.nan)], axis=1)
    found = ssm.diagnose(both, lags=(1, 4))
    late = column[1:]
    n, mean = 26, np.nanmean(late)
    products = [
        [(late[t] - mean) * (late[t + lag] - mean) for t in range(30 - lag) if not np.isnan(late[t] * late[t + lag])]
        for lag in (1, 2, 3, 4)
    ]
    terms = [n * (n + 2) * np.sum(each) ** 2 / np.nansum((late - mean) ** 2) ** 2 / len(each) for each in products]
    np.testing.assert_allclose([row.statistic for row in found.rows[:2]], [terms[0], sum(terms)], rtol=1e-10)
    assert found.rows[2].statistic == pytest.approx(scipy.stats.jarque_bera(column[~np.isnan(column)]).statistic)
    # Theirs is a ratio of sums, not of means; the p-value is the same.
    ratio = breakvar_heteroskedasticity_test(late, 10)
    assert found.rows[3].statistic == pytest.approx(
        ratio.statistic * found.rows[3].degrees[1] / found.rows[3].degrees[0]
    )
    assert found.rows[3].p_value == pytest.approx(ratio.pvalue)
    # Where every other residual is missing there are no pairs that are one apart, nor three.
    assert np.isnan(found.p_values(1)["Ljung-Box, lag 1"]) and found.rows[4].degrees == (0,)
    assert found.rows[5].degrees == (2,) and np.isfinite(found.rows[5].p_value)


def test_each_finds_what_it_looks_for() -> None:
    """In 400 residuals."""
    noise = np.random.default_rng(1).normal(size=400)
    cases = {
        "none": noise,
        "Ljung-Box": np.convolve(noise, [1, 0.5])[:400],
        "Jarque-Bera": np.sign(noise) * noise**2,
        "heteroskedasticity": noise * np.linspace(1, 2, 400),
    }
    for name, residuals in cases.items():
        found = ssm.diagnose(ssm.Residuals(*[jnp.asarray(residuals)] * 3)).p_values()
        alarmed = {test.split(",")[0] for test, p_value in found.items() if p_value < 1e-3}
        assert name in alarmed if name != "none" else not alarmed, found


@pytest.mark.parametrize(
    ("residuals", "lags", "message"),
    [
        (np.zeros((2, 3, 1)), None, r"residuals: expected shape \(T,\) or \(T, N\), one sequence, got \(2, 3, 1\)"),
        (np.zeros((2, 3)), None, "residuals: 2 times of 3 components are taken for a batch; pass one sequence"),
        ([0.0, np.inf], None, "residuals: infinite at time 1, component 0"),
        ([0.0, np.nan, 0.0], None, "residuals: component 0 has no two different ones"),
        ([np.nan, np.nan], None, "residuals: component 0 has no two different ones"),
        ([1.0, 0.0, 2.0], 3, r"lags: expected numbers in 1 \.\. 2, for 3 times, got 3"),
    ],
)
def test_what_cannot_be_tested_is_said(residuals, lags, message) -> None:
    with pytest.raises(ValueError, match=message):
        ssm.diagnose(residuals, lags)


def test_short_sequences() -> None:
    names = [row.name for row in ssm.diagnose([1.0, 2.0, 0.5]).rows]
    assert names == ["Ljung-Box, lag 1", "Jarque-Bera", "heteroskedasticity, H(1)"]
