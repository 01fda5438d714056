"""The hidden Markov model: the recursion whose belief is a distribution over K states."""

import dataclasses
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm import checks
from ssm.beliefs import Categorical
from ssm.distributions import Distribution, categorical
from ssm.emissions.base import AbstractEmission
from ssm.likelihoods import LogLikelihood
from ssm.linalg import multiply, row_times_matrix
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
from ssm.recursions.chain import Counts, ReversedChain
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar


@final
class HMM(AbstractExpectation[Categorical], AbstractParallelRecursion[Categorical], AbstractStateSpace):
    """x_1 ~ initial; x_t ~ transition[x_{t-1}]; y_t ~ emission[x_t].

    Shapes: `initial` (K,), `transition` (K, K) with rows that sum to one, `emission` an `ssm.emissions` family
    of K states. Probabilities are stored as logits; hard zeros stay exactly zero in training. Raises ValueError
    when shapes disagree or rows do not sum to one. Source: Rabiner 1989, with the forward recursion
    normalised at every step (section V.A).

    Beliefs are probabilities, not their logarithms: a state whose share falls below 1e-38 in float32 (1e-308 in
    float64) of the likeliest one's is lost unless a transition leads back to it. Chains without such transitions,
    over data that first speak against a state and then for it by more than that, need float64.
    """

    predicts_at_once: ClassVar[bool] = True

    _initial: Simplex | Float[Array, "K"]
    _transition: Simplex | Float[Array, "K K"]
    emission: AbstractEmission

    def __init__(self, initial: Array, transition: Array, emission: AbstractEmission):
        if not isinstance(emission, AbstractEmission):
            raise TypeError(f"emission: expected a family of ssm.emissions, got {type(emission).__name__}")
        size = emission.num_states
        initial = checks.probabilities("initial", initial, ("K",))
        if initial.shape != (size,):
            raise ValueError(f"initial: the emission has K = {size} states, got shape {tuple(initial.shape)}")
        self._initial = Simplex.of(initial)
        self._transition = Simplex.of(checks.probabilities("transition", transition, (size, size)))
        self.emission = emission

    @property
    def initial(self) -> Float[Array, "K"]:
        """p(x_1)."""
        return value(self._initial)

    @property
    def transition(self) -> Float[Array, "K K"]:
        """p(x_t = j | x_{t-1} = i) in row i, column j."""
        return value(self._transition)

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
        """As the emission's."""
        return self.emission.num_inputs

    def validate(self, ys: np.ndarray) -> None:
        """As the emission's."""
        self.emission.validate(ys)

    # -- the recursion ----------------------------------------------------------------------------------------

    def prepare(self, steps: Step) -> Step:
        """Observations to the table of log-likelihoods (T, K), for all times at once."""
        table = LogLikelihood(self.emission.log_likelihoods(steps.y, steps.u, steps.observed))
        return dataclasses.replace(steps, y=table)

    def quicken(self, steps: Step) -> tuple["HMM", Step]:
        """Exponentials outside the scan, relative to the best state of each row."""
        emission, ys = self.emission.quicken(steps.y, steps.u, steps.observed)
        model = eqx.tree_at(lambda m: m.emission, self, emission)
        return model, dataclasses.replace(steps, y=ys)

    def init(self, u: PyTree = None, *, key: Key | None = None) -> Categorical:
        """π."""
        return Categorical(self.initial)

    def predict(self, belief: Categorical, u: PyTree = None, *, key: Key | None = None) -> Categorical:
        """p A."""
        return Categorical(row_times_matrix(belief.probs, self.transition))

    def update(self, prior: Categorical, u: PyTree, y: PyTree, *, key: Key | None = None) -> tuple[Categorical, Scalar]:
        """Reweigh by the likelihood and normalise; the normaliser is the evidence."""
        return self.emission.likelihood(y).reweigh(prior)

    def emit(self, prior: Categorical, u: PyTree = None) -> Distribution:
        """The mixture of the emissions."""
        return self.emission.mixture(prior.probs, u)

    def lift(self, u: PyTree, y: LogLikelihood | None) -> MarkovMap:
        """A diag(likelihood)."""
        unseen = jnp.zeros(self.num_states, self.transition.dtype)
        if y is None:
            return MarkovMap.of(self.transition, unseen)
        # What no state can emit is passed over, as `reweigh` does: later steps can still be told apart.
        return MarkovMap.of(self.transition, jnp.where(jnp.all(y.values == -jnp.inf), unseen, y.values))

    def reverse(self, filtered: Categorical, predicted: Categorical, u: PyTree) -> "ReversedChain":
        """p(x_t | x_{t+1}, y_{<=t}) ∝ filtered · A."""
        return ReversedChain(filtered.probs, self.transition, predicted.probs)

    def settle(self, smoothed: Categorical) -> Categorical:
        """Rows that sum to one again."""
        total = multiply(smoothed.probs, jnp.ones((self.num_states, 1), smoothed.probs.dtype))
        return Categorical(ratio(smoothed.probs, total))

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
        transitions = self.transition * multiply(filtered.probs[:-1].T, gain[1:])
        return Counts(initial, transitions, states)

    def expected_log_prob(self, steps: Step, statistics: Counts) -> Scalar:
        """Q = Σ initial log π + Σ transitions log A + Σ_t Σ_k states log p(y_t | k)."""
        values = steps.y.values
        seen = (statistics.states != 0) if steps.observed is None else _seen(steps.observed) & (statistics.states != 0)
        possible = seen & (values != -jnp.inf)  # the impossible has no slope to climb
        terms = jnp.where(possible, statistics.states * jnp.where(possible, values, 0), 0)
        emitted = jnp.sum(jnp.where(seen & ~possible, -jnp.inf, terms))
        return dot_log(statistics.initial, self.initial) + dot_log(statistics.transitions, self.transition) + emitted

    def maximise(self, statistics: Counts, steps: Step, frozen: frozenset[str] = frozenset()) -> "HMM":
        """Expected counts, normalised, and the M-step of the emission (Baum et al. 1970)."""
        size = self.num_states
        starts = jnp.sum(statistics.initial.reshape(-1, size), axis=0)
        moves = jnp.sum(statistics.transitions.reshape(-1, size, size), axis=0)
        flat = flatten_steps(steps, self.event_shape)
        inner = frozenset(name.removeprefix("emission.") for name in frozen if name.startswith("emission."))
        emission = self.emission
        if "emission" not in frozen:
            states = statistics.states.reshape(-1, size)
            emission = emission.maximise(states, flat.y, flat.u, flat.observed, inner)
        return HMM(
            self.initial if "initial" in frozen else _normalised(starts, self.initial),
            self.transition if "transition" in frozen else _normalised(moves, self.transition),
            emission,
        )

    def restart(self, key: Key, steps: Step) -> "HMM":
        """Random probabilities on the same support; an emission started from the data."""
        for_initial, for_transition, for_emission = jax.random.split(key, 3)
        flat = flatten_steps(steps, self.event_shape)
        return HMM(
            _random_like(for_initial, self.initial),
            _random_like(for_transition, self.transition),
            self.emission.restart(for_emission, flat.y, flat.u, seen_steps(flat)),
        )

    # -- drawing ----------------------------------------------------------------------------------------------

    def initial_state(self, u: PyTree) -> Distribution:
        """π."""
        return categorical(self.initial)

    def next_state(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Row `state` of A."""
        return categorical(self.transition[state])

    def observation(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """The emission of `state`."""
        return self.emission.given(state, u)


def _seen(observed: Bool[Array, "T *event"]) -> Bool[Array, "T 1"]:
    return jnp.any(observed.reshape(observed.shape[0], -1), axis=1)[:, None]


def _normalised(counts: Float[Array, "*batch K"], otherwise: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """Counts as probabilities; a row that was never visited stays as it is, since every value maximises."""
    total = jnp.sum(counts, axis=-1, keepdims=True)
    return jnp.where(total > 0, ratio(counts, total), otherwise)


def _random_like(key: Key, probs: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """Uniform on the simplex spanned by the possible outcomes."""
    draws = jnp.where(probs > 0, jax.random.exponential(key, probs.shape, probs.dtype), 0)
    return draws / jnp.sum(draws, axis=-1, keepdims=True)
