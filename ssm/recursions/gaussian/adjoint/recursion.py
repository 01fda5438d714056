"""What the evidence of a linear-Gaussian model changes by, per change of each of its numbers, exactly.

Fisher's identity in its dual form (Koopman & Shephard 1992; Durbin & Koopman 2012, sections 4.4, 4.5 and 7.3.3). With
the adjoint r_t, N_t, the slope of log p(y_t, y_{t+1}, ... | x_t) in the mean of p(x_t | y_<t) and the loss of its
variance,

    r_t = Hᵀ S⁻¹ v_t + (I - K H)ᵀ Fᵀ r_{t+1},        N_t = Hᵀ S⁻¹ H + (I - K H)ᵀ Fᵀ N_{t+1} F (I - K H),

the smoothed state is a_t + P_t r_t with covariance P_t - P_t N_t P_t, the smoothed noises are Q r_t and R e_t, and
nothing is ever divided by a noise: Q and R may be singular, and are where the textbook form of the identity, the
gradient of E[log p(x, y)], does not exist.
"""

import dataclasses
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.beliefs.diffuse import Conditional, DiffuseGaussian
from ssm.maps.slopes import Slope, SlopeMap
from ssm.numeric.linalg import add_up, multiply, multiply_many
from ssm.numeric.roots import empty_pivots, solve_lower
from ssm.numeric.trees import times, widen
from ssm.passes.backward import Reversal, backward_steps
from ssm.recursion import AbstractParallelScan
from ssm.recursions.gaussian.system.dynamics import Varying
from ssm.recursions.gaussian.system.gains import Gains
from ssm.scan import scan
from ssm.schedules.base import AbstractSchedule
from ssm.shapes import Array, Bool, Flag, Float, Key, Scalar
from ssm.steps import Step


class Sensitivities(NamedTuple):
    """∂ log p(y) / ∂ each quantity; those of what varies in time have a leading T, those of a constant are summed."""

    initial_mean: Float[Array, "D"]
    initial_covariance: Float[Array, "D D"]
    transition: Float[Array, "*T D D"]
    transition_covariance: Float[Array, "*T D D"]
    emission: Float[Array, "*T N D"]
    emission_covariance: Float[Array, "*T N N"]
    transition_offset: Float[Array, "T D"]
    emission_offset: Float[Array, "T N"]  # minus that of y


class Seen(NamedTuple):
    """One time: the transition into it, and what its observation said about the state; nothing where it is missing."""

    transition: Float[Array, "D D"]
    gains: Gains
    surprise: Float[Array, "N"]  # S^-½ v

    def where(self, observed: Flag) -> "Seen":
        """Nothing, where nothing was observed."""
        nothing = lambda array: jnp.where(observed, array, 0)
        gains = self.gains._replace(gain=nothing(self.gains.gain), whiten=nothing(self.gains.whiten))
        return Seen(self.transition, gains, nothing(self.surprise))

    @property
    def slope(self) -> Float[Array, "D"]:
        """Hᵀ S⁻¹ v."""
        return multiply_many(self.look.T, self.surprise)

    def noise_slope(self, after: Float[Array, "D"]) -> Float[Array, "N"]:
        """e_t = S⁻¹ v - Kᵀ Fᵀ r_{t+1}."""
        return multiply_many(self.gains.whiten.T, self.surprise) - multiply_many(self.gains.gain.T, after)

    @property
    def look(self) -> Float[Array, "N D"]:
        """S^-½ H."""
        return multiply_many(self.gains.whiten, self.gains.emission)

    def back(self) -> SlopeMap:
        """Past this observation, and through the transition into this time."""
        back = lambda matrix: multiply_many(self.transition.T, matrix)
        look = back(self.look.T)
        return SlopeMap(back(self.gains.kept.T), back(self.slope), multiply_many(look, look.T))


def gains_of(prior: Gaussian | DiffuseGaussian, matrix: Float[Array, "N D"], noise: Float[Array, "N N"]) -> Gains:
    """The gains of one step: components that resolve a diffuse direction move the state and are no surprise."""
    if isinstance(prior, Gaussian):
        return Gains.of(prior.root, matrix, noise)
    seen = Conditional.of(prior, matrix, noise, jnp.eye(len(matrix), dtype=matrix.dtype))
    whiten = solve_lower(seen.innovation, seen.residual)
    gain = seen.shift + multiply(seen.cross, whiten)
    log_scale = jnp.sum(jnp.log(jnp.diagonal(seen.innovation))) + seen.log_scale
    return Gains(prior.root, seen.root, matrix, gain, whiten, log_scale, jnp.any(empty_pivots(seen.innovation)))


@final
class Adjoint(AbstractParallelScan[Slope]):
    """belief = (Fᵀ r_{t+1}, Fᵀ N_{t+1} F), from the end."""

    def init(self, u: Reversal, *, key: Key | None = None) -> Slope:
        """Nothing comes after the end."""
        return Slope(jnp.zeros_like(u.u.offset), jnp.zeros_like(u.u.matrix))

    def predict(self, belief: Slope, u: Reversal, *, key: Key | None = None) -> Slope:
        """Past the observation at t + 1, and through the transition into it."""
        return u.u.apply(belief)

    def update(self, prior: Slope, u: Reversal, y: None, *, key: Key | None = None) -> tuple[Slope, Scalar]:
        """Nothing to correct."""
        return prior, jnp.zeros(())

    def lift(self, u: Reversal, y: None) -> SlopeMap:
        """The same as a map."""
        return u.u


def adjoints(seen: Any, steps: Step, schedule: AbstractSchedule, recursion: Any = None) -> Any:
    """(Fᵀ r_{t+1}, Fᵀ N_{t+1} F), or the beliefs of another `recursion`, at all times.

    From what was seen at all times (T, ...) of prepared steps.
    """
    walked = Adjoint() if recursion is None else recursion
    u = jax.vmap(Seen.back)(seen) if recursion is None else seen
    back = backward_steps(dataclasses.replace(steps, u=u), None, None)
    return scan(walked, back, schedule=schedule, save=lambda saved: saved.filtered, backward=True)[1]


def sensitivities(seen: Seen, after: Slope, filtered: Gaussian, steps: Step, in_time: Varying) -> Sensitivities:
    """Those of all times, summed where the quantity does not vary in time."""
    r, pulled = jax.vmap(now)(seen, after)
    state = smoothed_means(filtered, after)
    e = jax.vmap(lambda seen, after: seen.noise_slope(after.mean))(seen, after)
    observed, blurred = jax.vmap(emitted)(seen.gains, after.covariance)
    outer = lambda left, right: left[:, :, None] * right[:, None]
    through = multiply_many(pulled, seen.transition, before(filtered.covariance))
    noise = (outer(r, r) - pulled) / 2
    slopes = Sensitivities(
        initial_mean=r,
        initial_covariance=noise,
        transition=outer(r, before(state)) - through,
        transition_covariance=noise,
        emission=outer(e, state) - observed,
        emission_covariance=(outer(e, e) - blurred) / 2,
        transition_offset=r,
        emission_offset=e,
    )
    return gathered(slopes, steps, in_time)


def gathered(slopes: Sensitivities, steps: Step, in_time: Varying) -> Sensitivities:
    """Slopes of each time (T, ...), where there was what they are slopes in, summed where it does not vary in time."""
    begun, moved, read = happened(steps, slopes.emission_offset.shape[1])
    keep = lambda flags, array: jnp.where(widen(flags, array.ndim), array, 0)
    total = lambda varies, flags, array: keep(flags, array) if varies else add_up(keep(flags, array))
    both = read[:, :, None] & read[:, None]
    return Sensitivities(
        initial_mean=total(False, begun, slopes.initial_mean),
        initial_covariance=total(False, begun, slopes.initial_covariance),
        transition=total(in_time.transition, moved, slopes.transition),
        transition_covariance=total(in_time.transition_covariance, moved, slopes.transition_covariance),
        emission=total(in_time.emission, read, slopes.emission),
        emission_covariance=total(in_time.emission_covariance, both, slopes.emission_covariance),
        transition_offset=keep(moved, slopes.transition_offset),
        emission_offset=keep(read, slopes.emission_offset),
    )


def happened(steps: Step, size: int) -> tuple[Bool[Array, "T"], Bool[Array, "T"], Bool[Array, "T N"]]:
    """When a sequence began, when a state moved on, and which components were observed."""
    starts = jnp.zeros(len(steps.t), bool).at[0].set(True)
    starts = starts if steps.first is None else starts | steps.first
    real = jnp.ones(len(steps.t), bool) if steps.padding is None else ~steps.padding
    read = jnp.broadcast_to(real[:, None], (len(steps.t), size))
    if steps.observed is not None:
        read = read & steps.observed.reshape(len(steps.t), -1)
    return real & starts, real & ~starts, read


def before(array: Float[Array, "T ..."]) -> Float[Array, "T ..."]:
    """Entry t - 1 in the place of t, and zero in that of the first."""
    return jnp.concatenate([jnp.zeros_like(array[:1]), array[:-1]])


def smoothed_means(filtered: Gaussian, after: Slope) -> Float[Array, "T D"]:
    """m_t + P_t Fᵀ r_{t+1}, from filtered beliefs."""
    return filtered.mean + jnp.einsum("tij,tj->ti", filtered.covariance, after.mean, precision="highest")


def smoothed_covariance(root: Float[Array, "*T D D"], after: Float[Array, "*T D D"]) -> Float[Array, "*T D D"]:
    """P - P Fᵀ N_{t+1} F P, from the root of the filtered one and the adjoint after it."""
    across = jnp.swapaxes(root, -1, -2)
    kept = jnp.eye(root.shape[-1], dtype=root.dtype) - multiply_many(across, after, root)
    return multiply_many(root, kept, across)


def together(sensitivities: Sensitivities, counted: Float[Array, "B"] | None) -> Sensitivities:
    """Those of sequences (B, ...), counted as often as it says: summed, or sequence after sequence where in time."""
    sensitivities = sensitivities if counted is None else times(sensitivities, counted)
    ranks = 1, 2, 2, 2, 2, 2, 1, 1  # of what does not vary in time
    flat = lambda array: array.reshape(-1, *array.shape[2:])
    each = zip(sensitivities, ranks, strict=True)
    return Sensitivities._make(add_up(array) if array.ndim == rank + 1 else flat(array) for array, rank in each)


def now(seen: Seen, after: Slope) -> tuple[Float[Array, "D"], Float[Array, "D D"]]:
    """r_t and N_t of one time, from the adjoint after it."""
    kept, look = seen.gains.kept, seen.look
    return seen.slope + multiply_many(kept.T, after.mean), multiply_many(look.T, look) + multiply_many(
        kept.T, after.covariance, kept
    )


def emitted(gains: Gains, after: Float[Array, "D D"]) -> tuple[Float[Array, "N D"], Float[Array, "N N"]]:
    """Kᵀ (I - N P) and S⁻¹ + Kᵀ N K of one time, with N of the adjoint after it and P the filtered covariance."""
    gain, root = gains.gain, gains.root
    pulled = multiply_many(gain.T, after)
    return gain.T - multiply_many(pulled, root, root.T), multiply_many(gains.whiten.T, gains.whiten) + multiply_many(
        pulled, gain
    )
