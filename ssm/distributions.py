"""The only door to distrax: distributions made at the edge, for one instant, from plain arrays.

Make one where it is used, also inside `vmap`; never return one from a `scan` or `vmap`.
"""

from collections.abc import Callable
from typing import Any, final

import distrax
import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.linalg import empty_pivots, solve_lower, triangular_root
from ssm.logspace import log
from ssm.shapes import Array, Bool, Float, Key, PyTree

Distribution = distrax.Distribution


def categorical(probs: Float[Array, "*batch C"]) -> Distribution:
    """Symbols 0 .. C-1, with a finite gradient at probabilities of exactly zero."""
    return distrax.Categorical(logits=log(probs))


def categorical_logits(logits: Float[Array, "*batch C"]) -> Distribution:
    """Symbols 0 .. C-1, from unnormalised log-probabilities."""
    return distrax.Categorical(logits=logits)


def bernoulli(logits: Float[Array, "*event"]) -> Distribution:
    """Independent binary components, one event."""
    return distrax.Independent(distrax.Bernoulli(logits=logits), reinterpreted_batch_ndims=logits.ndim)


def normal(loc: Float[Array, "*event"], scale: Float[Array, "*event"]) -> Distribution:
    """Independent normal components, one event."""
    return distrax.Independent(distrax.Normal(loc, scale), reinterpreted_batch_ndims=loc.ndim)


def multivariate_normal(loc: Float[Array, "N"], root: Float[Array, "N N"]) -> Distribution:
    """N(loc, root rootᵀ)."""
    return distrax.MultivariateNormalTri(loc, root)


def normal_mixture(
    probs: Float[Array, "K"], loc: Float[Array, "K *event"], scale: Float[Array, "K *event"]
) -> Distribution:
    """Mixture of K products of normals."""
    parts = distrax.Independent(distrax.Normal(loc, scale), reinterpreted_batch_ndims=loc.ndim - 1)
    return distrax.MixtureSameFamily(distrax.Categorical(probs=probs), parts)


def multivariate_normal_mixture(
    probs: Float[Array, "K"], loc: Float[Array, "K N"], root: Float[Array, "K N N"]
) -> Distribution:
    """Mixture of K multivariate normals."""
    return distrax.MixtureSameFamily(distrax.Categorical(probs=probs), distrax.MultivariateNormalTri(loc, root))


def one_event(distribution: Distribution) -> Distribution:
    """The same distribution with its batch axes, if any, as independent components of one event."""
    batch = len(distribution.batch_shape)
    return distrax.Independent(distribution, reinterpreted_batch_ndims=batch) if batch else distribution


@final
class WeightedMixture(eqx.Module):
    """Σ_i w_i p(y | x_i) over P weighted points: what a particle filter predicts.

    Made of arrays: `given` makes the distribution of one point at the moment it is asked for.
    """

    given: Callable[[PyTree], Any]
    points: PyTree
    log_weights: Float[Array, "P"]

    def log_joint(self, y: Array, observed: Bool[Array, "*event"] | None = None) -> Float[Array, "P"]:
        """log w_i p(y | x_i), over the observed components of y."""
        if observed is None:
            density = lambda point: self.given(point).log_prob(y)
        else:
            density = lambda point: marginal_log_prob(self.given(point), y, observed)
        return self.log_weights + jax.vmap(density)(self.points)

    def log_prob(self, y: Array) -> Float[Array, ""]:
        """log Σ_i w_i p(y | x_i)."""
        return jax.nn.logsumexp(self.log_joint(y))

    def mean(self) -> Array:
        """Σ_i w_i E[y | x_i]."""
        return self._average(jax.vmap(lambda point: self.given(point).mean())(self.points))

    def variance(self) -> Array:
        """Σ_i w_i (Var[y | x_i] + (E[y | x_i] - E[y])²), component by component."""
        means = jax.vmap(lambda point: self.given(point).mean())(self.points)
        variances = jax.vmap(lambda point: self.given(point).variance())(self.points)
        return self._average(variances + (means - self._average(means)) ** 2)

    @property
    def probs(self) -> Float[Array, "C"]:
        """Σ_i w_i p(y = c | x_i), where the observations are categorical."""
        return self._average(jax.vmap(lambda point: self.given(point).probs)(self.points))

    def sample(self, *, seed: Key) -> Array:
        """A point drawn by weight, then an observation of it."""
        for_point, for_y = jax.random.split(seed)
        i = jax.random.categorical(for_point, self.log_weights)
        return self.given(jax.tree.map(lambda points: points[i], self.points)).sample(seed=for_y)

    def _average(self, values: Float[Array, "P *event"]) -> Float[Array, "*event"]:
        return jnp.tensordot(jax.nn.softmax(self.log_weights), values, 1, precision="highest")


def num_symbols(distribution: Distribution) -> int | None:
    """C of a categorical distribution, None for others."""
    return distribution.num_categories if isinstance(distribution, distrax.Categorical) else None


def quantile(distribution: Distribution, q: float | Float[Array, ""]) -> Array:
    """The q-quantile of every component of one event (of its marginal, for several components).

    Exact for normals; bisection on the exact distribution function for mixtures; for discrete components the
    smallest value whose cumulative probability reaches q.
    """
    if isinstance(distribution, distrax.Categorical):
        return jnp.sum(jnp.cumsum(distribution.probs, axis=-1) < q, axis=-1)
    if isinstance(distribution, distrax.MixtureSameFamily):
        return _mixture_quantile(distribution, q)
    parts = _marginals(distribution)
    if isinstance(parts, distrax.Bernoulli):
        return jnp.asarray(1 - parts.probs < q, parts.probs.dtype)
    return parts.loc + parts.scale * jax.scipy.special.ndtri(q)


def _mixture_quantile(mixture: Any, q: float | Float[Array, ""]) -> Array:
    parts = _marginals(mixture.components_distribution)  # (K, *event)
    weights = mixture.mixture_distribution.probs
    weights = weights.reshape(weights.shape + (1,) * (parts.loc.ndim - 1))
    each = parts.loc + parts.scale * jax.scipy.special.ndtri(q)
    # The mixture's quantile lies between the smallest and the largest quantile of its possible parts.
    possible = weights > 0
    low = jnp.min(jnp.where(possible, each, jnp.inf), axis=0)
    high = jnp.max(jnp.where(possible, each, -jnp.inf), axis=0)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        below = jnp.sum(weights * parts.cdf(middle), axis=0) < q
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, 60, halve, (low, high))
    return (low + high) / 2


def _marginals(distribution: Any) -> Any:
    """The univariate marginals of a distribution's components."""
    if isinstance(distribution, distrax.Independent):
        return _marginals(distribution.distribution)
    if isinstance(distribution, distrax.MultivariateNormalFromBijector):
        return distrax.Normal(distribution.mean(), distribution.stddev())
    if isinstance(distribution, distrax.Normal | distrax.Bernoulli):
        return distribution
    raise TypeError(
        f"quantile: no exact quantiles for {type(distribution).__name__}; draw samples with Forecast.sample instead"
    )


def marginal_log_prob(distribution: Distribution, y: Array, observed: Bool[Array, "*event"]) -> Array:
    """log-density of the observed components of y alone, the others integrated out.

    Knows products of independent components and multivariate normals; raises TypeError for others.
    """
    if isinstance(distribution, distrax.Independent) and distribution.distribution.event_shape == ():
        terms = jnp.where(observed, distribution.distribution.log_prob(y), 0)
        return jnp.sum(terms, axis=tuple(range(-len(distribution.event_shape), 0)))
    if isinstance(distribution, distrax.MultivariateNormalDiag):
        parts = distrax.Normal(distribution.loc, distribution.stddev())
        return jnp.sum(jnp.where(observed, parts.log_prob(y), 0), axis=-1)
    if isinstance(distribution, distrax.MultivariateNormalFromBijector):
        root = jnp.linalg.cholesky(distribution.covariance())
        return log_normal_density(y - distribution.mean(), root, observed)
    raise TypeError(
        f"mask: cannot leave out single components of a {type(distribution).__name__}; emit a product of "
        "independent components or a multivariate normal, or mask whole time steps"
    )


def log_normal_density(
    residual: Float[Array, "N"], root: Float[Array, "N N"], observed: Bool[Array, "N"] | None = None
) -> Float[Array, ""]:
    """log N(residual; 0, root rootᵀ), over the observed components alone.

    A direction of zero variance says nothing when its residual is zero, and makes the density zero (-inf)
    when it is not.
    """
    size = residual.shape[-1]
    if observed is not None:
        # Rows of the root that belong to the observed components, the rest replaced by unit noise of their own.
        kept = jnp.where(observed[:, None], root, 0)
        own = jnp.diag(jnp.where(observed, 0, 1).astype(root.dtype))
        root = triangular_root(jnp.concatenate([kept, own], axis=1))
        residual = jnp.where(observed, residual, 0)
        size = jnp.sum(observed).astype(root.dtype)
    empty = empty_pivots(root)
    whitened = solve_lower(root, residual)
    pivot = jnp.where(empty, 1, jnp.abs(jnp.diagonal(root)))
    dimension = size - jnp.sum(empty).astype(root.dtype)
    constant = 0.5 * jnp.log(2 * jnp.pi).astype(root.dtype)
    density = -0.5 * jnp.sum(whitened**2) - jnp.sum(jnp.log(pivot)) - dimension * constant
    # What the empty directions should read, given the others, up to rounding of the numbers it was made from.
    leftover = jnp.abs(residual - root @ whitened)
    rounding = jnp.sqrt(jnp.finfo(root.dtype).eps) * (jnp.abs(residual) + jnp.sqrt(jnp.sum(root**2, axis=1)))
    return jnp.where(jnp.any(empty & (leftover > rounding)), -jnp.inf, density)
