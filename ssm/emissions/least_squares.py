"""Least squares from counts, means and scatters of the data, of any length."""

import jax.numpy as jnp

from ssm.emissions.numeric import solve_semidefinite
from ssm.emissions.scatter import Scatters
from ssm.linalg import multiply
from ssm.logspace import ratio
from ssm.shapes import Array, Float


def regress(
    moments: Scatters,
    weights: Float[Array, "N U"],
    bias: Float[Array, "N"],
    keep_weights: bool = False,
    keep_bias: bool = False,
) -> tuple[Float[Array, "N U"], Float[Array, "N"], Float[Array, "N N"]]:
    """Least squares of y on u from the moments of rows [u, y]: weights, bias and covariance of the residuals.

    Starts from the given weights and moves them no further than the data ask: where inputs are collinear, or
    nothing weighs, they stay.
    """
    size = weights.shape[1]
    count, mean, scatter = moments.count, moments.mean, moments.scatter
    if not keep_weights:
        about = scatter
        if keep_bias:  # the line must then pass through the bias rather than through the means
            offset = mean - jnp.concatenate([jnp.zeros(size, bias.dtype), bias])
            about = scatter + count * offset[:, None] * offset
        # 1. normal equations: S_uu Wᵀ = S_uy;  2. for the change from W₀: S_uu ΔWᵀ = S_uy - S_uu W₀ᵀ.
        inside, across = about[:size, :size], about[:size, size:]
        weights = weights + solve_semidefinite(inside, across - multiply(inside, weights.T)).T
    expected = mean[size:] - multiply(weights, mean[:size])
    if not keep_bias:
        bias = jnp.where(count > 0, expected, bias)
    left = expected - bias
    contrast = jnp.concatenate([-weights, jnp.eye(bias.shape[0], dtype=bias.dtype)], axis=1)
    spread = ratio(multiply(contrast, scatter, contrast.T), count)
    return weights, bias, spread + left[:, None] * left
