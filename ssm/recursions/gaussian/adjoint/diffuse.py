"""What the evidence changes by while some states are diffuse: as `recursion` beside this file, with a loading.

Walked back with the slopes of log p(y_{t+1}, ...) in the mean, covariance and loading of a belief. Observations are
taken in two stages (Koopman & Durbin 2003; Durbin & Koopman 2012, sections 5.3 and 7.3): the joint of (y_t, x_t) once
components of y_t have resolved directions of δ, a rational function of covariances that is differentiated as it is;
then the conditional of x_t given the rest, whose slopes are those of every Kalman filter. Roots give the gains, and are
never differentiated twice: the slope of a root has a pole where there is no variance, that of a covariance has none.
"""

from functools import partial
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs.diffuse import Conditional, DiffuseGaussian, Resolved, through
from ssm.numeric.linalg import multiply, square
from ssm.numeric.roots import solve_lower
from ssm.passes.backward import Reversal
from ssm.recursion import AbstractScan
from ssm.recursions.gaussian.adjoint.recursion import Sensitivities, before, gathered
from ssm.recursions.gaussian.system.dynamics import Dynamics, Varying
from ssm.shapes import Array, Flag, Float, Key, Scalar
from ssm.steps import Step


class DiffuseSlope(eqx.Module):
    """∂ log p(y_{t+1}, ... | belief) / ∂ mean, covariance and loading of the belief."""

    mean: Float[Array, "*T D"]
    covariance: Float[Array, "*T D D"]
    loading: Float[Array, "*T D d"]


class DiffuseSeen(NamedTuple):
    """One time: the transition into it, what was known before its observation, and that."""

    transition: Float[Array, "D D"]
    prior: DiffuseGaussian
    emission: Dynamics
    y: Float[Array, "N"]
    observed: Flag | None

    def slopes(self, after: DiffuseSlope) -> tuple[DiffuseSlope, Dynamics]:
        """From those in the filtered belief: in the predicted one, and in matrix, offset and noise of the emission."""
        prior, (matrix, offset, noise), size = self.prior, self.emission, len(self.y)
        residual = self.y - multiply(matrix, prior.mean) - offset
        covariances = prior.known_covariance, square(noise)
        inputs = prior.mean, prior.loading, covariances[0], matrix, offset, covariances[1]
        left, pull = jax.vjp(partial(_resolved, self.y), *inputs)
        # 1. What is left of y given x: S^-½, the gain K and s = S⁻¹ e, from roots.
        seen = Conditional.of(prior, matrix, noise, residual[:, None])
        whiten = solve_lower(seen.innovation, jnp.eye(size, dtype=matrix.dtype))
        gain, inverse = multiply(seen.cross, whiten), square(whiten.T)
        s = multiply(inverse, seen.residual[:, 0])
        # 2. Slopes in the joint of (y, x): d m = d(shift) + K de + T dC s, d P = T dC Tᵀ with T = [-K, I].
        turn = jnp.concatenate([-gain, jnp.eye(len(gain), dtype=gain.dtype)], axis=1)
        mixed = jnp.pad(jnp.outer(multiply(turn.T, after.mean), s), ((0, 0), (0, len(gain))))
        direct = jnp.pad((jnp.outer(s, s) - inverse) / 2, (0, len(gain)))
        covariance = multiply(turn.T, after.covariance, turn) + (mixed + mixed.T) / 2 + direct
        values = jnp.concatenate([s - multiply(gain.T, after.mean), after.mean])
        slopes = pull(_Joint(values, covariance, after.loading, -jnp.ones_like(left.log_scale)))
        mean, loading, known, *emission = slopes
        found = DiffuseSlope(mean + after.mean, known, loading), Dynamics(*emission)
        observed = self.observed
        if observed is None:
            return found
        nothing = after, jax.tree.map(jnp.zeros_like, found[1])
        return jax.tree.map(lambda one, other: jnp.where(observed, one, other), found, nothing)


class _Joint(NamedTuple):
    """(y, x) once what resolves a direction is used up: minus what is left of y, and the shift of x; its covariance."""

    values: Float[Array, "R"]
    covariance: Float[Array, "R R"]
    loading: Float[Array, "D d"]
    log_scale: Scalar


def _resolved(
    y: Float[Array, "N"], mean: Array, loading: Array, known: Array, matrix: Array, offset: Array, noise: Array
) -> _Joint:
    """As `Conditional.of`, with covariances in the place of roots."""
    size, count = len(mean), len(y)
    rows = jnp.concatenate([matrix, jnp.eye(size, dtype=matrix.dtype)])
    covariance = multiply(rows, known, rows.T) + jnp.pad(noise, (0, size))
    values = jnp.concatenate([multiply(matrix, mean) + offset - y, jnp.zeros_like(mean)])
    start = jnp.concatenate([through(matrix, loading), loading]), covariance, values[:, None]

    def use(left: tuple, i: Array) -> tuple[tuple, Scalar]:
        loading, covariance, values = left
        found = Resolved.by(loading, i)
        both = found.put(found.put(covariance, i).T, i)
        return (found.loading, both, found.put(values, i)), found.log_scale

    (loading, covariance, values), log_scales = jax.lax.scan(use, start, jnp.arange(count))
    return _Joint(values[:, 0], covariance, loading[count:], jnp.sum(log_scales))


@final
class DiffuseAdjoint(AbstractScan[DiffuseSlope]):
    """belief = the slopes in the filtered belief, from the end."""

    def init(self, u: Reversal, *, key: Key | None = None) -> DiffuseSlope:
        """Nothing comes after the end."""
        prior = u.u.prior
        return jax.tree.map(jnp.zeros_like, DiffuseSlope(prior.mean, prior.root, prior.loading))

    def predict(self, belief: DiffuseSlope, u: Reversal, *, key: Key | None = None) -> DiffuseSlope:
        """Past the observation at t + 1, and through the transition into it."""
        ahead, back = u.u.slopes(belief)[0], u.u.transition.T
        covariance = multiply(back, ahead.covariance, back.T)
        return DiffuseSlope(multiply(back, ahead.mean), covariance, multiply(back, ahead.loading))

    def update(self, prior: DiffuseSlope, u: Reversal, y: None, *, key: Key | None = None):
        """Nothing to correct."""
        return prior, jnp.zeros(())


def sensitivities(
    seen: DiffuseSeen, after: DiffuseSlope, filtered: DiffuseGaussian, known: Any, steps: Step, in_time: Varying
) -> Sensitivities:
    """Those of all times (T, ...) of prepared steps, summed where the quantity does not vary in time.

    `known` (D,): which states are not diffuse at the start.
    """
    at, emission = jax.vmap(DiffuseSeen.slopes)(seen, after)
    last = jax.tree.map(before, filtered)
    moved = jnp.einsum("ti,tj->tij", at.mean, last.mean, precision="highest") + multiply(
        at.loading, jnp.swapaxes(last.loading, 1, 2)
    )
    moved = moved + 2 * multiply(at.covariance, seen.transition, last.known_covariance)
    slopes = Sensitivities(
        initial_mean=jnp.where(known, at.mean, 0),
        initial_covariance=jnp.where(known[:, None] & known, at.covariance, 0),
        transition=moved,
        transition_covariance=at.covariance,
        emission=emission.matrix,
        emission_covariance=emission.root,
        transition_offset=at.mean,
        emission_offset=emission.offset,
    )
    return gathered(slopes, steps, in_time)
