"""Least squares from counts, means and scatters of the data, of any length."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ssm.emissions.normals.scatter import Scatters
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import ratio
from ssm.numeric.semidefinite import solve_semidefinite
from ssm.numeric.trees import AbstractSums
from ssm.shapes import Array, Float

# Around a first line, and around the one that this corrects.
PASSES = 2


class Residuals(AbstractSums):
    """Moments of rows [u, y - W u - b] around a line W, b, whose residuals they do not round away."""

    moments: Scatters
    weights: Float[Array, "*batch N U"]
    bias: Float[Array, "*batch N"]

    def about(self, weights: Float[Array, "*batch N U"], bias: Float[Array, "*batch N"]) -> "Residuals":
        """Those around another line."""
        size = weights.shape[-1]
        turn, shift = self.weights - weights, self.bias - bias
        eye = lambda n, m: jnp.broadcast_to(jnp.eye(n, m, dtype=bias.dtype), (*bias.shape[:-1], n, m))
        outputs = bias.shape[-1]
        below = jnp.concatenate([turn, eye(outputs, outputs)], axis=-1)
        change = jnp.concatenate([eye(size, size + outputs), below], axis=-2)
        mean = jnp.einsum("...ij,...j->...i", change, self.moments.mean, precision="highest")
        mean = mean + jnp.concatenate([jnp.zeros_like(mean[..., :size]), shift], axis=-1)
        scatter = multiply(change, self.moments.scatter, jnp.swapaxes(change, -1, -2))
        return Residuals(Scatters(self.moments.count, mean, scatter), weights, bias)

    def blend(self, other: "Residuals", rate: Array) -> "Residuals":
        """Around the line of the other."""
        moments = self.about(other.weights, other.bias).moments.blend(other.moments, rate)
        return Residuals(moments, other.weights, other.bias)

    def of_response(self) -> tuple[Float[Array, "*batch N"], Float[Array, "*batch N"]]:
        """Mean and variance of y."""
        whole = self.about(jnp.zeros_like(self.weights), jnp.zeros_like(self.bias)).moments
        size = self.weights.shape[-1]
        scatter = jnp.diagonal(whole.scatter, axis1=-2, axis2=-1)[..., size:]
        return whole.mean[..., size:], jnp.maximum(ratio(scatter, whole.count[..., None]), 0)


def residuals_of(
    share: Float[Array, "M"],
    us: Float[Array, "M U"],
    left: Callable[[Float[Array, "N U"], Float[Array, "N"]], Float[Array, "M N"]],
    weights: Float[Array, "N U"],
    bias: Float[Array, "N"],
    extra: Float[Array, "N N"] | None = None,
) -> Residuals:
    """Around a line near enough to the best one that its residuals keep their digits.

    `left(weights, bias)`: y - W u - b; `extra`: what else there is of their scatter.
    """

    def at(weights: Float[Array, "N U"], bias: Float[Array, "N"]) -> Residuals:
        moments = Scatters.of(share, jnp.concatenate([us, left(weights, bias)], axis=1))
        moments = moments if extra is None else moments.plus(jnp.pad(extra, (us.shape[1], 0)))
        return Residuals(moments, weights, bias)

    def lost(carry: tuple) -> Array:
        _, worse, passes = carry
        return worse & (passes < PASSES)

    def best(sums: Residuals) -> tuple[Array, Array, Array]:
        """The line of least squares, and whether so little is left around it that digits are lost."""
        weights, bias, covariance = regress(sums, sums.weights, sums.bias)
        before = jnp.diagonal(sums.moments.around(jnp.zeros_like(sums.moments.mean)))[us.shape[1] :]
        return weights, bias, jnp.any(jnp.diagonal(covariance) * sums.moments.count * 64 < before)

    def again(carry: tuple) -> tuple:
        sums, _, passes = carry
        weights, bias, _ = best(sums)
        sums = at(weights, bias)
        return sums, best(sums)[2], passes + 1

    sums = at(weights, bias)
    return jax.lax.while_loop(lost, again, (sums, best(sums)[2], jnp.zeros((), int)))[0]


def regress(
    sums: Residuals,
    weights: Float[Array, "N U"],
    bias: Float[Array, "N"],
    keep_weights: bool = False,
    keep_bias: bool = False,
) -> tuple[Float[Array, "N U"], Float[Array, "N"], Float[Array, "N N"]]:
    """Least squares of y on u from the moments of rows [u, y - W u - b]: weights, bias, covariance of what is left.

    Starts from the given weights and moves them no further than the data ask: where inputs are collinear, or
    nothing weighs, they stay.
    """
    moments = sums.about(weights, bias).moments
    size = weights.shape[1]
    count, mean, scatter = moments.count, moments.mean, moments.scatter
    turn = jnp.zeros_like(weights)
    if not keep_weights:
        # With the bias held, the line must pass through it rather than through the means.
        about = moments.around(jnp.zeros_like(mean)) if keep_bias else scatter
        # The normal equations S_uu ΔWᵀ = S_ur of the residuals r.
        turn = solve_semidefinite(about[:size, :size], about[:size, size:]).T
    expected = mean[size:] - multiply(turn, mean[:size])
    shift = jnp.zeros_like(bias) if keep_bias else jnp.where(count > 0, expected, 0)
    missed = expected - shift
    contrast = jnp.concatenate([-turn, jnp.eye(bias.shape[0], dtype=bias.dtype)], axis=1)
    spread = ratio(multiply(contrast, scatter, contrast.T), count)
    return weights + turn, bias + shift, spread + missed[:, None] * missed
