"""Correlated normal components with one covariance for all states: p(y | x = k) = N(y; loc[k], covariance)."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, multivariate_normal, multivariate_normal_mixture
from ssm.emissions.common.floors import bounded_roots, checked_minimum
from ssm.emissions.normals.located import AbstractLocated
from ssm.emissions.normals.multivariate_normal import MultivariateNormal, normal_rows
from ssm.emissions.normals.scatter import Scatters
from ssm.numeric import checks
from ssm.numeric.logspace import ratio
from ssm.parameters import Covariance
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class TiedMultivariateNormal(AbstractLocated):
    """Vectors with `loc` (K, N) and one `covariance` (N, N), stored as a lower-triangular root.

    Density and missing components as in `MultivariateNormal`. M-step: weighted means, and the weighted covariance
    around them pooled over the states, with every eigenvalue at least minimum_scale², by default as for
    `MultivariateNormal`.
    """

    loc: Float[Array, "K N"]
    _covariance: Covariance
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, loc: Array, covariance: Array, minimum_scale: float | None = None):
        self.loc = checks.real("loc", loc, ("K", "N"))
        size = self.loc.shape[1]
        covariance = checks.covariance("covariance", covariance, (size, size))
        self._covariance = Covariance.of(covariance.astype(self.loc.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    @property
    def covariance(self) -> Float[Array, "N N"]:
        """The covariance matrix."""
        return self._covariance.matrix

    @property
    def _roots(self) -> Float[Array, "K N N"]:
        """Its lower-triangular square root, for every state."""
        return jnp.broadcast_to(self._covariance.lower, (self.num_states, *self._covariance.lower.shape))

    def rows(
        self, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M *parts"] | None = None
    ) -> Float[Array, "K M"]:
        """See `AbstractEmission.rows`."""
        return normal_rows(ys, self.loc, self._roots, observed)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """N(loc[state], covariance)."""
        return multivariate_normal(self.loc[state], self._covariance.lower)

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """The mixture of multivariate normals."""
        return multivariate_normal_mixture(probs, self.loc, self._roots)

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M N"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> Scatters:
        """As `MultivariateNormal`."""
        each = MultivariateNormal(self.loc, jnp.broadcast_to(self.covariance, self._roots.shape))
        return each.sums(weights, ys, us, observed)

    def fitted(self, sums: Scatters, frozen: frozenset[str] = frozenset()) -> "TiedMultivariateNormal":
        """Weighted means and the pooled covariance."""
        loc = self.loc if "loc" in frozen else jnp.where(sums.count[:, None] > 0, sums.mean, self.loc)
        root = self._covariance.lower
        if "covariance" not in frozen:
            count = jnp.sum(sums.count)
            pooled = ratio(jnp.sum(sums.around(loc), axis=0), count)
            smallest = jnp.sqrt(ratio(jnp.sum(sums.count[:, None] * sums.smallest(loc) ** 2, axis=0), count))
            root = bounded_roots(count[None], pooled[None], smallest[None], root[None], self.minimum_scale)[0]
        return eqx.tree_at(lambda m: (m.loc, m._covariance), self, (loc, Covariance(root)))

    def permuted(self, order: np.ndarray) -> "TiedMultivariateNormal":
        """Means; the covariance is everyone's."""
        return eqx.tree_at(lambda m: m.loc, self, self.loc[order])

    def restart(
        self, key: Key, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "TiedMultivariateNormal":
        """`from_data`."""
        new = TiedMultivariateNormal.from_data(key, self.num_states, ys, observed)
        return TiedMultivariateNormal(new.loc, new.covariance, self.minimum_scale)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int) -> "TiedMultivariateNormal":
        """Means from a standard normal, unit covariance."""
        new = MultivariateNormal.random(key, num_states, num_components)
        return cls(new.loc, new.covariance[0])

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M N"], observed: Bool[Array, "M"] | None = None
    ) -> "TiedMultivariateNormal":
        """Means at data points drawn far apart, the covariance diagonal with the variances of the data."""
        new = MultivariateNormal.from_data(key, num_states, ys, observed)
        return cls(new.loc, new.covariance[0])
