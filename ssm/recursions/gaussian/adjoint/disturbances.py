"""Prediction errors and smoothed noises of a linear-Gaussian model, each divided by its own standard deviation.

With the adjoint (r_t, N_t) of `adjoint.py`, the smoothed noises and their variances, before anything is observed, are

    E[ε_t | y] = R e_t,  Var = R D_t R,     D_t = S⁻¹ + Kᵀ Fᵀ N_{t+1} F K;      E[η_t | y] = Q r_t,  Var = Q N_t Q

(de Jong 1989; Koopman 1993; Durbin & Koopman 2012, section 4.5). Neither Q nor R is divided by. Where the prediction is
diffuse they hold with what the observation resolves left out of S⁻¹ and put into the gain (ibid., section 5.4).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.beliefs.diffuse import DiffuseGaussian
from ssm.numeric.linalg import multiply, square
from ssm.recursions.gaussian.adjoint import recursion as adjoint
from ssm.recursions.gaussian.adjoint.recursion import Seen
from ssm.schedules.base import AbstractSchedule
from ssm.shapes import Array, Bool, Float
from ssm.steps import Step


class Disturbances(NamedTuple):
    """Standardised smoothed noises, NaN where there are none."""

    emission: Float[Array, "T N"]
    transition: Float[Array, "T D"]  # entry t: the noise of the transition into t


def innovations(model: Any, steps: Step, predicted: Gaussian | DiffuseGaussian) -> Float[Array, "T N"]:
    """S^-½ (y - E[y_t | y_<t]), NaN where nothing was observed and where its variance is infinite or zero."""
    prepared = model.prepare(steps)
    seen = model.seen(prepared, predicted)
    happened = adjoint.happened(prepared, model.event_shape[0])[2]
    varies = jnp.any(seen.gains.whiten != 0, axis=-1)
    return jnp.where(happened & varies, seen.surprise, jnp.nan)


def disturbances(
    model: Any, steps: Step, predicted: Gaussian | DiffuseGaussian, schedule: AbstractSchedule
) -> Disturbances:
    """Smoothed noises over their standard deviations."""
    prepared = model.prepare(steps)
    seen = model.seen(prepared, predicted)
    after = adjoint.adjoints(seen, prepared, schedule)
    slope, curvature = jax.vmap(adjoint.now)(seen, after)
    _, moved, read = adjoint.happened(prepared, model.event_shape[0])

    def emission(seen: Seen, after: Any, read: Bool[Array, "N"], u: Any) -> Float[Array, "N"]:
        noise = jnp.where(read, seen.noise_slope(after.mean), 0)
        precision = jnp.where(read[:, None] & read, adjoint.emitted(seen.gains, after.covariance)[1], 0)
        return jnp.where(read, _standardised(model._emission(u).root, noise, precision), jnp.nan)

    def transition(slope: Array, curvature: Array, moved: Bool[Array, ""], u: Any) -> Float[Array, "D"]:
        return jnp.where(moved, _standardised(model._transition(u).root, slope, curvature), jnp.nan)

    return Disturbances(
        jax.vmap(emission)(seen, after, read, prepared.u), jax.vmap(transition)(slope, curvature, moved, prepared.u)
    )


def _standardised(root: Float[Array, "D D"], slope: Float[Array, "D"], curvature: Float[Array, "D D"]) -> Array:
    """C r over its standard deviation, of the noise C = root rootᵀ; NaN where there is no noise."""
    covariance = square(root)
    variance = jnp.sum(multiply(covariance, curvature) * covariance, axis=1)
    return jnp.where(variance > 0, multiply(covariance, slope) / jnp.sqrt(variance), jnp.nan)
