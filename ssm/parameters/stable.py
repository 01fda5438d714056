"""Matrices whose powers die out: a parameter of their own, and a certificate."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from ssm.numeric.linalg import multiply
from ssm.parameters.base import AbstractParameter
from ssm.shapes import Array, Bool, Float


class Stable(AbstractParameter):
    """A matrix F with all eigenvalues inside the unit circle, stored as a matrix A of any numbers.

    F = A B⁻¹ with the Cholesky factor B Bᵀ = I + A Aᵀ. Then B Bᵀ = F (B Bᵀ) Fᵀ + I, the covariance in which x = F x +
    noise of unit covariance comes to rest, and which exists for a stable F alone. And A = F B, so that each such F has
    one A (Ansley & Kohn 1986, for order one).
    """

    free: Float[Array, "D D"]

    def constrained(self) -> Float[Array, "D D"]:
        """F."""
        eye = jnp.eye(len(self.free), dtype=self.free.dtype)
        root = jnp.linalg.cholesky(eye + multiply(self.free, self.free.T))
        return solve_triangular(root, self.free.T, lower=True, trans=1).T

    @classmethod
    def of(cls, matrix: Float[Array, "D D"]) -> "Stable":
        """The parameter whose value is `matrix`; Σ_k F^k (F^k)ᵀ by doubling the number of terms (Anderson 1978)."""

        def double(_: Any, carry: tuple) -> tuple:
            total, power = carry
            return total + multiply(power, total, power.T), multiply(power, power)

        total, _ = jax.lax.fori_loop(0, 24, double, (jnp.eye(len(matrix), dtype=matrix.dtype), matrix))
        return cls(multiply(matrix, jnp.linalg.cholesky(total)))


def is_stable(matrix: Float[Array, "D D"]) -> Bool[Array, ""]:
    """Whether the squared norm of the 1024th power is below 0.9: stable then, by more than float32 rounds away.

    Nearly all stable matrices pass; of single numbers those up to 0.99995.
    """
    power = jax.lax.fori_loop(0, 10, lambda _, power: multiply(power, power), matrix)
    return jnp.sum(power**2) < 0.9
