"""Log-probabilities of large counts, as differences that keep their digits (Loader 2000).

Terms such as y log λ - λ - log y! grow with y where their sum does not, and float32 loses it. Here each is taken less
its value at λ = y: what is left is a deviance, worked out from y - λ, and the error of Stirling's formula.
"""

import jax
import jax.numpy as jnp

from ssm.shapes import Array

# The series are exact to float64 from here on, and up to this relative difference.
LARGE, NEAR = 16, 0.1


def keeps_digits(largest: Array | float | int, dtype: jnp.dtype) -> Array | bool:
    """Whether terms of this size, as they are, add up to a log-probability that is right to some 1e-5."""
    return largest * float(jnp.finfo(dtype).eps) <= 1e-5


def stirling_error(x: Array) -> Array:
    """log Γ(x + 1) - (x + ½) log x + x - ½ log 2π, for x > 0."""
    large = x > LARGE
    inverse = 1 / jnp.where(large, x, LARGE)
    square = inverse**2
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    small = jnp.where(large, LARGE, x)
    half_log = 0.5 * jnp.log(2 * jnp.pi).astype(x.dtype)
    return jnp.where(large, series, jax.lax.lgamma(small + 1) - (small + 0.5) * jnp.log(small) + small - half_log)


def deviance(x: Array, mean: Array, log_mean: Array) -> Array:
    """x log(x / mean) + mean - x, at least 0, for x > 0."""
    difference, whole = x - mean, x + mean
    near = jnp.abs(difference) < NEAR * whole
    ratio = jnp.where(near, difference / jnp.where(near, whole, 1), 0)
    square = ratio**2
    # 2 x (artanh v - v) + (x - mean) v with v = (x - mean) / (x + mean)
    tail = jnp.zeros_like(ratio)
    for power in range(17, 1, -2):
        tail = square * (1 / power + tail)
    close = difference * ratio + 2 * x * ratio * tail
    far = x * (jnp.log(x) - jnp.where(near, 0, log_mean)) + jnp.where(near, 0, mean) - x
    return jnp.where(near, close, far)


def log_poisson(y: Array, rate: Array, log_rate: Array) -> Array:
    """y log rate - rate - log y!, for y >= 0, any real number; a rate of 0 has the logarithm -inf."""
    counted = y > 0
    safe = jnp.where(counted, y, 1)
    possible = ~(log_rate == -jnp.inf)  # NaN stays NaN
    known = jnp.where(possible, log_rate, 0)
    value = -stirling_error(safe) - deviance(safe, rate, known) - 0.5 * jnp.log(2 * jnp.pi * safe)
    return jnp.where(counted, jnp.where(possible, value, -jnp.inf), -rate)


def log_binomial(y: Array, others: Array, log_both: tuple[Array, Array]) -> Array:
    """log Γ(y + others + 1) - log Γ(y + 1) - log Γ(others + 1) + y log p + others log(1 - p), both from 0, any number.

    As Poisson counts of y and of the others, given what they add up to.
    """
    total = y + others
    known = jnp.where(total > 0, total, 1)
    log_total = jnp.log(known)
    each = [
        log_poisson(count, known * jnp.exp(share), log_total + share)
        for count, share in zip((y, others), log_both, strict=True)
    ]
    together = -stirling_error(known) - 0.5 * jnp.log(2 * jnp.pi * known)
    return jnp.where(total > 0, each[0] + each[1] - together, 0)
