"""Logarithms and ratios that keep their gradients finite where a probability is exactly zero."""

import jax.numpy as jnp

from ssm.numeric.derivatives import CustomDerivative
from ssm.shapes import Array


def log(probabilities: Array) -> Array:
    """log p, with -inf at p = 0 and a zero (not NaN) gradient there; NaN stays NaN."""
    nothing = probabilities <= 0
    return jnp.where(nothing, -jnp.inf, jnp.log(jnp.where(nothing, 1, probabilities)))


def on_support(inside: Array, ys: Array, log_density: Array | None = None) -> Array:
    """log p(y), 0 unless given, where y is possible, -inf where it is not, and NaN where it is NaN."""
    log_density = jnp.zeros_like(ys) if log_density is None else log_density
    return jnp.where(inside, log_density, jnp.where(ys == ys, -jnp.inf, jnp.nan).astype(log_density.dtype))


def ratio(numerator: Array, denominator: Array) -> Array:
    """a / b, and 0 where b is exactly zero: the share of something that cannot happen.

    A NaN in either argument stays NaN. Derivatives of any order multiply by 1 / b one time after the other, where those
    of a quotient have powers of it: 1 / b² is infinite for a b of 1e-20 in float32.
    """
    return _ratio(*jnp.broadcast_arrays(numerator, denominator))


@CustomDerivative
def _ratio(numerator: Array, denominator: Array) -> Array:
    nothing = denominator == 0
    return jnp.where(nothing, 0, numerator / jnp.where(nothing, 1, denominator))


@_ratio.defjvp
def _ratio_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    value, inverse = _ratio(*primals), _ratio(jnp.ones_like(primals[1]), primals[1])
    return value, (tangents[0] - value * tangents[1]) * inverse


def dot_log(counts: Array, probabilities: Array) -> Array:
    """sum(c log p) with 0 log 0 = 0, the expected log-probability of `counts` events.

    -inf where something that cannot happen was counted; gradient c / p, and 0 where c = 0.
    """
    counted = counts != 0
    return jnp.sum(jnp.where(counted, counts * log(jnp.where(counted, probabilities, 1)), 0))


def finite_max(values: Array, where: Array | None = None, axis: int = -1) -> Array:
    """Maximum over the entries marked by `where`, as a shift: 0 where all are -inf; NaN stays NaN."""
    if where is not None:
        values = jnp.where(where, values, -jnp.inf)
    highest = jnp.max(values, axis=axis)
    return jnp.where(highest == -jnp.inf, 0, highest)


def log_sum(values: Array, axis: int = -1) -> Array:
    """log Σ exp along an axis: -inf, with a zero gradient (not NaN), where all are -inf; NaN stays NaN."""
    shift = finite_max(values, axis=axis)
    total = jnp.sum(jnp.exp(values - jnp.expand_dims(shift, axis)), axis=axis)
    nothing = total == 0
    return jnp.where(nothing, -jnp.inf, jnp.log(jnp.where(nothing, 1, total)) + shift)


def log_multiply(left: Array, right: Array) -> Array:
    """log(exp(left) @ exp(right)), of which no entry is lost."""
    return log_sum(left[..., :, :, None] + right[..., None, :, :], axis=-2)
