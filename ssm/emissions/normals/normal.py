"""Independent normal components: p(y | x = k) = Π_n N(y_n; loc[k, n], scale[k, n]²)."""

import functools
import operator
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import Distribution, normal, normal_mixture
from ssm.emissions.common.components import UNROLLED, flag_each
from ssm.emissions.common.floors import bounded_scale, checked_minimum, smallest_scales
from ssm.emissions.common.seeds import rows_of, spread_out, starting_scale, state_shape
from ssm.emissions.normals.located import AbstractLocated
from ssm.emissions.normals.scatter import Moments, moments_of
from ssm.numeric import checks
from ssm.numeric.logspace import ratio
from ssm.parameters import Positive, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class Normal(AbstractLocated):
    """Scalars, `loc` and `scale` (K,), or vectors of independent components, (K, N).

    log p = -½ Σ_n ((y_n - loc)/scale)² - Σ_n log scale - N/2 log 2π; a missing component leaves its term out.
    M-step: weighted mean and weighted standard deviation per component (Rabiner 1989, eqs. 53-54), with the
    standard deviation at least `minimum_scale`: the constrained maximum, so EM stays monotone where a state
    would shrink onto a single point and the likelihood grow without bound. By default that is 1e-4 of the typical
    scale of the states and what the precision tells apart, whatever the units (`ssm.emissions.common.floors`).
    """

    loc: Float[Array, "K *event"]
    _scale: Positive | Float[Array, "K *event"]
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, loc: Array, scale: Array, minimum_scale: float | None = None):
        self.loc = checks.real("loc", loc, checks.leading_axes(loc))
        self._scale = Positive.of(checks.positive("scale", scale, self.loc.shape).astype(self.loc.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    @property
    def scale(self) -> Float[Array, "K *event"]:
        """Standard deviations."""
        return value(self._scale)

    def rows(
        self, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M *parts"] | None = None
    ) -> Float[Array, "K M"]:
        """See `AbstractEmission.rows`."""
        # The constants once per state: inside the sum a compiler would take a logarithm for every time, too.
        logs = jnp.log(self.scale) + 0.5 * jnp.log(2 * jnp.pi).astype(self.loc.dtype)
        loc, scale, logs = (array.reshape(self.num_states, -1, 1) for array in (self.loc, self.scale, logs))
        columns = ys.reshape(len(ys), -1).T  # (N, M)
        seen = None if observed is None or observed.ndim < ys.ndim else observed.reshape(columns.shape[::-1]).T

        def component(n: int | slice) -> Float[Array, "K *N M"]:
            squares = _scaled(columns[n], loc[:, n], scale[:, n]) ** 2
            return squares if seen is None else jnp.where(seen[n], squares + 2 * logs[:, n], 0)

        if len(columns) <= UNROLLED:
            total = functools.reduce(operator.add, [component(n) for n in range(len(columns))])
        else:
            total = jnp.sum(component(slice(None)), axis=1)
        return -0.5 * total - (jnp.sum(logs, axis=1) if seen is None else 0)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """N(loc[state], scale[state]²)."""
        return normal(self.loc[state], self.scale[state])

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """The mixture of normals."""
        return normal_mixture(probs, self.loc, self.scale)

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> Moments:
        """Weighted counts, means and squared deviations of what was observed."""
        seen = None if observed is None else flag_each(observed, ys).astype(ys.dtype)
        return moments_of(weights.T, ys, seen, jnp.mean(self.loc, axis=0))

    def fitted(self, sums: Moments, frozen: frozenset[str] = frozenset()) -> "Normal":
        """Weighted means and standard deviations."""
        loc = self.loc if "loc" in frozen else jnp.where(sums.count > 0, sums.mean, self.loc)
        variance = ratio(sums.around(loc), sums.count)
        smallest = smallest_scales(sums.count, loc, variance)
        scale = bounded_scale(sums.count, variance, smallest, self.scale, self.minimum_scale)
        return Normal(loc, self.scale if "scale" in frozen else scale, self.minimum_scale)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "Normal":
        """`from_data`."""
        new = Normal.from_data(key, self.num_states, ys, observed)
        return Normal(new.loc, new.scale, self.minimum_scale)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "Normal":
        """Means from a standard normal, unit scales; scalars unless `num_components` is given."""
        shape = state_shape(num_states, num_components)
        return cls(jax.random.normal(key, shape), jnp.ones(shape))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "Normal":
        """Means at data points drawn far apart, scales those of the data."""
        ys, observed = rows_of(ys, observed)
        loc = spread_out(key, checks.positive_int("num_states", num_states), ys, observed)
        return cls(loc, jnp.broadcast_to(starting_scale(ys, observed), loc.shape))


def _scaled(ys: Array, loc: Array, scale: Array) -> Array:
    return (ys - loc) * (1 / scale)
