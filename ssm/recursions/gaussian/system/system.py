"""The linear-Gaussian system: what it is at one time, and what is drawn from it."""

import dataclasses

import jax
import jax.numpy as jnp

from ssm.distributions import Distribution, multivariate_normal
from ssm.model import AbstractStateSpace
from ssm.numeric.linalg import multiply
from ssm.recursions.gaussian.system.dynamics import Dynamics, Known, Varying, at_times, filled, measure, offsets
from ssm.recursions.gaussian.system.parameters import LinearParameters
from ssm.shapes import Array, Float
from ssm.steps import Step, partly_missing


class LinearSystem(LinearParameters, AbstractStateSpace):
    """What `ssm.LinearGaussian` is made of, before anything is inferred; see there."""

    @property
    def weighs_otherwise(self) -> str | None:
        """Noise of what is seen that is part of the state."""
        if self.cross_covariance is None:
            return None
        return (
            "but beside a cross_covariance the noise of what is seen is part of the state; filter the "
            "ssm.LinearGaussian itself, which is exact"
        )

    def prepare(self, steps: Step) -> Step:
        """Parameters that vary in time, input effects, and partly missing vectors, for all times at once."""
        t, u = steps.t, steps.u
        transition = Dynamics(
            at_times(self.transition_matrix, t, 2),
            offsets(self.transition_bias, self.transition_input, t, u),
            at_times(self._transition_covariance.lower, t, 2),
        )
        emission = Dynamics(
            at_times(self.emission_matrix, t, 2),
            offsets(self.emission_bias, self.emission_input, t, u),
            at_times(self._emission_covariance.lower, t, 2),
        )
        known, y = Known(transition, emission), steps.y
        if partly_missing(steps):
            y = jax.vmap(lambda y, u, seen: measure(y, self._emission(u), seen))(y, known, steps.observed)
        return dataclasses.replace(steps, u=known, y=y)

    def _transition(self, u: Known) -> Dynamics:
        """F, b and Q½ at one time."""
        bias = jnp.zeros_like(self.initial_mean) if self.transition_bias is None else self.transition_bias
        constant = Dynamics(self.transition_matrix, bias, self._transition_covariance.lower)
        return filled(u.transition, constant)

    def _emission(self, u: Known) -> Dynamics:
        """H, d and R½ at one time."""
        dtype = self.initial_mean.dtype
        bias = jnp.zeros(self.event_shape, dtype) if self.emission_bias is None else self.emission_bias
        return filled(u.emission, Dynamics(self.emission_matrix, bias, self._emission_covariance.lower))

    def _offsets(self, steps: Step) -> tuple[Float[Array, "T D"], Float[Array, "T N"]]:
        """b_t and d_t at all times."""
        known = self.prepare(steps).u
        at_all = lambda offset: jnp.broadcast_to(offset, (*steps.t.shape, offset.shape[-1]))
        return at_all(self._transition(known).offset), at_all(self._emission(known).offset)

    def _varying(self) -> Varying:
        return Varying(
            self.transition_matrix.ndim == 3,
            self._transition_covariance.root.ndim == 3,
            self.emission_matrix.ndim == 3,
            self._emission_covariance.root.ndim == 3,
        )

    # -- drawing ----------------------------------------------------------------------------------------------

    def initial_state(self, u: Known) -> Distribution:
        """N(initial_mean, initial_covariance)."""
        if self.diffuse is not None:
            raise ValueError(
                "diffuse: a state of infinite variance cannot be drawn; simulate a model without `diffuse`, whose "
                "initial_mean and initial_covariance say where to start"
            )
        return multivariate_normal(self.initial_mean, self._initial_covariance.lower)

    def next_state(self, state: Float[Array, "D"], u: Known) -> Distribution:
        """N(F x + b, Q)."""
        matrix, offset, root = self._transition(u)
        return multivariate_normal(multiply(matrix, state) + offset, root)

    def observation(self, state: Float[Array, "D"], u: Known) -> Distribution:
        """N(H x + d, R)."""
        matrix, offset, root = self._emission(u)
        return multivariate_normal(multiply(matrix, state) + offset, root)
