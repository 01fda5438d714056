"""Correlated heavy-tailed components: p(y | x = k) = t(y; df[k], loc[k], scale_matrix[k])."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import Distribution, log_multivariate_t, multivariate_student_t, squared_distance
from ssm.emissions.common.components import weights_seen
from ssm.emissions.common.floors import bounded_roots, checked_minimum
from ssm.emissions.normals.located import AbstractLocated
from ssm.emissions.normals.multivariate_normal import MultivariateNormal, complete
from ssm.emissions.normals.scatter import Scatters
from ssm.emissions.normals.student_t import TailSums, degrees_of_freedom, expected_precision
from ssm.numeric import checks
from ssm.numeric.linalg import multiply, square
from ssm.numeric.logspace import ratio
from ssm.numeric.missing import by_parts
from ssm.parameters import Covariance, Positive, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class MultivariateStudentT(AbstractLocated):
    """Vectors with `loc` (K, N), positive definite `scale_matrix` (K, N, N) and degrees of freedom `df` (K,).

    log p = log Γ((ν+N)/2) - log Γ(ν/2) - N/2 log(πν) - ½ log |S| - (ν+N)/2 log(1 + d²/ν) with the squared distance
    d² = (y - loc)ᵀ S⁻¹ (y - loc); missing components are integrated out, which leaves a t of the others. The
    covariance is S df / (df - 2).
    M-step: one step of EM over the precision u that scales all components of an event, E[u] = (ν+n)/(ν+d²), and over
    missing components (Liu & Rubin 1995, sections 2 and 3); it climbs. Eigenvalues of S stay at least minimum_scale²,
    by default as for `MultivariateNormal`.
    """

    loc: Float[Array, "K N"]
    _scale_matrix: Covariance
    _df: Positive | Float[Array, "K"]
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, loc: Array, scale_matrix: Array, df: Array, minimum_scale: float | None = None):
        self.loc = checks.real("loc", loc, ("K", "N"))
        states, size = self.loc.shape
        scale_matrix = checks.covariance("scale_matrix", scale_matrix, (states, size, size))
        self._scale_matrix = Covariance.of(scale_matrix.astype(self.loc.dtype))
        self._df = Positive.of(checks.positive("df", df, (states,)).astype(self.loc.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    @property
    def scale_matrix(self) -> Float[Array, "K N N"]:
        """Scale matrices S."""
        return self._scale_matrix.matrix

    @property
    def df(self) -> Float[Array, "K"]:
        """Degrees of freedom."""
        return value(self._df)

    def log_likelihoods(
        self, ys: Float[Array, "T N"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """State by state, so that no (T, K, N) array is made."""
        if observed is not None and observed.ndim == 2:
            return by_parts(observed, lambda: self._table(ys, None), lambda: self._table(ys, observed))
        return self._table(ys, None)

    def _table(self, ys: Float[Array, "T N"], parts: Bool[Array, "T N"] | None) -> Float[Array, "T K"]:
        """Densities, of the observed components alone where there are flags for them."""

        def one(state: tuple) -> Float[Array, "T"]:
            loc, root, df = state
            density = lambda y, seen: log_multivariate_t(y - loc, root, df, seen)
            return jax.vmap(density, (0, None if parts is None else 0))(ys, parts)

        return jax.lax.map(one, (self.loc, self._scale_matrix.lower, self.df)).T

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """t(df[state], loc[state], scale_matrix[state])."""
        return multivariate_student_t(self.loc[state], self._scale_matrix.lower[state], self.df[state])

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M N"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> TailSums:
        """Expected statistics of y and of its precision."""
        parts, weights = _parts(observed), weights_seen(weights, observed)
        axis = None if parts is None else 0

        def one(state: tuple) -> TailSums:
            weight, loc, root, df = state
            squared, _ = jax.vmap(lambda y, seen: squared_distance(y - loc, root, seen), (0, axis))(ys, parts)
            size = jnp.asarray(ys.shape[1], ys.dtype) if parts is None else jnp.sum(parts, axis=1).astype(ys.dtype)
            precision, strain = expected_precision(squared, df, size)
            completed, extra = ys, jnp.zeros_like(root)
            if parts is not None:
                completed, extra = complete(weight, ys, parts, loc, square(root))
            heavy = weight * precision
            away = completed - loc  # small beside the mean, perhaps
            offset = ratio(multiply(heavy, away), jnp.sum(heavy))
            away = away - offset
            scatter = multiply((heavy[:, None] * away).T, away) + extra
            moments = Scatters(jnp.sum(heavy), loc + offset, scatter)
            return TailSums(jnp.sum(weight), moments, jnp.sum(weight * strain))

        return jax.lax.map(one, (weights.T, self.loc, self._scale_matrix.lower, self.df))

    def fitted(self, sums: TailSums, frozen: frozenset[str] = frozenset()) -> "MultivariateStudentT":
        """Weighted means and scale matrices, and the degrees of freedom that fit the precisions."""
        loc = self.loc if "loc" in frozen else jnp.where(sums.total[:, None] > 0, sums.moments.mean, self.loc)
        root = self._scale_matrix.lower
        if "scale_matrix" not in frozen:
            matrix = ratio(sums.moments.around(loc), sums.total[:, None, None])
            root = bounded_roots(sums.total, matrix, sums.moments.smallest(loc), root, self.minimum_scale)
        df = self.df if "df" in frozen else degrees_of_freedom(sums, self.df)
        new = MultivariateStudentT(loc, self.scale_matrix, df, self.minimum_scale)
        return eqx.tree_at(lambda m: m._scale_matrix, new, Covariance(root))

    def restart(
        self, key: Key, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "MultivariateStudentT":
        """`from_data`."""
        new = MultivariateStudentT.from_data(key, self.num_states, ys, observed)
        return MultivariateStudentT(new.loc, new.scale_matrix, new.df, self.minimum_scale)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int) -> "MultivariateStudentT":
        """Means from a standard normal, unit scale matrices, 5 degrees of freedom."""
        new = MultivariateNormal.random(key, num_states, num_components)
        return cls(new.loc, new.covariance, jnp.full_like(new.loc[:, 0], 5.0))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M N"], observed: Bool[Array, "M"] | None = None
    ) -> "MultivariateStudentT":
        """Means at data points drawn far apart, diagonal with the variances of the data, 5 degrees of freedom."""
        new = MultivariateNormal.from_data(key, num_states, ys, observed)
        return cls(new.loc, new.covariance * (3 / 5), jnp.full_like(new.loc[:, 0], 5.0))


def _parts(observed: Bool[Array, "M *parts"] | None) -> Bool[Array, "M N"] | None:
    """Flags per component, if there are any: flags per step are left to the weights."""
    return None if observed is None or observed.ndim == 1 else observed
