"""Quantiles, component by component: the smallest number whose cumulative probability reaches q.

One search serves every family, discrete or continuous: bisection over floating-point numbers themselves, which are
ordered as their bits are. It ends at the exact number after as many halvings as the format has bits.
"""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from tensorflow_probability.substrates import jax as tfp

from ssm.distributions.angles import CircularMixture
from ssm.distributions.marginals import marginals
from ssm.distributions.mixtures import WeightedMixture
from ssm.numeric.trees import widen
from ssm.shapes import Array, Float, Int

tfd = tfp.distributions

# Families of whole numbers whose cumulative probability is interpolated in between.
INTERPOLATED = (tfd.Poisson, tfd.Binomial, tfd.NegativeBinomial)

# Where the quantiles of a family lie, (distribution) -> (low, high), if its mean and variance do not tell.
SUPPORTS: dict[type, Callable[[Any], tuple[Array, Array]]] = {
    distrax.VonMises: lambda parts: (jnp.full_like(parts.loc, -jnp.pi), jnp.full_like(parts.loc, jnp.pi)),
}

# Distributions that know the quantiles of their components, (distribution, q) -> quantiles.
OWN: dict[type, Callable[[Any, Any], Array]] = {}


def quantile(distribution: Any, q: float | Float[Array, ""]) -> Array:
    """The q-quantile of every component of one event (of its marginal, for several components).

    Exact to rounding for every family whose cumulative probability is, and for mixtures of them; for discrete
    components the smallest value whose cumulative probability reaches q; for angles on (-π, π].
    """
    if type(distribution) in OWN:
        return OWN[type(distribution)](distribution, q)
    if _is_symbolic(distribution):
        reached = jnp.cumsum(distribution.probs, axis=-1)
        return jnp.where(jnp.isnan(reached[..., -1]), -1, jnp.sum(reached < q, axis=-1))  # -1: no symbol
    if not _is_mixture(distribution):
        parts = marginals(distribution)
        if isinstance(parts, distrax.Normal):
            return jnp.asarray(parts.loc + parts.scale * jax.scipy.special.ndtri(q))
    cumulative, low, high = _curve(distribution, q)
    return _smallest(cumulative, low, high, jnp.asarray(q, low.dtype))


def _is_mixture(distribution: Any) -> bool:
    return isinstance(distribution, distrax.MixtureSameFamily | WeightedMixture | CircularMixture)


def _is_symbolic(distribution: Any) -> bool:
    if isinstance(distribution, WeightedMixture):
        return isinstance(
            distribution.given(jax.tree.map(lambda leaf: leaf[0], distribution.points)), distrax.Categorical
        )
    return isinstance(distribution, distrax.Categorical)


def _curve(distribution: Any, q: Any) -> tuple[Callable[[Array], Array], Array, Array]:
    """The cumulative probability of every component, and numbers between which it passes q."""
    if isinstance(distribution, CircularMixture):
        return _curve(distribution.parts, q)
    if isinstance(distribution, WeightedMixture):
        one = lambda point: marginals(distribution.given(point))
        weights = jax.nn.softmax(distribution.log_weights)
        each = lambda x: jax.vmap(lambda point: _cdf(one(point), x))(distribution.points)
        low, high = jax.vmap(lambda point: _bracket(one(point), q))(distribution.points)
    elif isinstance(distribution, distrax.MixtureSameFamily):
        parts = marginals(distribution.components_distribution)  # (K, *event)
        weights = distribution.mixture_distribution.probs
        each = lambda x: _cdf(parts, x)
        low, high = _bracket(parts, q)
    else:
        parts = marginals(distribution)
        return lambda x: _cdf(parts, x), *_bracket(parts, q)
    # The mixture's quantile lies between the smallest and the largest quantile of its possible parts.
    weights = widen(jnp.asarray(weights), low.ndim)
    possible = weights > 0
    mixed = lambda x: jnp.sum(weights * each(x), axis=0)
    low, high = jnp.where(possible, low, jnp.inf), jnp.where(possible, high, -jnp.inf)
    return mixed, jnp.min(low, axis=0), jnp.max(high, axis=0)


def _cdf(parts: Any, x: Array) -> Array:
    return parts.cdf(jnp.floor(x) if isinstance(parts, INTERPOLATED) else x)


def _bracket(parts: Any, q: Any) -> tuple[Array, Array]:
    """Numbers that the q-quantile lies between, by Cantelli's inequality; all numbers where moments do not exist.

    mean - sd √((1 - q)/q)  <=  quantile  <=  mean + sd √(q/(1 - q))
    """
    for family, support in SUPPORTS.items():
        if isinstance(parts, family):
            return support(parts)
    mean, spread = parts.mean(), jnp.sqrt(parts.variance())
    q = jnp.asarray(q, mean.dtype)
    slack = 0.01 * (jnp.abs(mean) + spread)  # rounding of the bounds themselves, and of q
    low, high = mean - spread * jnp.sqrt((1 - q) / q) * 1.01, mean + spread * jnp.sqrt(q / (1 - q)) * 1.01
    highest = jnp.finfo(mean.dtype).max
    exists = jnp.isfinite(low) & jnp.isfinite(high)
    return jnp.where(exists, low - slack, -highest), jnp.where(exists, high + slack, highest)


def _smallest(cumulative: Callable[[Array], Array], low: Array, high: Array, q: Array) -> Array:
    """The smallest number in (low, high] whose cumulative probability reaches q; high if none before it does."""

    def halve(_, bounds):
        low, high = bounds
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        reached = cumulative(_number(middle, q.dtype)) >= q
        return jnp.where(reached, low, middle), jnp.where(reached, middle, high)

    bounds = (_place(low) - 1, _place(high))
    found = jax.lax.fori_loop(0, jnp.finfo(low.dtype).bits, halve, bounds)[1]
    number = _number(found, low.dtype)
    number = jnp.where(jnp.isnan(cumulative(number)), jnp.nan, number)  # halving would find a number all the same
    # Processors take the smallest numbers for zeros, with either sign.
    return jnp.where(jnp.abs(number) <= 2 * jnp.finfo(number.dtype).tiny, 0, number)


def _place(number: Float[Array, "*event"]) -> Int[Array, "*event"]:
    """Floating-point numbers as integers of the same order: negative ones have their bits below the sign flipped."""
    kind = {32: jnp.int32, 64: jnp.int64, 16: jnp.int16}[jnp.finfo(number.dtype).bits]
    bits = jax.lax.bitcast_convert_type(number, kind)
    return jnp.where(bits < 0, bits ^ jnp.iinfo(kind).max, bits)


def _number(place: Int[Array, "*event"], dtype: Any) -> Float[Array, "*event"]:
    """The inverse of `_place`."""
    bits = jnp.where(place < 0, place ^ jnp.iinfo(place.dtype).max, place)
    return jax.lax.bitcast_convert_type(bits, dtype)
