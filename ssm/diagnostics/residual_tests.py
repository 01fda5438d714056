"""Are residuals what a true model leaves: uncorrelated, normal, of one variance? Three tests, and a table of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

LAGS = (1, 5, 10)  # unless others are asked for


class ResidualTest(NamedTuple):
    """One row of a diagnosis: of a component, a statistic, its degrees of freedom, and how often chance exceeds it."""

    component: int
    name: str
    statistic: float
    degrees: tuple[int, ...]  # of χ², or the two of F
    p_value: float


class Diagnosis(NamedTuple):
    """Tests of residuals, component after component. Prints as a table; `rows` is plain data for a data frame."""

    rows: tuple[ResidualTest, ...]
    observations: tuple[int, ...]  # residuals of each component that are there

    def p_values(self, component: int = 0) -> dict[str, float]:
        """By the name of the test."""
        return {row.name: row.p_value for row in self.rows if row.component == component}

    def __str__(self) -> str:
        """A fixed-width table."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'component':<9}  {'test':<{width}}  {'statistic':>9}  {'degrees':>8}  {'p-value':>7}"]
        for row in self.rows:
            degrees = ", ".join(map(str, row.degrees))
            lines.append(
                f"{row.component:<9}  {row.name:<{width}}  {row.statistic:>9.3f}  {degrees:>8}  {row.p_value:>7.4f}"
            )
        counts = " + ".join(map(str, self.observations))
        return "\n".join([*lines, f"{counts} residuals; small p-values speak against the model"])


def diagnose(residuals: Any, lags: Sequence[int] | None = None) -> Diagnosis:
    """Test whether standardised residuals are uncorrelated, normal and of one variance, each component by itself.

    `residuals`: (T,) or (T, N), one sequence, NaN where there are none; from `ssm.innovations`, `ssm.residuals` or
    elsewhere. What leads up to the first of them is not counted. For each component:

    - Ljung-Box, up to each of `lags` (1, 5 and 10 unless given, as far as T goes): Q = n (n + 2) Σ_k r_k² / m_k, with
      the m_k = n - k pairs that are k apart, or, where some are missing, those of them that are there; χ² with as many
      degrees of freedom as lags that have pairs (Ljung & Box 1978; Stoffer & Toloi 1992). Degrees are not reduced by
      the number of fitted parameters.
    - Jarque-Bera: n (skewness² / 6 + (kurtosis - 3)² / 24), χ² with 2 (Jarque & Bera 1980).
    - Heteroskedasticity H(h): the sum of squares of the last h times over that of the first, each over its number of
      residuals, h = T / 3 rounded; F, two-sided (Harvey 1989, section 5.4.2).

    The p-values hold for long sequences, and that of H(h) for normal ones. A statistic without enough residuals is NaN.
    Their plot: `ssm.plotting.residuals`.
    Raises ValueError for other shapes, and where N > T, for infinite residuals, for a component without two different
    residuals, and for lags that are not in 1 .. T - 1.
    """
    rows, counts = [], []
    for component, column in enumerate(one_sequence(residuals).T):
        there = np.flatnonzero(~np.isnan(column))
        column = column[there[0] :]
        chosen = _lags(lags, len(column))
        tests = (*_ljung_box(column, chosen), _jarque_bera(column), _heteroskedasticity(column))
        rows += [ResidualTest(component, *test) for test in tests]
        counts.append(len(there))
    return Diagnosis(tuple(rows), tuple(counts))


def one_sequence(residuals: Any) -> np.ndarray:
    """Residuals as (T, N) in double precision; the ValueErrors of `diagnose`."""
    values = np.asarray(residuals, float)
    if values.ndim not in (1, 2):
        raise ValueError(f"residuals: expected shape (T,) or (T, N), one sequence, got {values.shape}")
    values = values.reshape(len(values), -1)
    if values.shape[1] > len(values):
        raise ValueError(
            f"residuals: {len(values)} times of {values.shape[1]} components are taken for a batch; pass one sequence"
        )
    if np.isinf(values).any():
        t, component = np.argwhere(np.isinf(values))[0]
        raise ValueError(
            f"residuals: infinite at time {t}, component {component}: an observation that is next to impossible under "
            "the model; make it NaN to look at the others"
        )
    for component, column in enumerate(values.T):
        if len(np.unique(column[~np.isnan(column)])) < 2:
            raise ValueError(f"residuals: component {component} has no two different ones")
    return values


def autocorrelations(column: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """r_k of a series (T,) with NaN where it is missing, and of how many pairs, both for k = 1 .. most."""
    there = ~np.isnan(column)
    centred = np.where(there, column - column[there].mean(), 0)
    products = lambda row: np.array([row[lag:] @ row[:-lag] for lag in range(1, most + 1)])
    return products(centred) / (centred @ centred), products(there.astype(float))


def _ljung_box(column: np.ndarray, lags: Sequence[int]) -> list[tuple]:
    from scipy.stats import chi2

    count = np.sum(~np.isnan(column))
    correlation, pairs = autocorrelations(column, max(lags))
    terms = np.divide(correlation**2, pairs, out=np.zeros_like(pairs), where=pairs > 0)
    statistics, degrees = count * (count + 2) * np.cumsum(terms), np.cumsum(pairs > 0)
    found = []
    for lag in lags:
        value, df = statistics[lag - 1], int(degrees[lag - 1])
        known = df > 0
        name = f"Ljung-Box, lag {lag}" if lag == 1 else f"Ljung-Box, lags 1-{lag}"
        found.append((name, float(value) if known else np.nan, (df,), float(chi2.sf(value, df)) if known else np.nan))
    return found


def _jarque_bera(column: np.ndarray) -> tuple:
    from scipy.stats import jarque_bera

    found: Any = jarque_bera(column[~np.isnan(column)])
    return "Jarque-Bera", float(found.statistic), (2,), float(found.pvalue)


def _heteroskedasticity(column: np.ndarray) -> tuple:
    from scipy.stats import f

    third = round(len(column) / 3)
    (first, before), (last, after) = (
        (np.nansum(part**2), int(np.sum(~np.isnan(part)))) for part in (column[:third], column[-third:])
    )
    enough = first > 0 and last > 0
    statistic = last / after / (first / before) if enough else np.nan
    sides = f.cdf(statistic, after, before), f.sf(statistic, after, before)
    return f"heteroskedasticity, H({third})", float(statistic), (after, before), float(2 * min(sides))


def _lags(lags: Sequence[int] | None, total: int) -> tuple[int, ...]:
    if lags is None:
        return tuple(lag for lag in LAGS if lag < total)
    chosen = tuple(int(lag) for lag in np.atleast_1d(lags))
    if not chosen or min(chosen) < 1 or max(chosen) >= total:
        raise ValueError(f"lags: expected numbers in 1 .. {total - 1}, for {total} times, got {lags}")
    return chosen
