"""The hidden Markov model: the recursion whose belief is a distribution over K states."""

import dataclasses
from typing import Any, Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.beliefs import Categorical
from ssm.distributions import Distribution, categorical
from ssm.emissions.base import AbstractEmission
from ssm.expectation import AbstractExpectation
from ssm.freezing import inner
from ssm.likelihoods import LogLikelihood
from ssm.linalg import multiply
from ssm.logspace import dot_log, ratio
from ssm.maps.markov import MarkovMap
from ssm.model import AbstractStateSpace
from ssm.parameters import Simplex, value
from ssm.recursion import AbstractParallelRecursion
from ssm.recursions import chain, side_by_side
from ssm.recursions.backward import smooth_backward
from ssm.recursions.chain import NOTHING, Counts, Known, ReversedChain, Sums
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar
from ssm.steps import Step, flatten_steps, seen_steps
from ssm.transitions.base import AbstractTransition, normalised, random_like
from ssm.transitions.homogeneous import Homogeneous
from ssm.trees import index


@final
class HMM(AbstractExpectation[Categorical], AbstractParallelRecursion[Categorical], AbstractStateSpace):
    """x_1 ~ initial; x_t ~ transition[x_{t-1}]; y_t ~ emission[x_t].

    Shapes: `initial` (K,), or "stationary": the distribution that the transition leaves as it is, or None: the one
    that an `ssm.transitions` object brings with it; `transition` (K, K) with rows that sum to one, or such an object;
    `emission` an `ssm.emissions` family of K states. Probabilities are stored as logits; hard zeros stay exactly zero
    in training. Raises ValueError when shapes disagree or rows do not sum to one. Source: Rabiner 1989, with the
    forward recursion normalised at every step (section V.A).

    Beliefs are probabilities, not their logarithms: a state whose share falls below 1e-38 in float32 (1e-308 in
    float64) of the likeliest one's is lost unless a transition leads back to it. Chains without such transitions,
    over data that first speak against a state and then for it by more than that, need float64.
    """

    _initial: Simplex | Float[Array, "K"] | None  # None: it follows from the transition
    _transition: AbstractTransition
    emission: AbstractEmission

    def __init__(
        self,
        initial: Array | Literal["stationary"] | None,
        transition: Array | AbstractTransition,
        emission: AbstractEmission,
    ):
        if not isinstance(emission, AbstractEmission):
            raise TypeError(f"emission: expected a family of ssm.emissions, got {type(emission).__name__}")
        size = emission.num_states
        if not isinstance(transition, AbstractTransition):
            transition = Homogeneous(transition, num_states=size)
        if transition.num_states != size:
            raise ValueError(f"transition: the emission has K = {size} states, got one of {transition.num_states}")
        self.emission, self._transition = emission, transition
        self._initial = chain.checked_initial(initial, transition, size)
        chain.common_inputs(emission, transition)

    @property
    def initial(self) -> Float[Array, "K"]:
        """p(x_1)."""
        return self._transition.start() if self._initial is None else value(self._initial)

    @property
    def _start(self) -> Float[Array, "K"] | Literal["stationary"] | None:
        """What `initial` was in the constructor."""
        if self._initial is not None:
            return self.initial
        return None if self._transition.has_start else "stationary"

    @property
    def transition(self) -> Float[Array, "K K"]:
        """p(x_t = j | x_{t-1} = i) in row i, column j; of a transition that varies, see `dynamics`."""
        return self._transition.matrix()

    @property
    def dynamics(self) -> AbstractTransition:
        """How the chain moves, with its structure."""
        return self._transition

    @property
    def num_states(self) -> int:
        """K."""
        return self.emission.num_states

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.emission.event_shape

    @property
    def event_kind(self) -> str:
        """As the emission's."""
        return self.emission.event_kind

    @property
    def num_classes(self) -> int:
        """As the emission's."""
        return self.emission.num_classes

    @property
    def num_inputs(self) -> int | None:
        """What the emission and the transition read: both see the same inputs."""
        return chain.common_inputs(self.emission, self._transition)

    @property
    def num_steps(self) -> int | None:
        """As the transition's."""
        return self._transition.num_steps

    @property
    def predicts_at_once(self) -> bool:
        """Where predicting is one matrix product for all times."""
        return self._transition.is_one_matrix

    def validate(self, ys: np.ndarray) -> None:
        """As the emission's."""
        self.emission.validate(ys)

    def validate_steps(self, steps: Step) -> None:
        """The emission's inputs."""
        self.emission.validate_inputs(steps.u)

    # -- the recursion ----------------------------------------------------------------------------------------

    def prepare(self, steps: Step) -> Step:
        """Observations to the table of log-likelihoods (T, K), for all times at once."""
        table = LogLikelihood(self.emission.log_likelihoods(steps.y, steps.u, steps.observed))
        return dataclasses.replace(steps, y=table, u=self._known(steps), observed=self._informed(steps))

    def quicken(self, steps: Step) -> tuple["HMM", Step]:
        """Exponentials outside the scan, relative to the best state of each row."""
        emission, ys = self.emission.quicken(steps.y, steps.u, steps.observed)
        model = eqx.tree_at(lambda m: m.emission, self, emission)
        return model, dataclasses.replace(steps, y=ys, u=self._known(steps), observed=self._informed(steps))

    def _informed(self, steps: Step) -> Bool[Array, "T *parts"] | None:
        return self.emission.informed(steps.u, steps.observed)

    def _known(self, steps: Step) -> Known:
        return Known(steps.u, self._transition.prepare(steps.u, steps.t))

    def init(self, u: Known | None = None, *, key: Key | None = None) -> Categorical:
        """π."""
        return Categorical(self.initial)

    def predict(self, belief: Categorical, u: Known = NOTHING, *, key: Key | None = None) -> Categorical:
        """p A."""
        return Categorical(self._transition.push(belief.probs, u.transition))

    def update(self, prior: Categorical, u: Known, y: PyTree, *, key: Key | None = None) -> tuple[Categorical, Scalar]:
        """Reweigh by the likelihood and normalise; the normaliser is the evidence."""
        return self.emission.likelihood(y).reweigh(prior)

    def emit(self, prior: Categorical, u: Known = NOTHING) -> Any:
        """The mixture of the emissions."""
        return self.emission.mixture(prior.probs, u.emission)

    def lift(self, u: Known, y: LogLikelihood | None) -> MarkovMap:
        """A diag(likelihood)."""
        matrix = self._transition.matrix(u.transition)
        unseen = jnp.zeros(self.num_states, matrix.dtype)
        if y is None:
            return MarkovMap.of(matrix, unseen)
        # What no state can emit is passed over, as `reweigh` does: later steps can still be told apart.
        return MarkovMap.of(matrix, jnp.where(jnp.all(y.values == -jnp.inf), unseen, y.values))

    def reverse(self, filtered: Categorical, predicted: Categorical, u: Known) -> "ReversedChain":
        """p(x_t | x_{t+1}, y_{<=t}) ∝ filtered · A."""
        return ReversedChain(filtered.probs, self._transition, u.transition, predicted.probs)

    def settle(self, smoothed: Categorical) -> Categorical:
        """Rows that sum to one again."""
        total = multiply(smoothed.probs, jnp.ones((self.num_states, 1), smoothed.probs.dtype))
        return Categorical(ratio(smoothed.probs, total))

    # -- in blocks side by side -------------------------------------------------------------------------------

    @property
    def runs_side_by_side(self) -> bool:
        """With one matrix for all times."""
        return isinstance(self._transition, Homogeneous)

    def gains_side_by_side(self, shape: tuple[int, ...]) -> bool:
        """As `python -m benchmarks side_by_side` measured it on a CPU."""
        if len(shape) == 1:
            return self.runs_side_by_side and shape[0] >= 2000 and self.num_states <= 32
        return self.runs_side_by_side and shape[0] >= 8

    def forward_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Categorical, Array]:
        """See `AbstractRecursion`."""
        return self._lanes(steps, schedule).forward()

    def smooth_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Categorical, Array]:
        """See `AbstractExpectation`."""
        return self._lanes(steps, schedule).smooth()

    def walk_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Any, Array]:
        """See `AbstractDifferentiable`."""
        return self._lanes(steps, schedule).walk()

    def statistics_side_by_side(
        self, steps: Step, schedule: Any, walk: Any, counted: Float[Array, "B"] | None = None
    ) -> tuple[Array, Counts]:
        """See `AbstractExpectation`."""
        lanes, there = walk
        return lanes.expect(there, counted)

    def arrange(self, steps: Step, schedule: Any) -> Step:
        """See `AbstractExpectation`."""
        return side_by_side.arranged(steps, self.num_states, schedule)

    def arrange_statistics(self, statistics: Counts, steps: Step, schedule: Any, counted: Array | None) -> Counts:
        """See `AbstractExpectation`."""
        return side_by_side.arranged_counts(statistics, steps, schedule, counted)

    def _lanes(self, steps: Step, schedule: Any) -> side_by_side.InLanes:
        return side_by_side.InLanes.of(self.emission, self.initial, self.transition, steps, schedule)

    # -- learning ---------------------------------------------------------------------------------------------

    def statistics(self, steps: Step, predicted: Categorical, filtered: Categorical, schedule: Any) -> Counts:
        """γ and Σξ."""
        smoothed = smooth_backward(self, self.prepare(steps), predicted, filtered, schedule)
        return chain.expected_counts(self._transition, steps, predicted, filtered, smoothed)

    def expected_log_prob(self, steps: Step, statistics: Counts) -> Scalar:
        """Q = Σ initial log π + Σ transitions log A + Σ_t Σ_k states log p(y_t | k)."""
        us = index(steps.u.transition, slice(1, None))
        moved = self._transition.expected_log_prob(statistics.transitions, us)
        emitted = chain.expected_emission(statistics.states, steps.y.values, steps.observed)
        return dot_log(statistics.initial, self.initial) + moved + emitted

    def log_prior(self) -> Scalar:
        """That of the transition and that of the emission."""
        prior = self._transition.log_prior()
        return prior + self.emission.log_prior().astype(prior.dtype)

    def maximise(self, statistics: Counts, steps: Step, frozen: frozenset[str] = frozenset()) -> "HMM":
        """Expected counts, normalised, and the M-step of the emission (Baum et al. 1970)."""
        emission = self.emission
        if "emission" not in frozen:
            flat = flatten_steps(steps, self.event_shape)
            states = statistics.states.reshape(-1, self.num_states)
            emission = emission.maximise(states, flat.y, flat.u, flat.observed, inner("emission", frozen))
        starts, moves, us = chain.pooled_moves(self._transition, statistics, steps)
        return HMM(*self._moved(starts, moves, us, frozen), emission)

    def sums(self, statistics: Counts, steps: Step) -> Sums:
        """Expected starts and moves, and the sums of the emission."""
        flat = flatten_steps(steps, self.event_shape)
        weights = statistics.states.reshape(-1, self.num_states)
        return Sums(
            jnp.sum(statistics.initial.reshape(-1, self.num_states), axis=0),
            self._transition.sums(statistics.transitions),
            self.emission.sums(weights, flat.y, flat.u, flat.observed),
        )

    def fitted(self, sums: Sums, frozen: frozenset[str] = frozenset()) -> "HMM":
        """Counts, normalised, and the emission from its sums."""
        emission = self.emission
        if "emission" not in frozen:
            emission = emission.fitted(sums.emission, inner("emission", frozen))
        return HMM(*self._moved(sums.initial, sums.transitions, None, frozen), emission)

    def _moved(
        self, starts: Float[Array, "K"], moves: PyTree, us: PyTree, frozen: frozenset[str]
    ) -> tuple[Any, AbstractTransition]:
        """The M-step of the chain."""
        held = "transition" in frozen
        below = inner("transition", frozen)
        if self._initial is None:
            both = self._transition if held else self._transition.maximise_with_start(moves, us, starts, below)
            return self._start, both
        initial = self.initial if "initial" in frozen else normalised(starts, self.initial)
        return initial, self._transition if held else self._transition.maximise(moves, us, below)

    def restart(self, key: Key, steps: Step) -> "HMM":
        """Random probabilities on the same support; an emission started from the data."""
        for_initial, for_transition, for_emission = jax.random.split(key, 3)
        flat = flatten_steps(steps, self.event_shape)
        return HMM(
            self._start if self._initial is None else random_like(for_initial, self.initial),
            self._transition.restart(for_transition),
            self.emission.restart(for_emission, flat.y, flat.u, seen_steps(flat)),
        )

    # -- drawing ----------------------------------------------------------------------------------------------

    def initial_state(self, u: Known) -> Distribution:
        """π."""
        return categorical(self.initial)

    def next_state(self, state: Int[Array, ""], u: Known) -> Distribution:
        """Row `state` of A."""
        return categorical(self._transition.row(state, u.transition))

    def observation(self, state: Int[Array, ""], u: Known) -> Any:
        """The emission of `state`."""
        return self.emission.given(state, u.emission)
