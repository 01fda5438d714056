"""Correlated normal components: p(y | x = k) = N(y; loc[k], covariance[k])."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import Distribution, multivariate_normal, multivariate_normal_mixture
from ssm.emissions.common.components import weights_seen
from ssm.emissions.common.floors import bounded_roots, checked_minimum
from ssm.emissions.common.seeds import rows_of, spread_out, starting_scale
from ssm.emissions.normals.located import AbstractLocated
from ssm.emissions.normals.scatter import Scatters, scatters_of
from ssm.emissions.normals.whitened import residual_rows
from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import ratio
from ssm.parameters import Covariance
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree

# Observations among which the common centre of all states is looked for: it need not be exact.
SOME = 64


@final
class MultivariateNormal(AbstractLocated):
    """Vectors with `loc` (K, N) and `covariance` (K, N, N), stored as a lower-triangular root.

    log p = -½ |L⁻¹(y - loc)|² - Σ log |L_nn| - N/2 log 2π with L Lᵀ = covariance; missing components are
    integrated out. M-step: weighted mean and covariance (Rabiner 1989, eqs. 53-54), for partly missing vectors
    with their conditional moments (Little & Rubin 2002, section 11.2), and with every eigenvalue at least
    minimum_scale², the constrained maximum; by default, in units of the components, at least (1e-4)² of what is typical
    of the states and what the precision tells from nothing (`ssm.emissions.common.floors`).
    """

    loc: Float[Array, "K N"]
    _covariance: Covariance
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, loc: Array, covariance: Array, minimum_scale: float | None = None):
        self.loc = checks.real("loc", loc, ("K", "N"))
        size = self.loc.shape[1]
        covariance = checks.covariance("covariance", covariance, (self.loc.shape[0], size, size))
        self._covariance = Covariance.of(covariance.astype(self.loc.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    @property
    def covariance(self) -> Float[Array, "K N N"]:
        """Covariance matrices."""
        return self._covariance.matrix

    @property
    def root(self) -> Float[Array, "K N N"]:
        """Their lower-triangular square roots."""
        return self._covariance.lower

    def rows(
        self, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M *parts"] | None = None
    ) -> Float[Array, "K M"]:
        """See `AbstractEmission.rows`."""
        return normal_rows(ys, self.loc, self.root, observed)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """N(loc[state], covariance[state])."""
        return multivariate_normal(self.loc[state], self.root[state])

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """The mixture of multivariate normals."""
        return multivariate_normal_mixture(probs, self.loc, self.root)

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M N"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> Scatters:
        """Weighted counts, means and scatter matrices; missing components count by their conditional moments."""
        weights = weights_seen(weights, observed)
        if observed is None or observed.ndim == 1:
            return scatters_of(weights.T, ys, jnp.mean(ys[:: 1 + len(ys) // SOME], axis=0))

        def one_state(weights: Float[Array, "M"], loc: Float[Array, "N"], covariance: Float[Array, "N N"]) -> Scatters:
            completed, unseen = complete(weights, ys, observed, loc, covariance)
            return Scatters.of(weights, completed).plus(unseen)

        return jax.vmap(one_state, (1, 0, 0))(weights, self.loc, self.covariance)

    def fitted(self, sums: Scatters, frozen: frozenset[str] = frozenset()) -> "MultivariateNormal":
        """Weighted means and covariances, state by state."""
        loc = self.loc if "loc" in frozen else jnp.where(sums.count[:, None] > 0, sums.mean, self.loc)
        root = self.root
        if "covariance" not in frozen:
            covariance = ratio(sums.around(loc), sums.count[:, None, None])
            root = bounded_roots(sums.count, covariance, sums.smallest(loc), root, self.minimum_scale)
        return eqx.tree_at(lambda m: (m.loc, m._covariance), self, (loc, Covariance(root)))

    def restart(
        self, key: Key, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "MultivariateNormal":
        """`from_data`."""
        new = MultivariateNormal.from_data(key, self.num_states, ys, observed)
        return MultivariateNormal(new.loc, new.covariance, self.minimum_scale)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int) -> "MultivariateNormal":
        """Means from a standard normal, unit covariances."""
        shape = (checks.positive_int("num_states", num_states), checks.positive_int("num_components", num_components))
        eye = jnp.broadcast_to(jnp.eye(num_components), (*shape, num_components))
        return cls(jax.random.normal(key, shape), eye)

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M N"], observed: Bool[Array, "M"] | None = None
    ) -> "MultivariateNormal":
        """Means at data points drawn far apart, covariances diagonal with the variances of the data."""
        ys, observed = rows_of(ys, observed)
        loc = spread_out(key, checks.positive_int("num_states", num_states), ys, observed)
        variance = starting_scale(ys, observed) ** 2
        return cls(loc, jnp.broadcast_to(jnp.diag(variance), (*loc.shape, loc.shape[1])))


def normal_rows(
    ys: Float[Array, "M N"],
    loc: Float[Array, "K N"],
    roots: Float[Array, "K N N"],
    observed: Bool[Array, "M *parts"] | None,
) -> Float[Array, "K M"]:
    """log N(y_m; loc[k], roots[k] roots[k]ᵀ), over the observed components."""
    columns = ys.T
    return residual_rows(lambda n: columns[n] - loc[:, n, None], roots, observed)


def complete(weights, ys, observed, loc, covariance):
    """Missing components at their conditional means, and the weighted sum of their conditional covariances."""

    def one(y, seen):
        # With S_oo padded by the identity outside the observed block, gain = S_mo S_oo⁻¹ for the missing rows.
        both = seen[:, None] & seen[None, :]
        block = jnp.where(both, covariance, jnp.eye(y.shape[0], dtype=y.dtype))
        across = jnp.where((~seen)[:, None] & seen[None, :], covariance, 0)
        gain = jnp.linalg.solve(block, across.T).T
        missing = (~seen)[:, None] & (~seen)[None, :]
        left = jnp.where(missing, covariance - multiply(gain, across.T), 0)
        return jnp.where(seen, y, loc + multiply(gain, jnp.where(seen, y - loc, 0))), left

    def accumulate(total, inputs):
        weight, y, seen = inputs
        completed, left = one(y, seen)
        return total + weight * left, completed

    extra, completed = jax.lax.scan(accumulate, jnp.zeros_like(covariance), (weights, ys, observed))
    return completed, extra
