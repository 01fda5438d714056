"""What a hidden Markov chain is told, what it is expected to have done (Baum & Welch), and how it runs backwards."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import Categorical, LogCategorical
from ssm.emissions.common.base import AbstractEmission
from ssm.maps.base import AbstractKernel
from ssm.maps.markov import MarkovMap
from ssm.numeric import checks
from ssm.numeric.logspace import log, ratio
from ssm.numeric.trees import index
from ssm.parameters import Simplex
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar
from ssm.steps import Step
from ssm.transitions.base import AbstractTransition


class Known(eqx.Module):
    """What is known before y_t: the inputs, as the emission and as the transition want to see them."""

    emission: PyTree = None
    transition: PyTree = None


NOTHING = Known()


class Counts(eqx.Module):
    """Expected sufficient statistics of a hidden Markov chain, given the observations.

    Shapes: `initial` (K,), E[x_1 = k], one per sequence start; `transitions` (K, K), Σ_t E[x_{t-1} = i, x_t = j], or
    what a transition with structure counts instead; `states` (T, K), E[x_t = k].
    """

    initial: Float[Array, "*batch K"]
    transitions: PyTree
    states: Float[Array, "*batch T K"]


class Sums(eqx.Module):
    """`Counts` without what grows with time: `emission` is what the family sums over times."""

    initial: Float[Array, "K"]
    transitions: PyTree
    emission: PyTree


class ReversedChain(AbstractKernel[Categorical]):
    """p(x_t = i | x_{t+1} = j, y_{<=t}) = filtered_i A_ij / predicted_j, kept as its three factors."""

    filtered: Float[Array, "K"]
    transition: AbstractTransition
    u: PyTree  # what the transition is told of t + 1
    predicted: Float[Array, "K"]

    def apply(self, belief: Categorical) -> Categorical:
        """One step of smoothing: filtered ∘ A (belief / predicted)."""
        gain = ratio(belief.probs, self.predicted)
        return Categorical(self.filtered * self.transition.pull(gain, self.u))

    def sample(self, key: Key, state: Int[Array, ""]) -> Int[Array, ""]:
        """x_t given x_{t+1} = state."""
        return Categorical(self.filtered * self.transition.column(state, self.u)).sample(key)

    def as_map(self) -> MarkovMap:
        """The K × K matrix, row j for x_{t+1} = j."""
        joint = self.filtered[:, None] * self.transition.matrix(self.u)
        return MarkovMap.of(ratio(joint.T, self.predicted[:, None]))


class ReversedLogChain(AbstractKernel[LogCategorical]):
    """The same of logarithms: each factor may be e^1000, but their product is an ordinary probability."""

    filtered: Float[Array, "K"]
    transition: AbstractTransition
    u: PyTree
    predicted: Float[Array, "K"]

    def apply(self, belief: LogCategorical) -> LogCategorical:
        """One step of smoothing."""
        pull = eqx.filter_checkpoint(lambda transition, logs, u: transition.pull_logs(logs, u))
        gain = difference(belief.log_probs, self.predicted)
        return LogCategorical(self.filtered + pull(self.transition, gain, self.u))

    def sample(self, key: Key, state: Int[Array, ""]) -> Int[Array, ""]:
        """x_t given x_{t+1} = state."""
        return LogCategorical(self.filtered + log(self.transition.column(state, self.u))).sample(key)

    def as_map(self) -> MarkovMap:
        """The K × K matrix, row j for x_{t+1} = j."""
        joint = self.filtered[:, None] + log(self.transition.matrix(self.u))
        return MarkovMap(difference(joint.T, self.predicted[:, None]))


def difference(logs: Array, others: Array) -> Array:
    """log(a / b), and -inf where a is zero: as `ratio`, of logarithms."""
    nothing = logs == -jnp.inf
    return jnp.where(nothing, -jnp.inf, logs - jnp.where(nothing, 0, others))


# -- expectations, and what maximises them -------------------------------------------------------------------------


def expected_counts(
    transition: AbstractTransition, steps: Step, predicted: Any, filtered: Any, smoothed: Any
) -> Counts:
    """γ, and Σξ as one matrix product, from beliefs that are all `Categorical` or all `LogCategorical`.

    No T × K × K array is made.
    """
    # ξ_t(i, j) = filtered_{t-1}(i) A_ij smoothed_t(j) / predicted_t(j), nothing across starts and padding
    safe = isinstance(filtered, LogCategorical)
    if safe:
        gain, before, nothing = difference(smoothed.log_probs, predicted.log_probs), filtered.log_probs, -jnp.inf
    else:
        gain, before, nothing = ratio(smoothed.probs, predicted.probs), filtered.probs, 0
    states = smoothed.probs
    if steps.padding is not None:
        gain = jnp.where(steps.padding[:, None], nothing, gain)
        states = jnp.where(steps.padding[:, None], 0, states)
    initial = states[0]
    if steps.first is not None:
        starts = steps.first.at[0].set(True)[:, None]
        gain, initial = jnp.where(starts, nothing, gain), jnp.sum(jnp.where(starts, states, 0), axis=0)
    us = index(transition.prepare(steps.u, steps.t), slice(1, None))
    count = transition.count_logs if safe else transition.count
    return Counts(initial, count(before[:-1], gain[1:], us), states)


def expected_emission(
    states: Float[Array, "T K"], values: Float[Array, "T K"], observed: Bool[Array, "T *event"] | None
) -> Scalar:
    """Σ_t Σ_k states log p(y_t | k), over the observed steps."""
    seen = (states != 0) if observed is None else any_component(observed)[:, None] & (states != 0)
    possible = seen & (values != -jnp.inf)  # the impossible has no slope to climb
    terms = jnp.where(possible, states * jnp.where(possible, values, 0), 0)
    return jnp.sum(jnp.where(seen & ~possible, -jnp.inf, terms))


def pooled_moves(
    transition: AbstractTransition, counts: Counts, steps: Step
) -> tuple[Float[Array, "K"], PyTree, PyTree]:
    """Starts and moves of all sequences (T,) or (B, T), and what the transition was told of each move."""
    starts = jnp.sum(counts.initial.reshape(-1, counts.initial.shape[-1]), axis=0)
    us = transition.prepare(steps.u, steps.t)
    if steps.t.ndim == 1:
        return starts, counts.transitions, index(us, slice(1, None))
    us = jax.tree.map(lambda leaf: leaf[:, 1:].reshape(-1, *leaf.shape[2:]), us)
    return starts, transition.merge(counts.transitions), us


def any_component(observed: Bool[Array, "T *event"]) -> Bool[Array, "T"]:
    """Where at least one component is observed."""
    return jnp.any(observed.reshape(observed.shape[0], -1), axis=1)


# -- what constructors check ---------------------------------------------------------------------------------------


def checked_initial(initial: Any, transition: AbstractTransition, size: int) -> Simplex | None:
    """The stored initial distribution of K states; None where the transition says it. ValueError for others."""
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


def check_rows(transition: AbstractTransition) -> None:
    """ValueError where all that is known of a chain is one matrix, written by a user, that has no probabilities."""
    if transition.num_inputs == 0 and not any(map(transition.writes, ("push", "prepare", "num_steps"))):
        checks.probabilities("transition", transition.matrix(None), (transition.num_states, transition.num_states))


def common_inputs(emission: AbstractEmission, transition: AbstractTransition) -> int | None:
    """How many inputs the emission and the transition read; ValueError if they disagree."""
    counts = {count for count in (emission.num_inputs, transition.num_inputs) if count != 0}
    if None in counts or not counts:
        return None if counts else 0
    if len(counts) > 1:
        raise ValueError(
            f"transition: it reads {transition.num_inputs} inputs per step and the emission {emission.num_inputs}; "
            "both see the same u_t, so give the ones that are not used zero weights"
        )
    return counts.pop()
