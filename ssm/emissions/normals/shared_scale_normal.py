"""Normals that share a scale: between states ("tied"), between components ("spherical"), or both."""

from typing import Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution
from ssm.emissions.common.floors import bounded_scale, checked_minimum, smallest_scales
from ssm.emissions.normals.located import AbstractLocated
from ssm.emissions.normals.normal import Normal
from ssm.emissions.normals.scatter import Moments
from ssm.numeric import checks
from ssm.numeric.logspace import ratio
from ssm.parameters import Positive, constrain, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree

Shared = Literal["states", "components", "both"]


@final
class SharedScaleNormal(AbstractLocated):
    """Independent normal components, as `Normal`, of which several have one scale.

    Shapes: `loc` (K,) or (K, N); `scale` of the same rank, of size one along the axis that shares: (1,) or (1, N) for
    one scale for all states ("tied"), (K, 1) for one per state ("spherical"), (1, 1) for one in all.
    M-step: weighted means, and scale² = Σ w (y - loc)² / Σ w over all that share it, at least `minimum_scale`²,
    by default as for `Normal`.
    """

    loc: Float[Array, "K *event"]
    _scale: Positive | Float[Array, "..."]
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, loc: Array, scale: Array, minimum_scale: float | None = None):
        axes = checks.leading_axes(loc)
        self.loc = checks.real("loc", loc, axes)
        scale = checks.positive("scale", scale, axes)
        fits = all(one in (1, size) for one, size in zip(scale.shape, self.loc.shape, strict=True))
        if not fits:
            raise ValueError(
                f"scale: expected shape {tuple(self.loc.shape)} with 1 in the place of the axis that shares, "
                f"got {tuple(scale.shape)}"
            )
        self._scale = Positive.of(scale.astype(self.loc.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    @property
    def scale(self) -> Float[Array, "..."]:
        """Standard deviations, of size one along the axes that share."""
        return value(self._scale)

    @property
    def _each(self) -> Normal:
        """The same distributions, with a scale for every state and component."""
        return constrain(Normal(self.loc, jnp.broadcast_to(self.scale, self.loc.shape), self.minimum_scale))

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """As `Normal`."""
        return self._each.log_likelihoods(ys, us, observed)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """As `Normal`."""
        return self._each.given(state, u)

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """As `Normal`."""
        return self._each.mixture(probs, u)

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> Moments:
        """As `Normal`."""
        return self._each.sums(weights, ys, us, observed)

    def fitted(self, sums: Moments, frozen: frozenset[str] = frozenset()) -> "SharedScaleNormal":
        """Weighted means; the variances pooled where they are shared."""
        loc = self.loc if "loc" in frozen else jnp.where(sums.count > 0, sums.mean, self.loc)
        variance = ratio(sums.around(loc), sums.count)
        smallest = smallest_scales(sums.count, loc, variance)
        scale = bounded_scale(sums.count, variance, smallest, self.scale, self.minimum_scale)
        return SharedScaleNormal(loc, self.scale if "scale" in frozen else scale, self.minimum_scale)

    def permuted(self, order: np.ndarray) -> "SharedScaleNormal":
        """Means, and scales where each state has its own."""
        scale = self._scale if self.scale.shape[0] == 1 else jax.tree.map(lambda leaf: leaf[order], self._scale)
        return eqx.tree_at(lambda m: (m.loc, m._scale), self, (self.loc[order], scale))

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "SharedScaleNormal":
        """`from_data`, shared in the same way."""
        new = Normal.from_data(key, self.num_states, ys, observed)
        return SharedScaleNormal(new.loc, _pooled(new.scale, self.scale.shape), self.minimum_scale)

    @classmethod
    def random(
        cls, key: Key, num_states: int, num_components: int | None = None, shared: Shared = "states"
    ) -> "SharedScaleNormal":
        """Means from a standard normal, unit scales; scalars unless `num_components` is given."""
        loc = Normal.random(key, num_states, num_components).loc
        return cls(loc, jnp.ones(_shared_shape(loc.shape, shared)))

    @classmethod
    def from_data(
        cls,
        key: Key,
        num_states: int,
        ys: Float[Array, "M *event"],
        observed: Bool[Array, "M"] | None = None,
        shared: Shared = "states",
    ) -> "SharedScaleNormal":
        """Means at data points drawn far apart, scales those of the data."""
        new = Normal.from_data(key, num_states, ys, observed)
        return cls(new.loc, _pooled(new.scale, _shared_shape(new.loc.shape, shared)))


def _shared_shape(shape: tuple[int, ...], shared: Shared) -> tuple[int, ...]:
    """The shape of a scale that the states, the components or both share."""
    if shared not in ("states", "components", "both"):
        raise ValueError(f'shared: expected "states", "components" or "both", got {shared!r}')
    states = 1 if shared in ("states", "both") else shape[0]
    return (states, *(1 if shared in ("components", "both") else size for size in shape[1:]))


def _pooled(scale: Float[Array, "K *event"], shape: tuple[int, ...]) -> Array:
    """Root mean squares over the axes of size one in `shape`."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return jnp.sqrt(jnp.mean(scale**2, axes, keepdims=True))
