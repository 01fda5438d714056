"""Maps between distributions over K states: non-negative matrices, up to a factor per row."""

from typing import final

import jax.numpy as jnp

from ssm.beliefs import Categorical
from ssm.linalg import HIGHEST, row_times_matrix
from ssm.logspace import finite_max, ratio
from ssm.maps.base import AbstractMap
from ssm.shapes import Array, Float


@final
class MarkovMap(AbstractMap[Categorical]):
    """p ↦ p M / sum(p M) with M = diag(exp(log_scale)) rows.

    Each row of `rows` sums to one (or is zero, where the state leads nowhere), so products neither underflow
    nor overflow at any length; what was divided out is kept in `log_scale`.
    """

    rows: Float[Array, "K K"]
    log_scale: Float[Array, "K"]

    @classmethod
    def of(cls, matrix: Float[Array, "K K"], log_likelihood: Float[Array, "K"]) -> "MarkovMap":
        """The step M_ij = matrix_ij exp(log_likelihood_j), shifted by the maximum over each row's support."""
        shift = finite_max(jnp.broadcast_to(log_likelihood, matrix.shape), matrix > 0)
        return cls._normalised(matrix * jnp.exp(jnp.where(matrix > 0, log_likelihood - shift[:, None], 0)), shift)

    @classmethod
    def _normalised(cls, matrix: Float[Array, "K K"], log_scale: Float[Array, "K"]) -> "MarkovMap":
        total = jnp.sum(matrix, axis=1)
        return cls(ratio(matrix, total[:, None]), jnp.where(total == 0, -jnp.inf, jnp.log(total) + log_scale))

    def then(self, second: "MarkovMap") -> "MarkovMap":
        """M₁ M₂ = diag(s₁) P₁ diag(s₂) P₂, shifted row by row over the support of P₁."""
        # 1. row i of the product is s₁ᵢ Σ_j P₁ᵢⱼ s₂ⱼ P₂ⱼ;  2. with mᵢ = max of log s₂ⱼ over P₁ᵢⱼ > 0 the largest
        # factor exp(log s₂ⱼ - mᵢ) is one, so no row underflows as a whole.
        support = self.rows > 0
        shift = finite_max(jnp.broadcast_to(second.log_scale, self.rows.shape), support)
        weights = self.rows * jnp.exp(jnp.where(support, second.log_scale - shift[:, None], 0))
        return MarkovMap._normalised(jnp.matmul(weights, second.rows, precision=HIGHEST), self.log_scale + shift)

    def apply(self, belief: Categorical) -> Categorical:
        """The normalised row vector p M."""
        shift = finite_max(self.log_scale, belief.probs > 0)
        weights = belief.probs * jnp.exp(jnp.where(belief.probs > 0, self.log_scale - shift, 0))
        moved = row_times_matrix(weights, self.rows)
        return Categorical(ratio(moved, jnp.sum(moved)))

    def identity(self) -> "MarkovMap":
        """The unit matrix."""
        return MarkovMap(jnp.eye(self.rows.shape[0], dtype=self.rows.dtype), jnp.zeros_like(self.log_scale))

    def forget(self, belief: Categorical) -> "MarkovMap":
        """Every row is the belief."""
        return MarkovMap(jnp.broadcast_to(belief.probs, self.rows.shape), jnp.zeros_like(self.log_scale))
