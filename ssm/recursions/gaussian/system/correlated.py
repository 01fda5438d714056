"""Correlated noises of a linear-Gaussian model: how they are stored, and the model without them that is walked.

    v_t = A ε_t + B η_t  beside  w_t = Q^½ ε_t:        S = cov(w_t, v_t) = Q^½ Aᵀ,        R = A Aᵀ + B Bᵀ

Any numbers in Q^½, A and B make a covariance [[Q, S], [Sᵀ, R]], so gradient steps need no bounds. With v_t beside x_t
in the state, y_t = H x_t + d + v_t is seen without noise, and (w_t, v_t) is the noise of the transition alone (Durbin &
Koopman 2012, section 6.4): a linear-Gaussian model like any other, in which no recursion knows of correlations.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.numeric.linalg import multiply, square
from ssm.numeric.roots import solve_lower, triangular_root
from ssm.parameters import AbstractCovariance, AbstractParameter, Covariance
from ssm.shapes import Array, Float


class CrossCovariance(AbstractParameter):
    """What the noise of observations has of that of the state, stored as A: see the formula of this file."""

    loading: Float[Array, "*T N D"]

    def constrained(self) -> "CrossCovariance":
        """Itself: S is worked out from A and the root of Q."""
        return self

    def matrix(self, transition: Float[Array, "*T D D"]) -> Float[Array, "*T D N"]:
        """S = Q^½ Aᵀ, from Q^½."""
        return multiply(transition, jnp.swapaxes(self.loading, -1, -2))

    def emission(self, own: Float[Array, "*T N N"]) -> Float[Array, "*T N N"]:
        """R = A Aᵀ + B Bᵀ, from B."""
        return square(self.loading) + square(own)

    def joint_root(self, transition: Float[Array, "*T D D"], own: Float[Array, "*T N N"]) -> Array:
        """[[Q^½, 0], [A, B]], (*T, D + N, D + N)."""
        lead = np.broadcast_shapes(transition.shape[:-2], self.loading.shape[:-2], own.shape[:-2])
        above, left, right = (jnp.broadcast_to(a, (*lead, *a.shape[-2:])) for a in (transition, self.loading, own))
        nothing = jnp.zeros((*lead, above.shape[-1], right.shape[-1]), above.dtype)
        return jnp.concatenate(
            [jnp.concatenate([above, nothing], axis=-1), jnp.concatenate([left, right], axis=-1)], axis=-2
        )


def split(
    cross: Float[Array, "*T D N"], transition: AbstractCovariance, emission: AbstractCovariance
) -> tuple[CrossCovariance, Covariance]:
    """A, and the covariance B Bᵀ, from S and the covariances Q and R; ValueError where there is no such joint one."""
    if not isinstance(emission, Covariance):
        raise ValueError(
            f"cross_covariance: what is shared with the state noise leaves an emission_covariance no structure of its "
            f"own, got {type(emission).__name__}; give the matrix"
        )
    size, lead = transition.lower.shape[-1], _lead(transition.lower, emission.lower, cross)
    wide = lambda array: jnp.broadcast_to(array, (*lead, *array.shape[-2:]))
    above = jnp.concatenate([wide(transition.matrix), wide(cross)], axis=-1)
    below = jnp.concatenate([wide(jnp.swapaxes(cross, -1, -2)), wide(emission.matrix)], axis=-1)
    joint = jnp.concatenate([above, below], axis=-2)
    # Between noises of very unlike size only correlations show what is impossible.
    spread = jnp.sqrt(jnp.diagonal(jax.lax.stop_gradient(joint), axis1=-2, axis2=-1))
    spread = jnp.where(spread > 0, spread, 1)
    correlations = joint / (spread[..., None] * spread[..., None, :])
    name = "cross_covariance: all correlations of both noises"
    correlations = checks.covariance(name, correlations, ("...",) * joint.ndim)
    joint = jnp.where(jnp.any(jnp.isnan(correlations)), jnp.nan, joint)
    loading = jnp.vectorize(solve_lower, signature="(d,d),(d,n)->(d,n)")(transition.lower, cross)
    own = Covariance.of(joint).lower[..., size:, size:]
    return CrossCovariance(jnp.swapaxes(loading, -1, -2)), Covariance(own)


def _lead(*arrays: Array) -> tuple[int, ...]:
    return np.broadcast_shapes(*(array.shape[:-2] for array in arrays))


def augmented(model: Any) -> Any:
    """The same model with (x_t, v_t) as its state: x_1 and v_1 ~ N(0, R) share nothing."""
    (seen,), dtype = model.event_shape, model.initial_mean.dtype
    root = model._cross_covariance.joint_root(model._transition_covariance.lower, model._emission_covariance.lower)
    first = triangular_root((root if root.ndim == 2 else root[0])[-seen:])
    below = lambda array, axis: _padded(array, seen, axis)
    start = below(below(model._initial_covariance.lower, -1), -2).at[-seen:, -seen:].set(first)
    eye = jnp.broadcast_to(jnp.eye(seen, dtype=dtype), (*model.emission_matrix.shape[:-1], seen))
    return type(model)(
        below(model.initial_mean, -1),
        Covariance(start),
        below(below(model.transition_matrix, -1), -2),
        Covariance(root),
        jnp.concatenate([model.emission_matrix, eye], axis=-1),
        Covariance(jnp.zeros((seen, seen), dtype)),
        transition_bias=below(model.transition_bias, -1),
        emission_bias=model.emission_bias,
        transition_input=below(model.transition_input, -2),
        emission_input=model.emission_input,
        diffuse=None if model.diffuse is None else np.append(model.diffuse, np.zeros(seen, bool)),
    )


def _padded(array: Array | None, size: int, axis: int) -> Any:
    """With as many zeros behind, along an axis; None stays None."""
    if array is None:
        return None
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, size)
    return jnp.pad(array, widths)
