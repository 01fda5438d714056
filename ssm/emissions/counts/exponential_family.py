"""Independent components of an exponential family: densities and sufficient statistics as matrix products.

    log p(y | k) = Σ_n [ Σ_j s_j(y_n) η_j[k, n] - a[k, n] + h(y_n) ]

with statistics s, natural parameters η, log-normaliser a and base measure h. For T observations of N components and K
states this is one product of (T, J N) and (J N, K), and no (T, K, N) array.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.components import by_component, row_sums
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import ratio
from ssm.numeric.protocols import unwritten
from ssm.shapes import Array, Bool, Float, PyTree


class WeightedSums(eqx.Module):
    """Σ_m w_mk and Σ_m w_mk s_j(y_m), for every state and component."""

    total: Float[Array, "K *event"]
    statistics: tuple[Float[Array, "K *event"], ...]

    def mean(self, j: int, otherwise: Float[Array, "K *event"]) -> Float[Array, "K *event"]:
        """The weighted mean of s_j, or something else in states without weight."""
        return jnp.where(self.total > 0, ratio(self.statistics[j], self.total), otherwise)

    def keep(self, old: Array, new: Array) -> Array:
        """The new value, the old one in states without weight."""
        return jnp.where(self.total > 0, new, old)


class AbstractExponentialFamily(AbstractEmission):
    """What such families share; each says its s, η, a and h, and the maximum of the likelihood given the sums.

    Missing components leave their terms out. Statistics that are counts may have a natural parameter of -inf: the
    density is zero where such a count is not.
    """

    @property
    def _axes(self) -> tuple[int, ...]:
        """(K, *event)."""
        raise unwritten(self)

    def _statistics(self, ys: Float[Array, "T *event"]) -> tuple[Float[Array, "T *event"], ...]:
        """The s_j, finite everywhere."""
        raise unwritten(self)

    def _natural(self) -> tuple[Float[Array, "K *event"], ...]:
        """The η_j."""
        raise unwritten(self)

    def _log_normaliser(self) -> Float[Array, "K *event"]:
        """a."""
        raise unwritten(self)

    def _log_base(self, ys: Float[Array, "T *event"]) -> Float[Array, "T *event"]:
        """h, -inf outside the support."""
        raise unwritten(self)

    @property
    def num_states(self) -> int:
        """K."""
        return self._axes[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """() or (N,)."""
        return self._axes[1:]

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """One matrix product, or term by term where its terms are so large that they round each other away."""
        if self._fits_product is True:
            return self._product(ys, observed)
        one_by_one = lambda: self._one_by_one(ys, by_component(observed, ys))
        if self._fits_product is False:
            return one_by_one()
        return jax.lax.cond(self._fits_product, lambda: self._product(ys, observed), one_by_one)

    @property
    def _fits_product(self) -> Bool[Array, ""] | bool:
        """Whether the matrix product keeps the digits: it need not where counts or precisions are large."""
        return True

    def _one_by_one(self, ys: Float[Array, "T *event"], seen: Bool[Array, "T *event"] | None) -> Float[Array, "T K"]:
        """The same densities by a formula that keeps them."""
        raise unwritten(self)

    def _product(self, ys: Float[Array, "T *event"], observed: Bool[Array, "T *parts"] | None) -> Float[Array, "T K"]:
        seen = observed if observed is not None and observed.ndim == ys.ndim else None
        there = lambda values: values if seen is None else jnp.where(seen, values, 0)
        rows = _side_by_side([there(s) for s in self._statistics(ys)])
        natural = _side_by_side(self._natural()).T  # (J N, K)
        hard = natural == -jnp.inf
        normaliser = _side_by_side([self._log_normaliser()])
        base = _side_by_side([there(self._log_base(ys))])
        values = multiply(rows, jnp.where(hard, 0, natural)) + multiply(base, jnp.ones((base.shape[1], 1), base.dtype))
        if seen is None:
            values = values - jnp.sum(normaliser, axis=1)
        else:
            values = values - multiply(_side_by_side([seen]).astype(normaliser.dtype), normaliser.T)
        if not self._has_borders:
            return values
        # A second product, for the rare model that needs it; a batch shares the model, so one branch runs.
        impossible = lambda: multiply(rows, hard.astype(rows.dtype)) > 0
        ruled_out = jax.lax.cond(jnp.any(hard), impossible, lambda: jnp.zeros(values.shape, bool))
        return jnp.where(ruled_out, -jnp.inf, values)

    @property
    def _has_borders(self) -> bool:
        """Whether natural parameters may be -inf."""
        return False

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> WeightedSums:
        """Weighted sums of the statistics of what was observed."""
        seen = by_component(observed, ys)
        there = lambda values: values if seen is None else jnp.where(seen, values, 0)
        columns = weights.T  # (K, M)
        added = lambda values: multiply(columns, values.reshape(values.shape[0], -1)).reshape(self._axes)
        statistics = tuple(added(there(s)) for s in self._statistics(ys))
        if seen is not None:
            return WeightedSums(added(seen.astype(ys.dtype)), statistics)
        total = row_sums(columns).reshape((-1,) + (1,) * len(self.event_shape))
        return WeightedSums(jnp.broadcast_to(total, self._axes), statistics)


def _side_by_side(parts: Any) -> Array:
    """Arrays (R, *event) as the columns of one matrix."""
    return jnp.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)
