"""Distributions of positive numbers, each made from plain arrays as one event."""

import distrax
from tensorflow_probability.substrates import jax as tfp

from ssm.distributions.families import Distribution
from ssm.shapes import Array, Float

tfd = tfp.distributions


def exponential(rate: Float[Array, "*event"]) -> Distribution:
    """Independent exponential components of mean 1/rate."""
    parts = distrax.as_distribution(tfd.Exponential(rate, force_probs_to_zero_outside_support=True))
    return distrax.Independent(parts, reinterpreted_batch_ndims=rate.ndim)


def gamma(shape: Float[Array, "*event"], rate: Float[Array, "*event"]) -> Distribution:
    """Independent gamma components of mean shape/rate."""
    parts = distrax.as_distribution(tfd.Gamma(shape, rate, force_probs_to_zero_outside_support=True))
    return distrax.Independent(parts, reinterpreted_batch_ndims=shape.ndim)
