"""Maps between points: affine functions h ↦ F h + b, dense or diagonal."""

from typing import final

import jax.numpy as jnp

from ssm.beliefs import Point
from ssm.maps.base import AbstractMap
from ssm.numeric.linalg import multiply
from ssm.shapes import Array, Float


@final
class AffineMap(AbstractMap[Point]):
    """h ↦ F h + b with a dense matrix F."""

    matrix: Float[Array, "D D"]
    offset: Float[Array, "D"]

    def then(self, second: "AffineMap") -> "AffineMap":
        """F₂ (F₁ h + b₁) + b₂."""
        return AffineMap(multiply(second.matrix, self.matrix), multiply(second.matrix, self.offset) + second.offset)

    def apply(self, belief: Point) -> Point:
        """F h + b."""
        return Point(multiply(self.matrix, belief.state) + self.offset)

    def identity(self) -> "AffineMap":
        """F = I, b = 0."""
        return AffineMap(jnp.eye(self.offset.shape[0], dtype=self.matrix.dtype), jnp.zeros_like(self.offset))

    def forget(self, belief: Point) -> "AffineMap":
        """F = 0, b = the belief."""
        return AffineMap(jnp.zeros_like(self.matrix), jnp.asarray(belief.state))


@final
class DiagonalAffineMap(AbstractMap[Point]):
    """h ↦ λ ∘ h + b: composition costs D instead of D³."""

    scale: Float[Array, "D"]
    offset: Float[Array, "D"]

    def then(self, second: "DiagonalAffineMap") -> "DiagonalAffineMap":
        """λ₂ (λ₁ h + b₁) + b₂."""
        return DiagonalAffineMap(second.scale * self.scale, second.scale * self.offset + second.offset)

    def apply(self, belief: Point) -> Point:
        """λ ∘ h + b."""
        return Point(self.scale * belief.state + self.offset)

    def identity(self) -> "DiagonalAffineMap":
        """λ = 1, b = 0."""
        return DiagonalAffineMap(jnp.ones_like(self.scale), jnp.zeros_like(self.offset))

    def forget(self, belief: Point) -> "DiagonalAffineMap":
        """λ = 0, b = the belief."""
        return DiagonalAffineMap(jnp.zeros_like(self.scale), jnp.asarray(belief.state))
