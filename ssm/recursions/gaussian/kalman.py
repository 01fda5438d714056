"""The Kalman filter: what a linear-Gaussian system says of a state that is not seen, and of its own slopes."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.beliefs.diffuse import DiffuseGaussian
from ssm.distributions import Distribution, multivariate_normal
from ssm.maps.diffuse import DiffuseKernel
from ssm.maps.gaussian import GaussianKernel, GaussianMap
from ssm.numeric.linalg import matrix_times_column, multiply, square
from ssm.numeric.roots import SMALL_ROOT
from ssm.passes.expectation import AbstractDifferentiable
from ssm.recursion import AbstractParallelRecursion
from ssm.recursions.gaussian.adjoint import (
    diffuse as diffuse_adjoint,
)
from ssm.recursions.gaussian.adjoint import (
    recursion as adjoint,
)
from ssm.recursions.gaussian.adjoint import (
    sampling as simulation,
)
from ssm.recursions.gaussian.adjoint import (
    smoothing as adjoint_smoothing,
)
from ssm.recursions.gaussian.adjoint.diffuse import DiffuseAdjoint, DiffuseSeen
from ssm.recursions.gaussian.adjoint.recursion import Seen, Sensitivities, gains_of
from ssm.recursions.gaussian.steady.backward import InLanes
from ssm.recursions.gaussian.steady.forward import Problem
from ssm.recursions.gaussian.steady.riccati import System
from ssm.recursions.gaussian.system.dynamics import Dynamics, Known, Measurement, conditioned, reversed_kernel
from ssm.recursions.gaussian.system.system import LinearSystem
from ssm.recursions.gaussian.varying import blocks as varying_blocks
from ssm.recursions.gaussian.varying.forward import Moving
from ssm.scan import Saved
from ssm.schedules.sequential import Sequential
from ssm.shapes import Array, Float, Key, Scalar
from ssm.steps import Step, flatten_steps

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

    def smooth_directly(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> Belief | None:
        """By the adjoint, of observations that are at hand (a stream keeps none); see `adjoint_smoothing`."""
        if steps.y is None:
            return None
        return adjoint_smoothing.smoothed(self, steps, predicted, filtered, schedule)

    def lag_directly(
        self, steps: Step, predicted: Belief, filtered: Belief, lag: int, by_kernels: Callable[[], Belief]
    ) -> Belief:
        """As `smooth_directly`, unless the start is diffuse."""
        if isinstance(predicted, DiffuseGaussian) or isinstance(filtered, DiffuseGaussian):
            return by_kernels()
        return adjoint_smoothing.lagged(self, steps, predicted, filtered, lag, by_kernels)

    def draw_directly(self, steps: Step, predicted: Belief, filtered: Belief, key: Key, num_samples: int) -> Any | None:
        """By the simulation smoother, unless the start is diffuse; see `simulation`."""
        if isinstance(predicted, DiffuseGaussian) or isinstance(filtered, DiffuseGaussian):
            return None
        return simulation.draws(self, steps, predicted, filtered, key, num_samples)

    def _measured(self, u: Known, y: Array | Measurement) -> tuple[Dynamics, Array, Array | float]:
        """The emission that y went through, its value, and how many components are missing."""
        if isinstance(y, Measurement):
            return y.emission, y.y, y.num_missing
        return self._emission(u), y, 0.0

    def offers(self, protocol: type) -> bool:
        """With a diffuse start, only what is done in order."""
        return self.diffuse is None or protocol is not AbstractParallelRecursion

    @property
    def gains_in_blocks(self) -> bool:
        """As `python -m benchmarks kalman_missing_vs_peers` shows, where no step calls LAPACK."""
        return self.diffuse is None and max(self.num_dims, *self.event_shape) <= SMALL_ROOT

    @property
    def flags_are_dear(self) -> bool:
        """Only where nothing is missing do covariances come to rest, and are the same for all sequences."""
        return True

    # -- side by side -------------------------------------------------------------------

    @property
    def runs_side_by_side(self) -> bool:
        """With a start that is not diffuse."""
        return self.diffuse is None

    def takes_side_by_side(self, steps: Step, lanes: int | None = None) -> bool:
        """Where covariances keep moving, with enough to put side by side, or with as many `lanes` as asked for."""
        return not self._moves(steps) or lanes is not None or self._pays(steps.t.shape)

    def gains_side_by_side(self, shape: tuple[int, ...]) -> bool:
        """As `python -m benchmarks kalman_evidence_vs_peers kalman_missing_vs_peers` shows.

        Short ones take less time than compiling both ways.
        """
        enough = self._pays(shape) if any(self._varying()) else math.prod(shape) >= 256
        return self.runs_side_by_side and enough

    def _pays(self, shape: tuple[int, ...]) -> bool:
        return varying_blocks.pays(math.prod(shape[:-1]), shape[-1], self.num_dims, self.event_shape[0])

    def _moves(self, steps: Step) -> bool:
        """Whether covariances move at all times: matrices vary in time (offsets may), or something is missing."""
        return steps.observed is not None or any(self._varying())

    def forward_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Saved]:
        """See `AbstractRecursion`."""
        return self.lanes(steps, schedule).forward()

    def smooth_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Gaussian, Array]:
        """See `AbstractReversibleRecursion`."""
        return self.lanes(steps, schedule).smooth()

    def walk_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Any, Array]:
        """See `AbstractDifferentiable`."""
        return self.lanes(steps, schedule).walk()

    def slope_side_by_side(
        self, steps: Step, schedule: Any, walk: Any, counted: Float[Array, "B"] | None = None
    ) -> tuple[Array, Sensitivities]:
        """See `AbstractDifferentiable`."""
        there = self.lanes(steps, schedule, walk)
        if isinstance(there, InLanes):
            return there.expect(counted)[:2]
        slopes = there.each(lambda steps, *beliefs: self.sensitivities(steps, beliefs[0], beliefs[1], Sequential()))
        return there.holds, self.arrange_sensitivities(slopes, steps, schedule, counted)

    def arrange(self, steps: Step, schedule: Any) -> Step:
        """Sequence after sequence."""
        return flatten_steps(steps, self.event_shape) if steps.t.ndim == 2 else steps

    def arrange_sensitivities(
        self, sensitivities: Sensitivities, steps: Step, schedule: Any, counted: Array | None
    ) -> Sensitivities:
        """Sums over the sequences, and the slopes of offsets sequence after sequence."""
        return sensitivities if steps.t.ndim == 1 else adjoint.together(sensitivities, counted)

    def lanes(self, steps: Step, schedule: Any, walk: Any = None) -> InLanes | Moving:
        """The walk of all sequences side by side, or the one that `walk` is of."""
        if self._moves(steps):
            return Moving.of(self, steps, schedule) if walk is None else Moving.again(self, steps, walk)
        batch = steps if steps.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], steps)
        system = System(
            self.transition_matrix,
            self._transition_covariance.lower,
            self.emission_matrix,
            self._emission_covariance.lower,
        )
        state, seen = jax.vmap(self._offsets)(batch)
        initial = self.initial_mean, self._initial_covariance.lower
        problem = Problem(*initial, system, batch.y - seen, state)
        return InLanes.of(problem, steps, schedule) if walk is None else InLanes.again(problem, steps, schedule, walk)

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
