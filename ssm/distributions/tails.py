"""How much probability lies on each side of a value, component by component."""

from typing import Any

import distrax
import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions.angles import CircularMixture
from ssm.distributions.marginals import marginals
from ssm.distributions.mixtures import WeightedMixture
from ssm.distributions.quantiles import INTERPOLATED
from ssm.shapes import Array, Float

# Families of whole numbers from zero on.
WHOLE = (*INTERPOLATED, distrax.Bernoulli)


class Tails(eqx.Module):
    """P(Y < y), P(Y <= y), P(Y >= y) and P(Y > y): both sides, since one minus a small number forgets it."""

    below: Float[Array, "*event"]
    up_to: Float[Array, "*event"]
    from_here: Float[Array, "*event"]
    above: Float[Array, "*event"]


def tails(distribution: Any, y: Array) -> Tails:
    """Of every component of one event, under its marginal distribution; for angles counted from -π on.

    NaN under a normal of infinite variance. Raises TypeError for families whose components have no known marginals.
    """
    if isinstance(distribution, CircularMixture):
        return tails(distribution.parts, y)
    if isinstance(distribution, WeightedMixture):
        each = jax.vmap(lambda point: tails(distribution.given(point), y))(distribution.points)
        return _average(jax.nn.softmax(distribution.log_weights), each)
    if isinstance(distribution, distrax.MixtureSameFamily):
        parts = marginals(distribution.components_distribution)  # (K, *event)
        return _average(jnp.asarray(distribution.mixture_distribution.probs), _of_parts(parts, y))
    if isinstance(distribution, distrax.Categorical):
        probs, symbols = distribution.probs, jnp.arange(distribution.num_categories)
        chosen = (symbols < y[..., None], symbols <= y[..., None], symbols >= y[..., None], symbols > y[..., None])
        return Tails(*(jnp.sum(jnp.where(those, probs, 0), axis=-1) for those in chosen))
    return _of_parts(marginals(distribution), y)


def _of_parts(parts: Any, y: Array) -> Tails:
    if isinstance(parts, WHOLE):
        last = jnp.maximum(y - 1, jnp.zeros_like(y))
        up_to, before = parts.cdf(y), parts.cdf(last)
        first = y <= 0
        below = jnp.where(first, 0, before)
        return Tails(below, up_to, jnp.where(first, 1, _survival(parts, last, before)), _survival(parts, y, up_to))
    below = parts.cdf(y)
    above = _survival(parts, y, below)
    if isinstance(parts, distrax.Normal):  # of infinite variance, as a diffuse start is: every value is its middle
        below, above = (jnp.where(jnp.isinf(parts.scale), jnp.nan, side) for side in (below, above))
    return Tails(below, below, above, above)


def _survival(parts: Any, y: Array, cdf: Array) -> Array:
    """P(Y > y), from the far side where the family knows it."""
    if isinstance(parts, distrax.Normal):
        return jnp.asarray(parts.survival_function(y))
    return 1 - cdf


def _average(weights: Float[Array, "P"], each: Tails) -> Tails:
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, 1, precision="highest"), each)
