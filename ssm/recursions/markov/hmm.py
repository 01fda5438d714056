"""The hidden Markov model: the recursion whose belief is a distribution over K states."""

from typing import Any, Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.beliefs import LogCategorical
from ssm.emissions.common.base import AbstractEmission
from ssm.numeric.logspace import dot_log
from ssm.numeric.trees import index, without_functions
from ssm.parameters import Simplex
from ssm.parameters.freezing import inner
from ssm.passes.backward import smooth_back
from ssm.passes.capabilities import AbstractChain
from ssm.passes.expectation import AbstractExpectation
from ssm.recursions.markov import counts
from ssm.recursions.markov.counts import Counts, Sums
from ssm.recursions.markov.in_blocks import ChainInBlocks
from ssm.recursions.markov.in_order import summing_to_one
from ssm.recursions.markov.inference import ChainFilter
from ssm.recursions.markov.list_viterbi import ListViterbi
from ssm.recursions.markov.messages import messages
from ssm.recursions.markov.viterbi import Viterbi
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.steps import Step, flatten_steps, seen_steps
from ssm.transitions.base import AbstractTransition, normalised, random_like
from ssm.transitions.homogeneous import Homogeneous


@final
class HMM(ChainFilter, AbstractExpectation[LogCategorical], AbstractChain[LogCategorical]):
    """x_1 ~ initial; x_t ~ transition[x_{t-1}]; y_t ~ emission[x_t].

    Shapes: `initial` (K,), or "stationary": the distribution that the transition leaves as it is, or None: the one
    that an `ssm.transitions` object brings with it; `transition` (K, K) with rows that sum to one, or such an object;
    `emission` an `ssm.emissions` family of K states. Probabilities are stored as logits; hard zeros stay exactly zero
    in training. Raises ValueError when shapes disagree or rows do not sum to one. Source: Rabiner 1989, with the
    forward recursion normalised at every step (section V.A).

    No state is lost that is possible, however long data speak against it: probabilities are walked where it can be
    shown that those too small to be held make no difference to any answer, and their logarithms elsewhere.
    """

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
        self.emission, self._transition = without_functions(emission), without_functions(transition)
        self._initial = counts.checked_initial(initial, transition, size)
        counts.common_inputs(emission, transition)
        counts.check_rows(transition)

    # -- of its states ----------------------------------------------------------------------------------------

    def best(self) -> Viterbi:
        """See `AbstractDecodable`."""
        return Viterbi(self)

    def ranked(self, num_paths: int) -> ListViterbi:
        """See `AbstractChain`."""
        return ListViterbi(self, num_paths)

    def messages(self, prepared: Step) -> Float[Array, "T K"]:
        """See `AbstractChain`."""
        return messages(self.dynamics, prepared)

    def permuted(self, order: Int[np.ndarray, "K"]) -> "HMM":
        """See `AbstractChain`."""
        size = self.num_states
        if sorted(order.tolist()) != list(range(size)):
            raise ValueError(f"order: expected each of 0 .. {size - 1} once, got {order.tolist()}")
        initial: Any = self._initial
        if initial is not None:
            initial = Simplex(initial.logits[order]) if isinstance(initial, Simplex) else initial[order]
        new = (initial, self.dynamics.permuted(order), self.emission.permuted(order))
        where = lambda m: (m._initial, m._transition, m.emission)
        return eqx.tree_at(where, self, new, is_leaf=lambda node: node is None)

    def ways(self) -> tuple[type, ...]:
        """With one matrix for all times, in blocks."""
        return ChainInBlocks, *super().ways()

    # -- learning ---------------------------------------------------------------------------------------------

    def statistics(self, steps: Step, predicted: Any, filtered: Any, schedule: Any) -> Counts:
        """γ and Σξ."""
        smoothed = summing_to_one(smooth_back(self, self.prepare(steps), predicted, filtered, schedule))
        return counts.expected_counts(self._transition, steps, predicted, filtered, smoothed)

    def expected_log_prob(self, steps: Step, statistics: Counts) -> Scalar:
        """Q = Σ initial log π + Σ transitions log A + Σ_t Σ_k states log p(y_t | k)."""
        us = index(steps.u.transition, slice(1, None))
        moved = self._transition.expected_log_prob(statistics.transitions, us)
        emitted = counts.expected_emission(statistics.states, steps.y.values, steps.observed)
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
        starts, moves, us = counts.pooled_moves(self._transition, statistics, steps)
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
