"""Independent heavy-tailed components: p(y | x = k) = Π_n t(y_n; df[k, n], loc[k, n], scale[k, n]²)."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import Distribution, log_student_t, student_t
from ssm.emissions.common.components import by_component, each_component, row_sums, sum_components
from ssm.emissions.common.floors import bounded_scale, checked_minimum, smallest_scales
from ssm.emissions.normals.located import AbstractLocated
from ssm.emissions.normals.normal import Normal
from ssm.emissions.normals.scatter import Moments
from ssm.numeric import checks
from ssm.numeric.logspace import ratio
from ssm.parameters import Positive, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree

# Degrees of freedom are sought up to here; beyond, a Student t is a normal to the last digit of float32.
LARGEST_DF = 1e6


class TailSums(eqx.Module):
    """Statistics of a normal whose precision was drawn afresh for every event, and how far it strays from one."""

    total: Float[Array, "K *event"]  # Σ w
    moments: PyTree  # of y, weighted by w E[precision]
    strain: Float[Array, "K *event"]  # Σ w (E[log precision] - E[precision] + 1), at most 0


@final
class StudentT(AbstractLocated):
    """Scalars, `loc`, `scale` and degrees of freedom `df` (K,), or vectors of independent components, (K, N).

    log p = Σ_n log Γ((ν+1)/2) - log Γ(ν/2) - ½ log(πν) - log scale - (ν+1)/2 log(1 + d²/ν), d = (y - loc)/scale; a
    missing component leaves its term out. The mean exists for df > 1, the variance for df > 2.
    M-step: one step of EM over the precision u of a scale mixture of normals, with E[u] = (ν+1)/(ν+d²): means and
    variances weighted by w E[u], the variance over Σ w; ν solves log(ν/2) - ψ(ν/2) + avg(E[log u] - E[u]) + 1 = 0
    by bisection (Liu & Rubin 1995, sections 2 and 3). It climbs. `scale` stays at least `minimum_scale`, by default as
    for `Normal`.
    """

    loc: Float[Array, "K *event"]
    _scale: Positive | Float[Array, "K *event"]
    _df: Positive | Float[Array, "K *event"]
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, loc: Array, scale: Array, df: Array, minimum_scale: float | None = None):
        self.loc = checks.real("loc", loc, checks.leading_axes(loc))
        self._scale = Positive.of(checks.positive("scale", scale, self.loc.shape).astype(self.loc.dtype))
        self._df = Positive.of(checks.positive("df", df, self.loc.shape).astype(self.loc.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    @property
    def scale(self) -> Float[Array, "K *event"]:
        """Scales: the standard deviation is scale sqrt(df / (df - 2))."""
        return value(self._scale)

    @property
    def df(self) -> Float[Array, "K *event"]:
        """Degrees of freedom."""
        return value(self._df)

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """The density, summed component by component."""
        return sum_components(log_student_t, (ys,), by_component(observed, ys), self.loc, self.scale, self.df)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """t(df[state], loc[state], scale[state]²)."""
        return student_t(self.loc[state], self.scale[state], self.df[state])

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> TailSums:
        """Expected statistics of y and of its precision."""

        def component(y, seen, loc, scale, df):
            columns = weights.T if seen is None else jnp.where(seen, weights.T, 0)  # (K, M)
            squared = ((y - loc[:, None]) / scale[:, None]) ** 2
            precision, strain = expected_precision(squared, df[:, None], jnp.ones((), y.dtype))
            heavy, away = columns * precision, y - loc[:, None]
            count = row_sums(heavy)
            offset = ratio(row_sums(heavy * away), count)
            moments = Moments(count, loc + offset, row_sums(heavy * (away - offset[:, None]) ** 2))
            return TailSums(row_sums(columns), moments, row_sums(columns * strain))

        return each_component(component, (ys, by_component(observed, ys)), self.loc, self.scale, self.df)

    def fitted(self, sums: TailSums, frozen: frozenset[str] = frozenset()) -> "StudentT":
        """Weighted means and scales, and the degrees of freedom that fit the precisions."""
        alive = sums.total > 0
        loc = self.loc if "loc" in frozen else jnp.where(alive, sums.moments.mean, self.loc)
        variance = ratio(sums.moments.around(loc), sums.total)
        smallest = smallest_scales(sums.total, loc, variance)
        scale = bounded_scale(sums.total, variance, smallest, self.scale, self.minimum_scale)
        scale = self.scale if "scale" in frozen else scale
        df = self.df if "df" in frozen else degrees_of_freedom(sums, self.df)
        return StudentT(loc, scale, df, self.minimum_scale)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "StudentT":
        """`from_data`."""
        new = StudentT.from_data(key, self.num_states, ys, observed)
        return StudentT(new.loc, new.scale, new.df, self.minimum_scale)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "StudentT":
        """Means from a standard normal, unit scales, 5 degrees of freedom; scalars unless `num_components` is given."""
        new = Normal.random(key, num_states, num_components)
        return cls(new.loc, new.scale, jnp.full_like(new.loc, 5.0))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "StudentT":
        """Means at data points drawn far apart, the standard deviations of the data, 5 degrees of freedom."""
        new = Normal.from_data(key, num_states, ys, observed)
        return cls(new.loc, new.scale * (3 / 5) ** 0.5, jnp.full_like(new.loc, 5.0))


def expected_precision(squared: Array, df: Array, size: Array) -> tuple[Array, Array]:
    """E[u] and E[log u] - E[u] + 1 for the precision u of an event of `size` components at a squared distance."""
    precision = (df + size) / (df + squared)
    # log p - p + 1 about p = 1, without a difference of numbers near one: it is small for light tails. Far away p is
    # small, and p - 1 is not told from -1.
    excess = (size - squared) / (df + squared)
    near = excess > -0.5
    log_precision = jnp.where(near, jnp.log1p(jnp.where(near, excess, 0)), jnp.log(precision))
    return precision, log_precision - excess - log_less_digamma((df + size) / 2)


def log_less_digamma(x: Array) -> Array:
    """log x - ψ(x): by its asymptotic series where the two agree in most digits (Abramowitz & Stegun 1964, 6.3.18)."""
    large = x > 16
    inverse = 1 / jnp.where(large, x, 16)
    square = inverse**2
    series = inverse / 2 + square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))
    small = jnp.where(large, 16, x)
    return jnp.where(large, series, jnp.log(small) - jax.scipy.special.digamma(small))


def degrees_of_freedom(sums: TailSums, otherwise: Array) -> Array:
    """ν with log(ν/2) - ψ(ν/2) = s, for s the average strain without its sign; at most LARGEST_DF.

    The left side falls from infinity to 0 and lies between 1/ν and 2/ν, which brackets the root.
    """
    strain = jnp.maximum(-ratio(sums.strain, sums.total), 1 / LARGEST_DF)

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        half = (low + high) / 4
        below = log_less_digamma(half) > strain
        return jnp.where(below, 2 * half, low), jnp.where(below, high, 2 * half)

    digits = jnp.finfo(strain.dtype).nmant
    low, high = jax.lax.fori_loop(0, digits, halve, (1 / strain, 2 / strain))
    return jnp.where(sums.total > 0, (low + high) / 2, otherwise)
