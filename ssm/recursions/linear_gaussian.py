"""The linear-Gaussian state-space model: the recursion whose belief is a normal distribution (Kalman 1960)."""

import math
from typing import Any, ClassVar, TypeAlias, final

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.diffuse import DiffuseGaussian
from ssm.distributions import Distribution, multivariate_normal
from ssm.expectation import AbstractExpectation
from ssm.linalg import matrix_times_column, multiply, square
from ssm.maps.diffuse import DiffuseKernel
from ssm.maps.gaussian import GaussianKernel, GaussianMap
from ssm.recursion import AbstractParallelRecursion, Step, flatten_steps
from ssm.recursions import costate, diffuse_costate, gaussian_learning
from ssm.recursions.backward import smooth_backward
from ssm.recursions.costate import Seen, Sensitivities
from ssm.recursions.diffuse_costate import DiffuseCostate, DiffuseSeen
from ssm.recursions.gaussian_learning import Moments
from ssm.recursions.gaussian_side_by_side import InLanes, Problem
from ssm.recursions.gaussian_steps import (
    Dynamics,
    Known,
    Measurement,
    conditioned,
    reversed_kernel,
)
from ssm.recursions.linear_system import LinearSystem
from ssm.recursions.riccati import Gains, System
from ssm.recursions.subspace import identified
from ssm.roots import SMALL_ROOT
from ssm.shapes import Array, Float, Key, Scalar

Belief: TypeAlias = Gaussian | DiffuseGaussian


@final
class LinearGaussian(LinearSystem, AbstractExpectation[Belief], AbstractParallelRecursion[Belief]):
    """A linear state seen through linear, noisy eyes.

        x_1 ~ N(initial_mean, initial_covariance)
        x_t = transition_matrix x_{t-1} + transition_bias + transition_input u_t + N(0, transition_covariance)
        y_t = emission_matrix x_t + emission_bias + emission_input u_t + N(0, emission_covariance)

    Shapes: (D,), (D, D), (D, D), (D, D), (N, D), (N, N); biases (D,) and (N,); inputs (D, U) and (N, U). All but
    the initial two may have a leading axis T; entry t then leads into, or is seen at, time t (entry 0 of a
    transition moves nothing). Covariances may be singular; given as `ssm.Diagonal(variances)` or
    `ssm.Spherical(variance, size)`, they stay so in every fit. Raises ValueError when shapes disagree and for
    asymmetric or indefinite covariances.

    The belief is (mean, triangular root); in order, every step makes stacked roots triangular, which keeps
    covariances positive semi-definite in float32 (Kailath, Sayed & Hassibi 2000, ch. 12). With constant matrices and
    nothing missing, covariances come to rest and means are walked side by side (`ssm.schedules.SideBySide`).

    EM fits all that is constant in time and not frozen, in closed form; where single entries are frozen
    (`ssm.fit(..., frozen={"transition_matrix": mask})`), first the coefficients and then the noise, each given the
    other. It keeps the range of a singular covariance, so that a component without noise keeps its row of the matrix,
    too; it leaves parameters that vary in time as they are, and beside a noise covariance that does, the matrix, bias
    and input of the same equation. SGD and LBFGS move all of them. With priors (`ssm.RegressionPrior`) all of them
    climb the posterior. `stable`: all eigenvalues of a constant transition matrix stay inside the unit circle, for SGD
    and LBFGS by the way it is stored (Ansley & Kohn 1986), for EM by a shorter step where the M-step leaves them, which
    still rises, but may come to rest on the border before the maximum.

    `diffuse` (D,), True where nothing at all is known of a state of x_1, whose entries of the initial mean and
    covariance are then not read: variance κ → ∞, exactly (Koopman 1997; `ssm.diffuse`). Every observed component that
    resolves a diffuse direction adds -½ log 2π - ½ log F_∞ to the evidence, as in Durbin & Koopman 2012, section 7.2,
    and in statsmodels (KFAS leaves the -½ log 2π out), that is log p(y) + (d/2) log κ once d of them are resolved.
    Until then the variance of a state is infinite, its mean stands for nothing, and its draws are NaN. Such a model is
    walked in order, EM leaves the initial entries of diffuse states as they are and needs data that resolve them all,
    and there is no draw to begin a simulation.

    `cross_covariance` S (D, N), or (T, D, N): cov(w_t, v_t) of the noise w_t that leads into x_t and the noise v_t of
    the y_t that sees it. Nothing leads into x_1, so v_1 is correlated with nothing. The joint covariance [[Q, S],
    [Sᵀ, R]] must be positive semi-definite (ValueError). Such a model is walked with the state (x_t, v_t), which makes
    it one without correlation, exact for every verb and schedule, at the cost of D + N states: beliefs, and states that
    are drawn, have D + N entries, the state first and the noise of the observation behind it. SGD and LBFGS learn S and
    keep the joint covariance what it is, since Q^½, A and B of S = Q^½ Aᵀ and R = A Aᵀ + B Bᵀ are stored (in `frozen`
    "transition_covariance", "cross_covariance", "emission_covariance"); EM has no closed form (TypeError). The other
    textbook convention, x_{t+1} = F x_t + w_t with cov(w_t, v_t) = S, as in the innovations form, is this model with
    the state (x_{t+1}, x_t): transition matrix [[F, 0], [I, 0]] and covariance [[Q, 0], [0, 0]], emission matrix
    [0, H], cross_covariance [[S], [0]], the start x_1 with zeros behind it, and a missing observation before the first.
    """

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
        """With a diffuse start, only what is done in order; no EM of correlated noises."""
        if protocol is AbstractExpectation and self._cross_covariance is not None:
            return False
        return self.diffuse is None or protocol is not AbstractParallelRecursion

    @property
    def gains_in_blocks(self) -> bool:
        """As `python -m benchmarks kalman_missing_vs_peers` shows, where no step calls LAPACK."""
        return self.diffuse is None and max(self.num_dims, *self.event_shape) <= SMALL_ROOT

    # -- covariances once, and means side by side -------------------------------------------------------------------

    @property
    def runs_side_by_side(self) -> bool:
        """With matrices that do not vary in time; offsets may."""
        return self.diffuse is None and not any(self._varying())

    def takes_side_by_side(self, steps: Step) -> bool:
        """With nothing missing: what is seen then changes no covariance."""
        return steps.observed is None

    def gains_side_by_side(self, shape: tuple[int, ...]) -> bool:
        """As `python -m benchmarks kalman_evidence_vs_peers` shows; short ones take less time than compiling both."""
        return self.runs_side_by_side and math.prod(shape) >= 256

    def forward_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Gaussian, Array]:
        """See `AbstractRecursion`."""
        return self._lanes(steps, schedule).forward()

    def smooth_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Gaussian, Array]:
        """See `AbstractReversibleRecursion`."""
        return self._lanes(steps, schedule).smooth()

    def slope_side_by_side(
        self, steps: Step, schedule: Any, counted: Float[Array, "B"] | None = None
    ) -> tuple[Array, Sensitivities, Array]:
        """See `AbstractDifferentiable`."""
        return self._lanes(steps, schedule).slope(counted)

    def arrange(self, steps: Step, schedule: Any) -> Step:
        """Sequence after sequence."""
        return flatten_steps(steps, self.event_shape) if steps.t.ndim == 2 else steps

    def arrange_sensitivities(
        self, sensitivities: Sensitivities, steps: Step, schedule: Any, counted: Array | None
    ) -> Sensitivities:
        """Sums over the sequences, and the slopes of offsets sequence after sequence."""
        return sensitivities if steps.t.ndim == 1 else costate.together(sensitivities, counted)

    def _lanes(self, steps: Step, schedule: Any) -> InLanes:
        batch = steps if steps.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], steps)
        system = System(
            self.transition_matrix,
            self._transition_covariance.lower,
            self.emission_matrix,
            self._emission_covariance.lower,
        )
        state, seen = jax.vmap(self._offsets)(batch)
        initial = self.initial_mean, self._initial_covariance.lower
        return InLanes.of(Problem(*initial, system, batch.y - seen, state), steps, schedule)

    # -- the gradient of the evidence -------------------------------------------------------------------------------

    def sensitivities(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> Sensitivities:
        """From the costate, walked back; unlike Q it exists for singular noises, too."""
        return self._walked_back(self.prepare(steps), predicted, filtered, schedule)[0]

    def _walked_back(
        self, prepared: Step, predicted: Belief, filtered: Belief, schedule: Any
    ) -> tuple[Sensitivities, Any]:
        if isinstance(filtered, DiffuseGaussian):
            seen = jax.vmap(self._seen_diffusely)(prepared, predicted)
            after = costate.costates(seen, prepared, schedule, DiffuseCostate())
            return diffuse_costate.sensitivities(seen, after, filtered, self.known, prepared, self._varying()), after
        seen = jax.vmap(self._seen)(prepared, predicted)
        after = costate.costates(seen, prepared, schedule)
        return costate.sensitivities(seen, after, filtered, prepared, self._varying()), after

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

    def _seen(self, step: Step, predicted: Any) -> Seen:
        """What one prepared step says of the state."""
        (matrix, offset, noise), value, _ = self._measured(step.u, step.y)
        gains = Gains.of(predicted.root, matrix, noise)
        surprise = multiply(gains.whiten, value - multiply(matrix, predicted.mean) - offset)
        seen = Seen(self._transition(step.u).matrix, gains, surprise)
        return seen if step.observed is None else seen.where(jnp.any(step.observed))

    def _seen_diffusely(self, step: Step, predicted: Any) -> DiffuseSeen:
        """As `_seen`, while states are diffuse."""
        emission, value, _ = self._measured(step.u, step.y)
        observed = None if step.observed is None else jnp.any(step.observed)
        return DiffuseSeen(self._transition(step.u).matrix, predicted, emission, value, observed)

    # -- learning -------------------------------------------------------------------------------------------------

    holds_entries: ClassVar[bool] = True

    def log_prior(self) -> Scalar:
        """log p(parameters) up to a constant; 0 without priors."""
        return gaussian_learning.log_prior(self)

    def statistics(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> Moments:
        """The walk back of the gradient, and the second moments of the smoothed states."""
        prepared = self.prepare(steps)
        slopes, after = self._walked_back(prepared, predicted, filtered, schedule)
        if isinstance(filtered, DiffuseGaussian):
            smoothed = smooth_backward(self, prepared, predicted, filtered, schedule)
            states = gaussian_learning.states(steps, self.event_shape[0], smoothed.mean, smoothed.covariance)
        else:
            means = costate.smoothed_means(filtered, after)
            covariances = costate.smoothed_covariance(filtered.root, after.covariance)
            states = gaussian_learning.states(steps, self.event_shape[0], means, covariances)
        return gaussian_learning.moments(self, steps.u, slopes, states)

    def expect_side_by_side(
        self, steps: Step, schedule: Any, counted: Float[Array, "B"] | None = None
    ) -> tuple[Array, Moments, Array]:
        """See `AbstractExpectation`."""
        holds, slopes, states, log_evidence = self._lanes(steps, schedule).expect(counted)
        us = self.arrange(steps, schedule).u
        return holds, gaussian_learning.moments(self, us, slopes, states), log_evidence

    def arrange_statistics(self, statistics: Moments, steps: Step, schedule: Any, counted: Array | None) -> Moments:
        """Sums over the sequences."""
        return gaussian_learning.total(statistics, counted)

    def expected_log_prob(self, steps: Step, statistics: Moments) -> Scalar:
        """Q; -inf where a singular noise cannot make what was expected; TypeError if parameters vary in time."""
        return gaussian_learning.expected_log_prob(self, statistics)

    def maximise(self, statistics: Moments, steps: Step, frozen: frozenset[str] = frozenset()) -> "LinearGaussian":
        """Least squares; what varies in time stays as it is, and where a noise does, the coefficients beside it."""
        return gaussian_learning.maximise(self, statistics, frozen)

    def sums(self, statistics: Moments, steps: Step) -> Moments:
        """The statistics of all sequences together."""
        return gaussian_learning.around(self, gaussian_learning.total(statistics))

    def fitted(self, sums: Moments, frozen: frozenset[str] = frozenset()) -> "LinearGaussian":
        """As `maximise`."""
        return gaussian_learning.maximise(self, sums, frozen)

    @classmethod
    def from_data(
        cls,
        num_dims: int,
        ys: Float[Array, "*B T N"],
        inputs: Float[Array, "*B T U"] | None = None,
        lags: int | None = None,
    ) -> "LinearGaussian":
        """A model of D = `num_dims` states from one sequence or a batch by subspace identification: a start for a fit.

        States are what `lags` observations (and inputs) past say of as many to come, beyond what inputs to come say:
        their D largest canonical correlations, in balanced coordinates (Van Overschee & De Moor 1996, chapters 3 and 4;
        Katayama 2005, chapter 8); matrices follow by least squares. Noises are those of states of unit variance, as if
        the noises of the states and of what is seen were uncorrelated. `lags`: 10 by default, fewer where the data are
        short. With an `emission_bias`, and a start at N(0, I). Raises ValueError for NaN and for data too short.
        """
        found = identified(num_dims, ys, inputs, lags)
        size, dtype = found.transition_matrix.shape[0], found.emission_bias.dtype
        start: dict[str, Any] = {
            "initial_mean": jnp.zeros(size, dtype),
            "initial_covariance": jnp.eye(size, dtype=dtype),
        }
        return cls(**start, **found._asdict())

    def restart(self, key: Key, steps: Step) -> "LinearGaussian":
        """See `gaussian_learning.restart`."""
        return gaussian_learning.restart(self, key, steps)
