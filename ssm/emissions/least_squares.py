"""Weighted counts, means and scatters: what a least-squares fit needs to know of its data, of any length."""

from typing import NamedTuple

import jax.numpy as jnp

from ssm.emissions.numeric import solve_semidefinite
from ssm.linalg import multiply
from ssm.logspace import ratio
from ssm.shapes import Array, Float


class Moments(NamedTuple):
    """Σ w, the weighted mean, and the scatter Σ w (z - mean)(z - mean)ᵀ around it.

    Around the mean rather than as raw second moments: float32 keeps its digits where means are large.
    """

    count: Float[Array, "*batch"]
    mean: Float[Array, "*batch Z"]
    scatter: Float[Array, "*batch Z Z"]

    @classmethod
    def of(cls, weights: Float[Array, "M"], rows: Float[Array, "M Z"]) -> "Moments":
        """The moments of M weighted rows; zero if nothing weighs."""
        count = jnp.sum(weights)
        mean = ratio(multiply(weights, rows), count)
        centred = rows - mean
        return cls(count, mean, multiply((weights[:, None] * centred).T, centred))

    def blend(self, new: "Moments", rate: Float[Array, ""]) -> "Moments":
        """(1 - rate) of these observations and rate of the new ones together (Chan, Golub & LeVeque 1983)."""
        before, after = (1 - rate) * self.count, rate * new.count
        count = before + after
        share = ratio(after, count)[..., None]
        gap = new.mean - self.mean
        between = (before * share[..., 0])[..., None, None] * gap[..., :, None] * gap[..., None, :]
        return Moments(count, self.mean + share * gap, (1 - rate) * self.scatter + rate * new.scatter + between)


def regress(
    moments: Moments,
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
    count, mean, scatter = moments
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
