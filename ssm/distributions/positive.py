"""Distributions of positive numbers, each made from plain arrays as one event."""

from typing import Any

import distrax
import jax
from tensorflow_probability.substrates import jax as tfp

from ssm.distributions.families import Distribution
from ssm.shapes import Array, Float

tfd = tfp.distributions


class _Gamma(tfd.Gamma):
    def _sample_n(self, n: Any, seed: Any = None) -> Array:
        # Drawn by JAX: the sampler of TensorFlow Probability calls what JAX is about to remove.
        shape = (int(n), *self.concentration.shape)
        return jax.random.gamma(seed, self.concentration, shape, self.concentration.dtype) / self.rate


def exponential(rate: Float[Array, "*event"]) -> Distribution:
    """Independent exponential components of mean 1/rate."""
    parts = distrax.as_distribution(tfd.Exponential(rate, force_probs_to_zero_outside_support=True))
    return distrax.Independent(parts, reinterpreted_batch_ndims=rate.ndim)


def gamma(shape: Float[Array, "*event"], rate: Float[Array, "*event"]) -> Distribution:
    """Independent gamma components of mean shape/rate."""
    parts = distrax.as_distribution(_Gamma(shape, rate, force_probs_to_zero_outside_support=True))
    return distrax.Independent(parts, reinterpreted_batch_ndims=shape.ndim)
