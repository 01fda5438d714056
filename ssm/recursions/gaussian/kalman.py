"""The Kalman filter: what a linear-Gaussian system says of a state that is not seen, and of its own slopes."""

from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.beliefs.diffuse import DiffuseGaussian
from ssm.distributions import Distribution, multivariate_normal
from ssm.maps.diffuse import DiffuseKernel
from ssm.maps.gaussian import GaussianKernel, GaussianMap
from ssm.numeric.linalg import matrix_times_column, multiply, square
from ssm.passes.expectation import AbstractDifferentiable
from ssm.recursion import AbstractParallelRecursion, AbstractParallelScan
from ssm.recursions.gaussian.adjoint import (
    diffuse as diffuse_adjoint,
)
from ssm.recursions.gaussian.adjoint import (
    recursion as adjoint,
)
from ssm.recursions.gaussian.adjoint.diffuse import DiffuseAdjoint, DiffuseSeen
from ssm.recursions.gaussian.adjoint.in_order import KalmanInOrder
from ssm.recursions.gaussian.adjoint.recursion import Seen, Sensitivities, gains_of
from ssm.recursions.gaussian.steady.backward import SteadyKalman
from ssm.recursions.gaussian.system.dynamics import Dynamics, Known, Measurement, conditioned, reversed_kernel
from ssm.recursions.gaussian.system.system import LinearSystem
from ssm.recursions.gaussian.varying.forward import VaryingKalman
from ssm.shapes import Array, Float, Key, Scalar
from ssm.steps import Step

Belief: TypeAlias = Gaussian | DiffuseGaussian


class LinearFilter(LinearSystem, AbstractDifferentiable[Belief], AbstractParallelRecursion[Belief]):
    """Inference in `ssm.LinearGaussian`, before anything is learnt; see there."""

    feeds_back: ClassVar[bool] = False
    event_kind: ClassVar[str] = "real"

    # -- the recursion ----------------------------------------------------------------------------------------

    def init(self, u: Known, *, key: Key | None = None) -> Belief:
        """The initial distribution."""
        mean, known = self.initial_mean, self.known
        if self.diffuse is None:
            return Gaussian(mean, self.initial_root)
        loading = jnp.eye(len(known), dtype=mean.dtype)[:, ~known]
        return DiffuseGaussian(jnp.where(known, mean, 0), self.initial_root, loading)

    def predict(self, belief: Belief, u: Known, *, key: Key | None = None) -> Belief:
        """F m + b, and the root of F P Fᵀ + Q."""
        return belief.moved(*self._transition(u))

    def update(
        self, prior: Belief, u: Known, y: Float[Array, "N"] | Measurement, *, key: Key | None = None
    ) -> tuple[Belief, Scalar]:
        """Condition on y."""
        (matrix, offset, noise), value, missing = self._measured(u, y)
        residual = value - matrix_times_column(matrix, prior.mean) - offset
        posterior, log_density = prior.given(matrix, noise, residual)
        # A missing component reads zero with unit variance: take its -½ log 2π out again.
        return posterior, log_density + missing * 0.5 * jnp.log(2 * jnp.pi).astype(residual.dtype)

    def emit(self, prior: Belief, u: Known) -> Distribution:
        """N(H m + d, H P Hᵀ + R)."""
        seen = prior.moved(*self._emission(u))
        return multivariate_normal(seen.mean, seen.spread)

    def lift(self, u: Known, y: Float[Array, "N"] | Measurement | None) -> GaussianMap:
        """p(x_t | x_{t-1}, y_t) and p(y_t | x_{t-1}) in square-root form (Yaghoobi et al. 2022, eqs. 8-10)."""
        transition = self._transition(u)
        if y is None:
            unseen = jnp.zeros_like(transition.offset), jnp.zeros_like(transition.matrix)
            return GaussianMap(*transition, *unseen)
        emission, value, _ = self._measured(u, y)
        return conditioned(transition, emission, value)

    def reverse(self, filtered: Belief, predicted: Belief, u: Known) -> GaussianKernel | DiffuseKernel:
        """The Rauch-Tung-Striebel kernel p(x_t | x_{t+1}, y_{<=t}), in square-root form."""
        matrix, _, noise = self._transition(u)
        if isinstance(filtered, DiffuseGaussian) and isinstance(predicted, DiffuseGaussian):
            return DiffuseKernel.reversed(filtered, predicted, matrix, noise)
        gain, root = reversed_kernel(matrix, filtered.root, noise)
        return GaussianKernel(gain, filtered.mean - multiply(gain, predicted.mean), root)

    def _measured(self, u: Known, y: Array | Measurement) -> tuple[Dynamics, Array, Array | float]:
        """The emission that y went through, its value, and how many components are missing."""
        if isinstance(y, Measurement):
            return y.emission, y.y, y.num_missing
        return self._emission(u), y, 0.0

    def offers(self, protocol: type) -> bool:
        """With a diffuse start, only what is done in order."""
        return self.diffuse is None or not issubclass(protocol, AbstractParallelScan)

    def ways(self) -> tuple[type, ...]:
        """By how covariances move."""
        return SteadyKalman, VaryingKalman, KalmanInOrder

    # -- the gradient of the evidence -------------------------------------------------------------------------------

    def sensitivities(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> Sensitivities:
        """From the adjoint, walked back; unlike Q it exists for singular noises, too."""
        return self.walked_back(self.prepare(steps), predicted, filtered, schedule)[0]

    def walked_back(
        self, prepared: Step, predicted: Belief, filtered: Belief, schedule: Any
    ) -> tuple[Sensitivities, Any, Any]:
        """Sensitivities of prepared steps, and behind them what was seen and the adjoint."""
        if isinstance(filtered, DiffuseGaussian):
            seen = jax.vmap(self._seen_diffusely)(prepared, predicted)
            after = adjoint.adjoints(seen, prepared, schedule, DiffuseAdjoint())
            slopes = diffuse_adjoint.sensitivities(seen, after, filtered, self.known, prepared, self._varying())
            return slopes, seen, after
        seen = self.seen(prepared, predicted)
        after = adjoint.adjoints(seen, prepared, schedule)
        return adjoint.sensitivities(seen, after, filtered, prepared, self._varying()), seen, after

    def first_order(self, steps: Step, sensitivities: Sensitivities) -> Scalar:
        """Every quantity times its sensitivity."""
        transition, emission = self._transition(steps.u), self._emission(steps.u)
        y = steps.y.y if isinstance(steps.y, Measurement) else steps.y
        quantities = Sensitivities(
            self.initial_mean,
            square(self.initial_root),
            transition.matrix,
            square(transition.root),
            emission.matrix,
            square(emission.root),
            transition.offset,
            emission.offset - y,
        )
        products = [jnp.sum(each * slope) for each, slope in zip(quantities, sensitivities, strict=True)]
        return jnp.sum(jnp.stack(products))

    def seen(self, prepared: Step, predicted: Belief) -> Seen:
        """What each prepared step says of the state, where something was observed."""

        def one(step: Step, prior: Any) -> Seen:
            (matrix, offset, noise), value, _ = self._measured(step.u, step.y)
            found = gains_of(prior, matrix, noise)
            surprise = multiply(found.whiten, value - multiply(matrix, prior.mean) - offset)
            seen = Seen(self._transition(step.u).matrix, found, surprise)
            return seen if step.observed is None else seen.where(jnp.any(step.observed))

        return jax.vmap(one)(prepared, predicted)

    def _seen_diffusely(self, step: Step, predicted: Any) -> DiffuseSeen:
        """What one prepared step says while states are diffuse."""
        emission, value, _ = self._measured(step.u, step.y)
        observed = None if step.observed is None else jnp.any(step.observed)
        return DiffuseSeen(self._transition(step.u).matrix, predicted, emission, value, observed)
