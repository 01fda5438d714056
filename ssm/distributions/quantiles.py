"""Quantiles, component by component."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp

from ssm.distributions.families import Distribution
from ssm.shapes import Array, Float


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
