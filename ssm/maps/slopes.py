"""How the slope and curvature of a quadratic function of the state move, from the end of a sequence to its start."""

from typing import final

import equinox as eqx
import jax.numpy as jnp

from ssm.maps.base import AbstractMap
from ssm.numeric.linalg import multiply_small
from ssm.shapes import Array, Float


class Slope(eqx.Module):
    """The slope r of log p(future | x) in the mean of x, and the loss N of its variance."""

    mean: Float[Array, "*batch D"]
    covariance: Float[Array, "*batch D D"]


@final
class SlopeMap(AbstractMap[Slope]):
    """r ↦ M r + m, N ↦ M N Mᵀ + C: sums of positive semi-definite matrices, so that no square root is needed."""

    matrix: Float[Array, "D D"]
    offset: Float[Array, "D"]
    added: Float[Array, "D D"]

    def apply(self, belief: Slope) -> Slope:
        """The slope and the curvature one or more steps earlier."""
        through = multiply_small(self.matrix, belief.covariance, self.matrix.T)
        return Slope(multiply_small(self.matrix, belief.mean) + self.offset, through + self.added)

    def then(self, second: "SlopeMap") -> "SlopeMap":
        """Both, one after the other."""
        both = second.apply(Slope(self.offset, self.added))
        return SlopeMap(multiply_small(second.matrix, self.matrix), both.mean, both.covariance)

    def identity(self) -> "SlopeMap":
        """M = I, nothing added."""
        eye = jnp.eye(len(self.offset), dtype=self.matrix.dtype)
        return SlopeMap(eye, jnp.zeros_like(self.offset), jnp.zeros_like(self.added))

    def forget(self, belief: Slope) -> "SlopeMap":
        """M = 0."""
        return SlopeMap(jnp.zeros_like(self.matrix), belief.mean, belief.covariance)
