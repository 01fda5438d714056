"""What a step of a Kalman filter does, whatever is observed."""

from typing import NamedTuple

import jax.numpy as jnp

from ssm.numeric.conditioning import condition
from ssm.numeric.linalg import multiply
from ssm.numeric.roots import empty_pivots, solve_lower
from ssm.shapes import Array, Flag, Float


class Gains(NamedTuple):
    """What one filter step does to a covariance, and to a mean, whatever is observed; leading axes for many."""

    prior: Float[Array, "*M D D"]  # root of P_{t|t-1}
    root: Float[Array, "*M D D"]  # root of P_{t|t}
    emission: Float[Array, "*M N D"]  # H
    gain: Float[Array, "*M D N"]  # K = P Hᵀ S⁻¹, with the innovation covariance S = H P Hᵀ + R
    whiten: Float[Array, "*M N N"]  # S^-½
    log_scale: Float[Array, "*M"]  # log det S^½
    empty: Flag | Array  # whether S is singular

    @classmethod
    def of(cls, prior: Float[Array, "D D"], emission: Float[Array, "N D"], blur: Float[Array, "N N"]) -> "Gains":
        """Those of one step."""
        innovation, cross, root = condition(emission, prior, blur)
        whiten = solve_lower(innovation, jnp.eye(len(innovation), dtype=innovation.dtype))
        empty = empty_pivots(innovation)
        scales = jnp.where(empty, 1, jnp.diagonal(innovation))
        gain = multiply(cross, whiten)
        return cls(prior, root, emission, gain, whiten, jnp.sum(jnp.log(scales)), jnp.any(empty))

    @property
    def kept(self) -> Float[Array, "*M D D"]:
        """I - K H: what is left of a prior mean."""
        return jnp.eye(self.prior.shape[-1], dtype=self.prior.dtype) - multiply(self.gain, self.emission)
