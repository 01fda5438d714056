"""Many components with few common causes: p(y | x = k) = N(y; loc[k], Λ Λᵀ + diag(scale²))."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, multivariate_normal, multivariate_normal_mixture
from ssm.emissions.common.components import weights_seen
from ssm.emissions.common.floors import bounded_scale, checked_minimum, smallest_scales
from ssm.emissions.normals.located import AbstractLocated
from ssm.emissions.normals.normal import Normal
from ssm.emissions.normals.scatter import moments_of
from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import ratio
from ssm.numeric.ranks import rank_of_factors
from ssm.numeric.roots import triangular_root
from ssm.parameters import AbstractOverparametrised, Positive, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class FactorNormal(AbstractLocated, AbstractOverparametrised):
    """Vectors y = loc + factors z + scale · noise with z of R dimensions: factor analysis in every state.

    Shapes: `loc` (K, N), `factors` (K, N, R), `scale` (K, N), standard deviations of the noise. With Λ = factors,
    ψ = scale², M = I + Λᵀ ψ⁻¹ Λ and z = M⁻¹ Λᵀ ψ⁻¹ (y - loc), the Woodbury identity gives in O(N R²)
        log p = -½ (Σ_n (y - loc - Λ z)_n² / ψ_n + |z|² + Σ_n log ψ_n + log |M| + N log 2π);
    missing components leave their rows of Λ, ψ and y out. M-step: one step of EM over z, which regresses y on (z, 1)
    (Rubin & Thayer 1982; with the mean, Ghahramani & Hinton 1996); it climbs. `scale` stays at least `minimum_scale`,
    by default as for `Normal`.
    """

    loc: Float[Array, "K N"]
    factors: Float[Array, "K N R"]
    _scale: Positive | Float[Array, "K N"]
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, loc: Array, factors: Array, scale: Array, minimum_scale: float | None = None):
        self.loc = checks.real("loc", loc, ("K", "N"))
        self.factors = checks.real("factors", factors, (*self.loc.shape, "R")).astype(self.loc.dtype)
        self._scale = Positive.of(checks.positive("scale", scale, self.loc.shape).astype(self.loc.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    def num_redundant(self, entries: Any) -> int:
        """What the covariance does not show, such as rotations of the factors."""
        free = (entries.factors, jax.tree.leaves(entries._scale)[0])
        each = [rank_of_factors(*state) for state in zip(np.asarray(self.factors, float), *free, strict=True)]
        return int(free[0].sum() + free[1].sum()) - sum(each)

    @property
    def scale(self) -> Float[Array, "K N"]:
        """Standard deviations of what the factors do not explain."""
        return value(self._scale)

    @property
    def covariance(self) -> Float[Array, "K N N"]:
        """Λ Λᵀ + diag(scale²)."""
        return multiply(self.factors, jnp.swapaxes(self.factors, 1, 2)) + jax.vmap(jnp.diag)(self.scale**2)

    def log_likelihoods(
        self, ys: Float[Array, "T N"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """State by state, so that no (T, K, N) array is made."""
        seen = _shares(ys, observed)
        each = (self.loc, self.factors, self.scale)
        return jax.lax.map(lambda state: _density(ys - state[0], state[1], state[2], seen), each).T

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """N(loc[state], Λ Λᵀ + diag(scale²)), with its full root."""
        return multivariate_normal(self.loc[state], _root(self.factors[state], self.scale[state]))

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """The mixture of multivariate normals."""
        return multivariate_normal_mixture(probs, self.loc, jax.vmap(_root)(self.factors, self.scale))

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M N"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "FactorNormal":
        """One step of EM over the factors, state by state."""
        seen, weights = _shares(ys, observed), weights_seen(weights, observed)

        def one(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array]:
            weight, loc, factors, scale = state
            causes, root = _causes(ys - loc, factors, scale, seen)
            return _regressed(weight[:, None] * seen, ys, causes, root, loc, factors, scale, frozen)

        new = jax.lax.map(one, (weights.T, self.loc, self.factors, self.scale))
        flags = None if observed is None or observed.ndim == 1 else observed.astype(ys.dtype)
        found = moments_of(weights.T, ys, flags, jnp.mean(self.loc, axis=0))
        smallest = smallest_scales(found.count, found.mean, new[2] ** 2, ratio(found.scatter, found.count))
        scale = bounded_scale(found.count, new[2] ** 2, smallest, self.scale, self.minimum_scale)
        return FactorNormal(new[0], new[1], self.scale if "scale" in frozen else scale, self.minimum_scale)

    def restart(
        self, key: Key, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "FactorNormal":
        """`from_data`."""
        new = FactorNormal.from_data(key, self.num_states, ys, observed, self.factors.shape[2])
        return FactorNormal(new.loc, new.factors, new.scale, self.minimum_scale)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int, num_factors: int) -> "FactorNormal":
        """Means and factors from a standard normal, unit scales."""
        checks.positive_int("num_factors", num_factors)
        for_loc, for_factors = jax.random.split(key)
        new = Normal.random(for_loc, num_states, checks.positive_int("num_components", num_components))
        return cls(new.loc, jax.random.normal(for_factors, (*new.loc.shape, num_factors)), new.scale)

    @classmethod
    def from_data(
        cls,
        key: Key,
        num_states: int,
        ys: Float[Array, "M N"],
        observed: Bool[Array, "M"] | None = None,
        num_factors: int = 1,
    ) -> "FactorNormal":
        """Means at data points drawn far apart; random factors that explain about half of the data's variance."""
        checks.positive_int("num_factors", num_factors)
        for_loc, for_factors = jax.random.split(key)
        new = Normal.from_data(for_loc, num_states, ys, observed)
        half = new.scale / jnp.sqrt(2).astype(new.loc.dtype)
        draws = jax.random.normal(for_factors, (*new.loc.shape, num_factors), new.loc.dtype)
        return cls(new.loc, half[..., None] * draws / num_factors**0.5, half)


def _shares(ys: Float[Array, "M N"], observed: Bool[Array, "M *parts"] | None) -> Float[Array, "#M #N"]:
    """One where a component was seen and zero where not; flags per step are left to the weights."""
    if observed is None or observed.ndim == 1:
        return jnp.ones((1, 1), ys.dtype)
    return observed.astype(ys.dtype)


def _causes(
    residuals: Float[Array, "M N"], factors: Float[Array, "N R"], scale: Float[Array, "N"], seen: Array
) -> tuple[Float[Array, "M R"], Float[Array, "#M R R"]]:
    """Mean of z given what was seen of y, and the Cholesky factor of its precision M."""
    weighed = factors / scale[:, None] ** 2
    pairs = (weighed[:, :, None] * factors[:, None, :]).reshape(len(factors), -1)  # (N, R R)
    size = factors.shape[1]
    shares = jnp.broadcast_to(seen, (seen.shape[0], len(factors)))
    precision = multiply(shares, pairs).reshape(-1, size, size) + jnp.eye(size, dtype=factors.dtype)
    root = jnp.linalg.cholesky(precision)
    right = multiply(residuals * seen, weighed)
    if len(root) == 1:  # one product: solving for as many right sides took twenty times as long
        return multiply(right, jax.scipy.linalg.cho_solve((root[0], True), jnp.eye(size, dtype=root.dtype))), root
    return jax.vmap(lambda lower, b: jax.scipy.linalg.cho_solve((lower, True), b))(root, right), root


def _density(
    residuals: Float[Array, "M N"], factors: Float[Array, "N R"], scale: Float[Array, "N"], seen: Array
) -> Float[Array, "M"]:
    """log N(residuals; 0, Λ Λᵀ + diag(scale²)), without a difference of large squares."""
    causes, root = _causes(residuals, factors, scale, seen)
    left = (residuals - multiply(causes, factors.T)) / scale
    constants = 2 * jnp.log(scale) + jnp.log(2 * jnp.pi).astype(scale.dtype)
    log_volume = 2 * jnp.sum(jnp.log(jnp.diagonal(root, axis1=1, axis2=2)), axis=1)
    return -0.5 * (jnp.sum(seen * (left**2 + constants), axis=1) + jnp.sum(causes**2, axis=1) + log_volume)


def _regressed(
    weights: Float[Array, "M #N"],
    ys: Float[Array, "M N"],
    causes: Float[Array, "M R"],
    root: Float[Array, "#M R R"],
    loc: Float[Array, "N"],
    factors: Float[Array, "N R"],
    scale: Float[Array, "N"],
    frozen: frozenset[str],
) -> tuple[Float[Array, "N"], Float[Array, "N R"], Float[Array, "N"]]:
    """loc, factors and scale that maximise Σ weights E[log p(y | z)] for one state."""
    size = causes.shape[1]
    eye = jnp.eye(size, dtype=root.dtype)
    spread = jax.vmap(lambda lower: jax.scipy.linalg.cho_solve((lower, True), eye))(root)  # covariance of z
    spread = jnp.broadcast_to(spread, (len(ys), size, size)).reshape(len(ys), -1)
    total = jnp.broadcast_to(jnp.sum(weights, axis=0), loc.shape)
    alive = total > 0
    blur = jnp.broadcast_to(multiply(weights.T, spread).reshape(-1, size, size), (len(loc), size, size))
    # Around means, not around zero: y and z less their weighted means, so that loc follows from the factors.
    mean = lambda values: ratio(multiply(weights.T, values), jnp.sum(weights, axis=0)[:, None])
    middle = jnp.broadcast_to(mean(causes), (len(loc), size))  # (N, R)
    centre = loc + ratio(jnp.sum(weights * (ys - loc), axis=0), total)
    if "loc" in frozen:
        middle, centre = jnp.zeros_like(middle), loc

    def factors_of(weight: Array, y: Array, middle: Array, centre: Array, blur: Array) -> Array:
        away = causes - middle
        return jnp.linalg.solve(
            multiply((weight[:, None] * away).T, away) + blur, multiply(away.T, weight * (y - centre))
        )

    columns = jnp.broadcast_to(weights, ys.shape).T
    if "factors" not in frozen:
        safe = jnp.where(alive[:, None, None], blur, eye)
        solved = jax.lax.map(lambda each: factors_of(*each), (columns, ys.T, middle, centre, safe))
        factors = jnp.where(alive[:, None], solved, factors)
    if "loc" not in frozen:
        loc = jnp.where(alive, centre - jnp.sum(factors * middle, axis=1), loc)
    if "scale" not in frozen:
        left = ys - loc - multiply(causes, factors.T)
        unsure = jnp.einsum("nr,nrs,ns->n", factors, blur, factors, precision="highest")
        variance = ratio(jnp.sum(weights * left**2, axis=0) + unsure, total)
        scale = jnp.where(alive, jnp.sqrt(variance), scale)
    return loc, factors, scale


@jax.jit
def _root(factors: Float[Array, "N R"], scale: Float[Array, "N"]) -> Float[Array, "N N"]:
    """The triangular root of the whole covariance."""
    return triangular_root(jnp.concatenate([factors, jnp.diag(scale)], axis=1))
