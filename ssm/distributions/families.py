"""Distributions of one event, made from plain arrays."""

from typing import Any

import distrax
import jax.numpy as jnp

from ssm.numeric.logspace import log, on_support
from ssm.shapes import Array, Float

Distribution = distrax.Distribution


def categorical(probs: Float[Array, "*batch C"]) -> Distribution:
    """Symbols 0 .. C-1, with a finite gradient at probabilities of exactly zero."""
    return distrax.Categorical(logits=log(probs))


def categorical_logits(logits: Float[Array, "*batch C"]) -> Distribution:
    """Symbols 0 .. C-1, from unnormalised log-probabilities."""
    return distrax.Categorical(logits=logits)


class _Bernoulli(distrax.Bernoulli):
    def log_prob(self, value: Array) -> Array:
        """-inf for what is neither 0 nor 1."""
        return on_support((value == 0) | (value == 1), value, jnp.asarray(super().log_prob(value)))


def bernoulli(logits: Float[Array, "*event"], dtype: Any = int) -> Distribution:
    """Independent binary components, one event; draws are of type `dtype`."""
    return distrax.Independent(_Bernoulli(logits=logits, dtype=dtype), reinterpreted_batch_ndims=logits.ndim)


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


def num_symbols(distribution: Distribution) -> int | None:
    """C of a categorical distribution, None for others."""
    return distribution.num_categories if isinstance(distribution, distrax.Categorical) else None
