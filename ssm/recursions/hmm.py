"""The hidden Markov model: the recursion whose belief is a distribution over K states."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm import checks
from ssm.beliefs import Categorical
from ssm.distributions import Distribution, categorical
from ssm.emissions.base import AbstractEmission
from ssm.likelihoods import LogLikelihood
from ssm.linalg import multiply
from ssm.logspace import dot_log, ratio
from ssm.maps.markov import MarkovMap
from ssm.parameters import Simplex, value
from ssm.recursion import (
    AbstractExpectation,
    AbstractParallelRecursion,
    AbstractStateSpace,
    Step,
    flatten_steps,
    seen_steps,
)
from ssm.recursions import lanes
from ssm.recursions.chain import NOTHING, Counts, Known, ReversedChain, Sums
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar
from ssm.transitions.base import AbstractTransition, inner, normalised, random_like
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
        self._initial = _initial(initial, transition, size)
        _common_inputs(emission, transition)

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
        return _common_inputs(self.emission, self._transition)

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
        """As `python -m benchmarks lanes` measured it on a CPU."""
        if len(shape) == 1:
            return self.runs_side_by_side and shape[0] >= 2000 and self.num_states <= 32
        return self.runs_side_by_side and shape[0] >= 8

    def forward_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Categorical, Array]:
        """See `AbstractRecursion`."""
        chain, evidence = self._lanes(steps, schedule)
        there = chain.forward()
        filtered = _still(chain.layout.join(there.filtered), steps)
        return there.agreed, Categorical(filtered), evidence(there.totals)

    def smooth_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Categorical, Array]:
        """See `AbstractExpectation`."""
        chain, evidence = self._lanes(steps, schedule)
        there = chain.forward()
        back = chain.backward(there)
        smoothed = _still(chain.layout.join(back.smoothed), steps)
        return there.agreed & back.agreed, Categorical(smoothed), evidence(there.totals)

    def expect_side_by_side(
        self, steps: Step, schedule: Any, counted: Float[Array, "B"] | None = None
    ) -> tuple[Array, Counts, Array]:
        """See `AbstractExpectation`."""
        chain, evidence = self._lanes(steps, schedule)
        there = chain.forward()
        back = chain.backward(there, counted)
        often = chain.real.astype(back.smoothed.dtype)
        states = back.smoothed * (often if counted is None else often * counted)[:, None]
        initial = jnp.sum(states[0], axis=1) if steps.t.ndim == 2 else states[0, :, 0]
        rows = jnp.swapaxes(states, 0, 1).reshape(self.num_states, -1)  # (K, L C)
        counts = Counts(initial, self.transition * back.moves, rows.T)
        return there.agreed & back.agreed, counts, evidence(there.totals)

    def arrange(self, steps: Step, schedule: Any) -> Step:
        """See `AbstractExpectation`."""
        layout = lanes.lay_out(steps, self.num_states, schedule.lanes)
        return dataclasses.replace(layout.split(steps), padding=None)

    def arrange_statistics(self, statistics: Counts, steps: Step, schedule: Any, counted: Array | None) -> Counts:
        """See `AbstractExpectation`."""
        layout = lanes.lay_out(steps, self.num_states, schedule.lanes)
        if counted is not None:
            often = lambda leaf: leaf * counted.reshape(-1, *(1,) * (leaf.ndim - 1))
            statistics = jax.tree.map(often, statistics)
        states = layout.split(statistics.states)
        states = jnp.where(layout.real(steps).reshape(-1, 1), states, 0)
        sums = lambda leaf: jnp.sum(leaf, axis=0) if steps.t.ndim == 2 else leaf
        return Counts(sums(statistics.initial), sums(statistics.transitions), states)

    def _lanes(self, steps: Step, schedule: Any) -> tuple[lanes.Chain, Callable[[Array], Array]]:
        """The chain in lanes, and what makes log p(y_t | y_<t) of its normalisers."""
        layout = lanes.lay_out(steps, self.num_states, schedule.lanes)
        split = layout.split(steps)
        real, observed = layout.real(steps), self._informed(split)
        seen = real if observed is None else real & _seen(observed).reshape(real.shape)
        weights, shift = self.emission.side_by_side(split.y, split.u, split.observed, seen)
        chain = lanes.Chain(self.initial, self.transition, weights, real, layout, schedule.tol, schedule.max_sweeps)
        return chain, lambda totals: layout.join(jnp.where(seen, jnp.log(totals) + shift, 0))

    # -- learning ---------------------------------------------------------------------------------------------

    def statistics(self, steps: Step, predicted: Categorical, filtered: Categorical, smoothed: Categorical) -> Counts:
        """γ, and Σξ as one matrix product; no T × K × K array is made."""
        # ξ_t(i, j) = filtered_{t-1}(i) A_ij smoothed_t(j) / predicted_t(j), nothing across starts and padding
        gain = ratio(smoothed.probs, predicted.probs)  # (T, K)
        states = smoothed.probs
        if steps.padding is not None:
            gain, states = (jnp.where(steps.padding[:, None], 0, array) for array in (gain, states))
        initial = states[0]
        if steps.first is not None:
            starts = steps.first.at[0].set(True)[:, None]
            gain, initial = jnp.where(starts, 0, gain), jnp.sum(jnp.where(starts, states, 0), axis=0)
        us = index(self._transition.prepare(steps.u, steps.t), slice(1, None))
        return Counts(initial, self._transition.count(filtered.probs[:-1], gain[1:], us), states)

    def expected_log_prob(self, steps: Step, statistics: Counts) -> Scalar:
        """Q = Σ initial log π + Σ transitions log A + Σ_t Σ_k states log p(y_t | k)."""
        values = steps.y.values
        seen = (statistics.states != 0) if steps.observed is None else _seen(steps.observed) & (statistics.states != 0)
        possible = seen & (values != -jnp.inf)  # the impossible has no slope to climb
        terms = jnp.where(possible, statistics.states * jnp.where(possible, values, 0), 0)
        emitted = jnp.sum(jnp.where(seen & ~possible, -jnp.inf, terms))
        us = index(steps.u.transition, slice(1, None))
        moved = self._transition.expected_log_prob(statistics.transitions, us)
        return dot_log(statistics.initial, self.initial) + moved + emitted

    def log_prior(self) -> Scalar:
        """That of the transition."""
        return self._transition.log_prior()

    def maximise(self, statistics: Counts, steps: Step, frozen: frozenset[str] = frozenset()) -> "HMM":
        """Expected counts, normalised, and the M-step of the emission (Baum et al. 1970)."""
        emission = self.emission
        if "emission" not in frozen:
            flat = flatten_steps(steps, self.event_shape)
            states = statistics.states.reshape(-1, self.num_states)
            emission = emission.maximise(states, flat.y, flat.u, flat.observed, inner("emission", frozen))
        starts = statistics.initial.reshape(-1, self.num_states)
        moves, us = statistics.transitions, self._transition.prepare(steps.u, steps.t)
        if steps.t.ndim == 1:
            us = index(us, slice(1, None))
        else:
            moves = self._transition.merge(moves)
            us = jax.tree.map(lambda leaf: leaf[:, 1:].reshape(-1, *leaf.shape[2:]), us)
        initial, transition = self._move(jnp.sum(starts, axis=0), moves, us, frozen)
        return HMM(initial, transition, emission)

    def sums(self, statistics: Counts, steps: Step) -> Sums:
        """Expected starts and moves, and the sums of the emission."""
        flat = flatten_steps(steps, self.event_shape)
        weights = statistics.states.reshape(-1, self.num_states)
        return Sums(
            jnp.sum(statistics.initial.reshape(-1, self.num_states), axis=0),
            self._transition.sums(statistics.transitions),
            self.emission.sums(weights, flat.y, flat.u, flat.observed),
        )

    def blend(self, old: Sums, new: Sums, rate: Scalar) -> Sums:
        """Counts add up; the emission says how its own do."""
        emission = self.emission.blend(old.emission, new.emission, rate)
        counts = lambda sums: (sums.initial, sums.transitions)
        initial, transitions = super().blend(counts(old), counts(new), rate)
        return Sums(initial, transitions, emission)

    def fitted(self, sums: Sums, frozen: frozenset[str] = frozenset()) -> "HMM":
        """Counts, normalised, and the emission from its sums."""
        emission = self.emission
        if "emission" not in frozen:
            emission = emission.fitted(sums.emission, inner("emission", frozen))
        initial, transition = self._move(sums.initial, sums.transitions, None, frozen)
        return HMM(initial, transition, emission)

    def _move(self, starts: Float[Array, "K"], moves: PyTree, us: PyTree, frozen: frozenset[str]) -> tuple:
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


def _still(probs: Float[Array, "*B T K"], steps: Step) -> Float[Array, "*B T K"]:
    """Beliefs that stay, in the padding after a sequence, what they were at its end."""
    if steps.padding is None:
        return probs
    last = jnp.sum(~steps.padding, axis=-1, keepdims=True, dtype=int) - 1  # (B, 1)
    times = jnp.minimum(jnp.arange(steps.t.shape[-1]), last)
    return jnp.take_along_axis(probs, times[..., None], axis=-2)


def _seen(observed: Bool[Array, "T *event"]) -> Bool[Array, "T 1"]:
    return jnp.any(observed.reshape(observed.shape[0], -1), axis=1)[:, None]


def _initial(initial: Any, transition: AbstractTransition, size: int) -> Simplex | None:
    if transition.has_start != (initial is None):
        own = "has a start of its own: pass None" if transition.has_start else "has no start of its own, got None"
        raise ValueError(f'initial: expected probabilities (K,), "stationary" or None; this transition {own}')
    if initial is None:
        return None
    if isinstance(initial, str):
        if initial != "stationary":
            raise ValueError(f'initial: expected probabilities (K,) or "stationary", got {initial!r}')
        transition.stationary()  # TypeError here if it has none
        return None
    initial = checks.probabilities("initial", initial, ("K",))
    if initial.shape != (size,):
        raise ValueError(f"initial: the emission has K = {size} states, got shape {tuple(initial.shape)}")
    return Simplex.of(initial)


def _common_inputs(emission: AbstractEmission, transition: AbstractTransition) -> int | None:
    counts = {count for count in (emission.num_inputs, transition.num_inputs) if count != 0}
    if None in counts or not counts:
        return None if counts else 0
    if len(counts) > 1:
        raise ValueError(
            f"transition: it reads {transition.num_inputs} inputs per step and the emission {emission.num_inputs}; "
            "both see the same u_t, so give the ones that are not used zero weights"
        )
    return counts.pop()
