"""Normal components seen through known noise: p(y | x = k, u) = Π_n N(y_n; loc[k, n], scale[k, n]² + u_n²)."""

from typing import final

import equinox as eqx
import jax.numpy as jnp

from ssm.distributions import Distribution, normal, normal_mixture
from ssm.emissions.common.components import by_component, each_component, row_sums, sum_components
from ssm.emissions.common.floors import checked_minimum
from ssm.emissions.normals.located import AbstractLocated
from ssm.emissions.normals.normal import Normal
from ssm.emissions.normals.scatter import Moments
from ssm.numeric import checks
from ssm.numeric.logspace import ratio
from ssm.parameters import Positive, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class NoisyNormal(AbstractLocated):
    """Measurements whose noise has a known standard deviation that varies in time, such as reported error bars.

    Shapes: `loc` and `scale` (K,) for scalars or (K, N) for vectors of independent components. The inputs are the
    standard deviations of the noise, (T, 1) or (T, N); their sign does not matter. A missing component leaves its term
    out. M-step: one step of EM over the clean value, y less its noise, given y normal with mean
    (u² loc + scale² y) / (scale² + u²) and variance scale² u² / (scale² + u²) (Dempster, Laird & Rubin 1977); it
    climbs, and with u = 0 it is that of `Normal`. `scale` stays at least `minimum_scale`.
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
        """Standard deviations of the clean values."""
        return value(self._scale)

    @property
    def num_inputs(self) -> int:
        """1 or N."""
        return 1 if self.loc.ndim == 1 else self.loc.shape[1]

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """The density, summed component by component."""
        rows = (ys, us.reshape(ys.shape))
        return sum_components(_log_density, rows, by_component(observed, ys), self.loc, self.scale)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """N(loc[state], scale[state]² + u²)."""
        return normal(self.loc[state], jnp.hypot(self.scale[state], u.reshape(self.event_shape)))

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """The mixture of normals."""
        return normal_mixture(probs, self.loc, jnp.hypot(self.scale, u.reshape(self.event_shape)))

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> Moments:
        """Expected moments of the clean values."""
        rows = (ys, us.reshape(ys.shape), by_component(observed, ys))

        def component(y, noise, seen, loc, scale):
            share = scale[:, None] ** 2 / (scale[:, None] ** 2 + noise**2)  # of what is seen, (K, M)
            away = share * (y - loc[:, None])  # of the clean value from the mean, which may be large beside it
            columns = weights.T if seen is None else jnp.where(seen, weights.T, 0)
            count = row_sums(columns)
            offset = ratio(row_sums(columns * away), count)
            return count, loc + offset, row_sums(columns * ((away - offset[:, None]) ** 2 + share * noise**2))

        return Moments(*each_component(component, rows, self.loc, self.scale))

    def fitted(self, sums: Moments, frozen: frozenset[str] = frozenset()) -> "NoisyNormal":
        """Mean and standard deviation of the clean values."""
        new = Normal(self.loc, self.scale, self.minimum_scale).fitted(sums, frozen)
        return NoisyNormal(new.loc, new.scale, self.minimum_scale)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "NoisyNormal":
        """`from_data`."""
        new = NoisyNormal.from_data(key, self.num_states, ys, observed)
        return NoisyNormal(new.loc, new.scale, self.minimum_scale)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "NoisyNormal":
        """Means from a standard normal, unit scales; scalars unless `num_components` is given."""
        new = Normal.random(key, num_states, num_components)
        return cls(new.loc, new.scale)

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "NoisyNormal":
        """Means at data points drawn far apart, scales those of the data, noise included."""
        new = Normal.from_data(key, num_states, ys, observed)
        return cls(new.loc, new.scale)


def _log_density(y: Array, noise: Array, loc: Array, scale: Array) -> Array:
    variance = scale**2 + noise**2
    return -0.5 * ((y - loc) ** 2 / variance + jnp.log(2 * jnp.pi * variance))
