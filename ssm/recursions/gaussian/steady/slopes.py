"""A step of the way back of a linear-Gaussian model with constant matrices (see `blocks`), and what it adds up.

With the adjoint r_t and the noise's e_t of `adjoint/recursion.py`, whose products with states are the slopes of the
evidence.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from ssm.numeric.linalg import multiply
from ssm.recursions.gaussian.steady.blocks import Sweep, push
from ssm.recursions.gaussian.steady.riccati import Closed
from ssm.shapes import Array, Float


class Walked(NamedTuple):
    """What the way back finds at one time, (n, C), or at all of them, in parts."""

    slope: Any  # r_t
    noise_slope: Any  # e_t = S⁻¹ v_t - Kᵀ Fᵀ r_{t+1}; zero where there is no observation any more
    mean: Any  # a_t + P_t r_t


class Sums(NamedTuple):
    """What it adds up."""

    transition: Float[Array, "D D"]  # Σ r_{t+1} x_tᵀ
    transition_covariance: Float[Array, "D D"]  # Σ r_{t+1} r_{t+1}ᵀ
    emission: Float[Array, "N D"]  # Σ e_t x_tᵀ
    emission_covariance: Float[Array, "N N"]  # Σ e_t e_tᵀ

    @classmethod
    def of(cls, weighed: Array, noise_weighed: Array, slope: Array, noise_slope: Array, mean: Array) -> "Sums":
        """Over lanes, of one time."""
        size = len(mean)
        moved = multiply(weighed, jnp.concatenate([mean, slope]).T)
        seen = multiply(noise_weighed, jnp.concatenate([mean, noise_slope]).T)
        return cls(moved[:, :size], moved[:, size:], seen[:, :size], seen[:, size:])


def step_back(rule: tuple[Closed, Array], later: Float[Array, "D C"], now: tuple) -> Sweep:
    """r_t from r_{t+1}, `later`."""
    (step, often), (innovation, predicted, real), size = rule, now, len(later)
    pulled, seen = push(step.back, later), push(step.surprise, innovation)
    seen = seen if real is None else jnp.where(real, seen, 0)
    slope, noise_slope = pulled[:size] + seen[:size], seen[size:] - pulled[size:]
    mean = predicted + push(step.covariance, slope)
    sums = Sums.of(later * often, noise_slope * often, later, noise_slope, mean)
    return Sweep(slope, Walked(slope, noise_slope, mean), sums)
