"""Distributions of counts, as floating-point whole numbers; each is made from plain arrays and is one event."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
from tensorflow_probability.substrates import jax as tfp

from ssm.distributions.families import Distribution
from ssm.distributions.marginals import MARGINALS, PARTIAL
from ssm.distributions.saddle_points import log_binomial, log_poisson
from ssm.numeric.logspace import log, on_support
from ssm.shapes import Array, Bool, Float

tfd = tfp.distributions


# Drawn by JAX: the samplers of TensorFlow Probability call what JAX is about to remove.


class _Poisson(tfd.Poisson):
    def _log_prob(self, x: Array) -> Array:
        inside = (x >= 0) & (x == jnp.round(x))
        known = log_poisson(jnp.where(inside, x, 0), self.rate, log(self.rate))
        return jnp.where(inside, known, jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))

    def _sample_n(self, n: Any, seed: Any = None) -> Array:
        return jax.random.poisson(seed, self.rate, (int(n), *self.rate.shape)).astype(self.rate.dtype)


class _NegativeBinomial(tfd.NegativeBinomial):
    def _sample_n(self, n: Any, seed: Any = None) -> Array:
        for_rate, for_count = jax.random.split(seed)
        shape = (int(n), *self.total_count.shape)
        rate = jax.random.gamma(for_rate, self.total_count, shape, self.total_count.dtype) * jnp.exp(self.logits)
        return jax.random.poisson(for_count, rate, shape).astype(rate.dtype)

    def _log_prob(self, y: Array) -> Array:
        return on_support(_is_count(y), y, super()._log_prob(y))


class _Binomial(tfd.Binomial):
    def _sample_n(self, n: Any, seed: Any = None) -> Array:
        return jax.random.binomial(seed, self.total_count, self.probs, (int(n), *self.probs.shape), self.probs.dtype)

    def _log_prob(self, y: Array) -> Array:
        return on_support(_is_count(y) & (y <= self.total_count), y, super()._log_prob(y))


class _Multinomial(distrax.Multinomial):
    def log_prob(self, value: Array) -> Array:
        """-inf for what is no count, and where counts do not add up."""
        total = jnp.sum(value, axis=-1)
        inside = jnp.all(_is_count(value), axis=-1) & (total == self.total_count)
        return on_support(inside, total, jnp.asarray(super().log_prob(value)))


def _is_count(y: Array) -> Array:
    return (y >= 0) & (y == jnp.round(y))


def poisson(rate: Float[Array, "*event"]) -> Distribution:
    """Independent Poisson components; a rate of zero gives zeros."""
    return _one_event(_Poisson(rate, force_probs_to_zero_outside_support=True))


def negative_binomial(size: Float[Array, "*event"], mean: Float[Array, "*event"]) -> Distribution:
    """Independent negative binomial components of variance mean + mean²/size."""
    return _one_event(_NegativeBinomial(size, logits=log(mean) - jnp.log(size), require_integer_total_count=False))


def binomial(total: int, probs: Float[Array, "*event"]) -> Distribution:
    """Independent numbers of successes in `total` trials."""
    return _one_event(_Binomial(jnp.full_like(probs, total), probs=probs))


def multinomial(total: int, probs: Float[Array, "N"]) -> Distribution:
    """How often each of N outcomes came up in `total` trials."""
    return _Multinomial(total, logits=log(probs), dtype=probs.dtype)


def log_negative_binomial(y: Array, size: Array, mean: Array) -> Array:
    """log p(y) elementwise, without differences of large numbers: size / (size + y) of a binomial probability."""
    possible = ~(mean <= 0)  # NaN stays NaN
    safe = jnp.where(possible, mean, 1)
    log_both = -jnp.log1p(safe / size), -jnp.log1p(size / safe)
    value = log_binomial(size, y, log_both) + jnp.log(size) - jnp.log(size + y)
    return jnp.where(possible, value, jnp.where(y > 0, -jnp.inf, 0))


def log_choose(total: int, y: Array) -> Array:
    """log of the binomial coefficient, elementwise."""
    return -tfp.math.lbeta(y + 1, total - y + 1) - jnp.log(jnp.full_like(y, total + 1))


def _one_event(distribution: tfd.Distribution) -> Distribution:
    distribution = distrax.as_distribution(distribution)
    return distrax.Independent(distribution, reinterpreted_batch_ndims=len(distribution.batch_shape))


def _multinomial_marginals(joint: Any) -> Distribution:
    total = jnp.broadcast_to(joint.total_count[..., None], joint.probs.shape)
    return distrax.as_distribution(_Binomial(total, probs=joint.probs))


def _multinomial_partial(joint: Any, y: Array, observed: Bool[Array, "N"]) -> Array:
    """The unobserved outcomes together are one outcome more, which took the rest of the trials."""
    return partial_multinomial(joint.total_count, joint.probs, y, observed)


def partial_multinomial(total: Array, probs: Float[Array, "N"], y: Array, observed: Bool[Array, "N"]) -> Array:
    """log p of the observed counts of a multinomial distribution."""
    y = jnp.where(observed, y, 0)
    counted = jnp.all(_is_count(y), axis=-1)
    rest = total - jnp.sum(y, axis=-1)
    left = jnp.sum(jnp.where(observed, 0, probs), axis=-1)
    fits = (rest >= 0) & (jnp.any(~observed, axis=-1) | (rest == 0))
    rest = jnp.maximum(rest, 0)
    seen = jnp.where(y > 0, y * log(jnp.where(y > 0, probs, 1)), 0)
    others = jnp.where(rest > 0, rest * log(jnp.where(rest > 0, left, 1)), 0)
    factorials = jax.lax.lgamma(total + 1) - jnp.sum(jax.lax.lgamma(y + 1), axis=-1) - jax.lax.lgamma(rest + 1)
    return on_support(fits & counted, jnp.sum(y, axis=-1), factorials + jnp.sum(seen, axis=-1) + others)


MARGINALS[distrax.Multinomial] = _multinomial_marginals
PARTIAL[distrax.Multinomial] = _multinomial_partial
