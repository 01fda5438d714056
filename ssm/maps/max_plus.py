"""Maps between best-path scores: matrices over the (max, +) semiring."""

from typing import final

import equinox as eqx
import jax.numpy as jnp

from ssm.maps.base import AbstractMap
from ssm.shapes import Array, Float, Int, Key


class Scores(eqx.Module):
    """log-probability of the best path into each state, relative to the best of all (whose score is 0)."""

    values: Float[Array, "*batch K"]

    def sample(self, key: Key | None) -> Int[Array, ""]:
        """The best state: a path is not drawn but traced back."""
        return jnp.argmax(self.values, axis=-1)


@final
class MaxPlusMap(AbstractMap[Scores]):
    """δ_j ↦ max_i (δ_i + M_ij), shifted so that the best score is 0."""

    matrix: Float[Array, "K K"]

    def then(self, second: "MaxPlusMap") -> "MaxPlusMap":
        """max_k (M₁ᵢₖ + M₂ₖⱼ), shifted so that the largest entry is 0: scores relative to it stay accurate."""
        both = jnp.max(self.matrix[:, :, None] + second.matrix[None], axis=1)
        return MaxPlusMap(both - best_score(both))

    def apply(self, belief: Scores) -> Scores:
        """Move the scores on."""
        moved = jnp.max(belief.values[:, None] + self.matrix, axis=0)
        return Scores(moved - best_score(moved))

    def identity(self) -> "MaxPlusMap":
        """0 on the diagonal, -inf elsewhere."""
        size = self.matrix.shape[0]
        return MaxPlusMap(jnp.where(jnp.eye(size, dtype=bool), 0, -jnp.inf).astype(self.matrix.dtype))

    def forget(self, belief: Scores) -> "MaxPlusMap":
        """The belief in every row."""
        return MaxPlusMap(jnp.broadcast_to(belief.values, self.matrix.shape))


def best_score(values: Float[Array, "..."]) -> Float[Array, ""]:
    """The maximum, or 0 where no path is possible, as something to subtract."""
    highest = jnp.max(values)
    return jnp.where(highest == -jnp.inf, 0, highest)
