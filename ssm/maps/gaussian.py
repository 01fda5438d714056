"""Maps between Gaussian beliefs: the filtering and smoothing elements of parallel-in-time Kalman filters."""

from typing import final

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.maps.base import AbstractKernel, AbstractMap
from ssm.numeric.linalg import multiply
from ssm.numeric.roots import solve_lower, triangular_root
from ssm.shapes import Array, Float, Key


@final
class GaussianKernel(AbstractMap[Gaussian], AbstractKernel[Gaussian]):
    """x' | x ~ N(F x + b, L Lᵀ), with `noise` = L: a transition, or a reversed (RTS) one."""

    matrix: Float[Array, "D D"]
    offset: Float[Array, "D"]
    noise: Float[Array, "D D"]

    def apply(self, belief: Gaussian) -> Gaussian:
        """Mean F m + b; the root of F P Fᵀ + L Lᵀ from [F P½, L]."""
        return belief.moved(self.matrix, self.offset, self.noise)

    def sample(self, key: Key, state: Float[Array, "D"]) -> Float[Array, "D"]:
        """One draw of x' given x."""
        return Gaussian(multiply(self.matrix, state) + self.offset, self.noise).sample(key)

    def then(self, second: "GaussianKernel") -> "GaussianKernel":
        """N(F₂ F₁ x + F₂ b₁ + b₂, F₂ L₁ L₁ᵀ F₂ᵀ + L₂ L₂ᵀ)."""
        through = second.apply(Gaussian(self.offset, self.noise))
        return GaussianKernel(multiply(second.matrix, self.matrix), through.mean, through.root)

    def identity(self) -> "GaussianKernel":
        """F = I without noise."""
        eye = jnp.eye(self.offset.shape[0], dtype=self.matrix.dtype)
        return GaussianKernel(eye, jnp.zeros_like(self.offset), jnp.zeros_like(self.noise))

    def forget(self, belief: Gaussian) -> "GaussianKernel":
        """F = 0: x' is distributed as the belief."""
        return GaussianKernel(jnp.zeros_like(self.matrix), belief.mean, belief.root)


@final
class GaussianMap(AbstractMap[Gaussian]):
    """One or more filter steps: p(x' | x, y) = N(F x + b, U Uᵀ) and p(y | x) ∝ N⁻¹(x; η, Z Zᵀ).

    The square-root element (F, b, U, η, Z) of Yaghoobi, Corenflos, Hassan & Särkkä 2022 (arXiv:2207.00426),
    eqs. 11-16, after Särkkä & García-Fernández 2021.
    """

    matrix: Float[Array, "D D"]
    offset: Float[Array, "D"]
    noise: Float[Array, "D D"]  # U
    information: Float[Array, "D"]  # η
    precision: Float[Array, "D D"]  # Z

    def then(self, second: "GaussianMap") -> "GaussianMap":
        """Condition the state between the two on what `second` saw, then move it on."""
        size = self.offset.shape[0]
        eye = jnp.eye(size, dtype=self.matrix.dtype)
        # 1. root of [[UᵀZ ZᵀU + I, UᵀZ Zᵀ], [·, Z Zᵀ]], U of the first, Z of the second
        corner = multiply(self.noise.T, second.precision)
        below = jnp.zeros((size, size), self.matrix.dtype)
        root = triangular_root(jnp.block([[corner, eye], [second.precision, below]]))
        inner, cross, rest = root[:size, :size], root[size:, :size], root[size:, size:]
        # 2. gain = U inner⁻ᵀ, and the correction I - gain crossᵀ of the state between
        gain = solve_lower(inner, self.noise.T).T
        correction = eye - multiply(gain, cross.T)
        moved = multiply(second.matrix, correction)
        between = self.offset + multiply(self.noise, self.noise.T, second.information)
        surprise = second.information - multiply(second.precision, second.precision.T, self.offset)
        spread = jnp.concatenate([multiply(second.matrix, gain), second.noise], axis=1)
        seen = jnp.concatenate([multiply(self.matrix.T, rest), self.precision], axis=1)
        return GaussianMap(
            matrix=multiply(moved, self.matrix),
            offset=multiply(moved, between) + second.offset,
            noise=triangular_root(spread),
            information=multiply(self.matrix.T, correction.T, surprise) + self.information,
            precision=triangular_root(seen),
        )

    def apply(self, belief: Gaussian) -> Gaussian:
        """Compose with the element that forgets its past in favour of `belief`."""
        after = self.forget(belief).then(self)
        return Gaussian(after.offset, after.noise)

    def identity(self) -> "GaussianMap":
        """F = I, nothing added, nothing seen."""
        nothing = jax.tree.map(jnp.zeros_like, self)
        return GaussianMap(
            jnp.eye(self.offset.shape[0], dtype=self.matrix.dtype),
            nothing.offset,
            nothing.noise,
            nothing.information,
            nothing.precision,
        )

    def forget(self, belief: Gaussian) -> "GaussianMap":
        """F = 0: the state is distributed as the belief, whatever came before."""
        nothing = jax.tree.map(jnp.zeros_like, self)
        return GaussianMap(nothing.matrix, belief.mean, belief.root, nothing.information, nothing.precision)
