"""The n best paths: best-path scores with n of them for every state (the list Viterbi algorithm)."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import Point
from ssm.beliefs.likelihoods import LogLikelihood
from ssm.maps.base import AbstractKernel
from ssm.maps.max_plus import best_score
from ssm.numeric.logspace import log
from ssm.passes.backward import backward_steps
from ssm.recursion import AbstractReversibleScan
from ssm.recursions.markov.counts import Known
from ssm.recursions.markov.inference import ChainFilter
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.steps import Step


class Ranked(eqx.Module):
    """The n best paths into each of K states, best first; entry k n + r is path r into state k.

    `values` are log-probabilities relative to the best of all, -inf where there are fewer paths; `before` says which
    entry, one step earlier, each path comes from.
    """

    values: Float[Array, "*batch K n"]
    before: Int[Array, "*batch K n"]

    def best(self) -> tuple[Float[Array, "n"], Int[Array, "n"]]:
        """Scores and entries of the n best paths into any state."""
        scores, entries = jax.lax.top_k(self.values.reshape(-1), self.values.shape[-1])
        return scores, entries


@final
class ListViterbi(AbstractReversibleScan[Ranked]):
    """belief_kr = the r-th best path into state k; the increments sum to the log-probability of the best of all.

    Every path into a state extends one of the n best into some state before it, so n entries per state are enough
    (Seshadri & Sundberg 1994, the parallel algorithm).
    """

    model: ChainFilter
    num_paths: int = eqx.field(static=True)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As the model's."""
        return self.model.event_shape

    def prepare(self, steps: Step) -> Step:
        """As the model does."""
        return self.model.prepare(steps)

    def init(self, u: PyTree, *, key: Key | None = None) -> Ranked:
        """log π: one path into each state, which comes from nowhere."""
        scores = log(self.model.initial)
        values = jnp.full((scores.shape[0], self.num_paths), -jnp.inf, scores.dtype).at[:, 0].set(scores)
        return Ranked(values, jnp.zeros(values.shape, jnp.int32))

    def predict(self, belief: Ranked, u: Known, *, key: Key | None = None) -> Ranked:
        """The n largest of δ_is + log A_ij over states i and ranks s, for each j."""
        moves = log(self.model.dynamics.matrix(u.transition)).T  # row j: into j
        extended = (belief.values + moves[:, :, None]).reshape(moves.shape[0], -1)  # (K, K n)
        return Ranked(*jax.lax.top_k(extended, self.num_paths))

    def update(self, prior: Ranked, u: PyTree, y: LogLikelihood, *, key: Key | None = None) -> tuple[Ranked, Scalar]:
        """Add the log-likelihood; take out the best score, which is the increment."""
        values = prior.values + y.values[:, None]
        highest = jnp.max(values)
        values = jnp.where(highest == -jnp.inf, prior.values, values)
        return Ranked(values - best_score(values.reshape(-1)), prior.before), highest

    def way_back(self, prepared: Step, before: Int[Array, "T K n"], ends: Int[Array, "n"]) -> Step:
        """Steps that lead back from the entries at the end: where paths came from, and there which are the best."""
        entries = Point(jnp.broadcast_to(ends, (*prepared.t.shape, self.num_paths)))
        return backward_steps(prepared, Ranked(jnp.zeros(before.shape), before), entries)

    def reverse(self, filtered: PyTree, predicted: Ranked, u: Known) -> "Predecessors":
        """Where each path came from was kept on the way there."""
        return Predecessors(predicted.before)


class Predecessors(AbstractKernel[Ranked]):
    """The entry before, on the path through each entry."""

    before: Int[Array, "K n"]

    def sample(self, key: Key | None, state: Int[Array, "n"]) -> Int[Array, "n"]:
        """The predecessors of n entries; nothing is drawn."""
        return self.before.reshape(-1)[state]
