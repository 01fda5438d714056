"""The best path: the hidden Markov model with max-product in the place of sum-product (Viterbi 1967)."""

from typing import Any, final

import jax
import jax.numpy as jnp

from ssm.beliefs.likelihoods import LogLikelihood
from ssm.maps.base import AbstractKernel
from ssm.maps.max_plus import MaxPlusMap, Scores, best_score
from ssm.numeric.logspace import log
from ssm.recursion import AbstractParallelScan, AbstractReversibleScan
from ssm.recursions.markov.counts import Known, any_component
from ssm.recursions.markov.inference import ChainFilter
from ssm.recursions.markov.viterbi_in_blocks import BestInBlocks, BestInOneBlock
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.steps import Step
from ssm.transitions.base import AbstractTransition


@final
class Viterbi(AbstractParallelScan[Scores], AbstractReversibleScan[Scores]):
    """belief_j = max over paths into state j; the increments sum to the log-probability of the best path."""

    model: ChainFilter

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As the model's."""
        return self.model.event_shape

    def prepare(self, steps: Step) -> Step:
        """As the model does."""
        return self.model.prepare(steps)

    def init(self, u: PyTree, *, key: Key | None = None) -> Scores:
        """log π."""
        return Scores(log(self.model.initial))

    def predict(self, belief: Scores, u: Known, *, key: Key | None = None) -> Scores:
        """max_i (δ_i + log A_ij)."""
        return Scores(self.model.dynamics.best(belief.values, u.transition))

    def update(self, prior: Scores, u: PyTree, y: LogLikelihood, *, key: Key | None = None) -> tuple[Scores, Scalar]:
        """Add the log-likelihood; take out the best score, which is the increment."""
        values = prior.values + y.values
        highest = jnp.max(values)
        impossible = highest == -jnp.inf
        values = jnp.where(impossible, prior.values, values)
        return Scores(values - best_score(values)), highest

    def lift(self, u: Known, y: LogLikelihood | None) -> MaxPlusMap:
        """log A_ij + log-likelihood_j."""
        matrix = log(self.model.dynamics.matrix(u.transition))
        return MaxPlusMap(matrix if y is None else matrix + y.values)

    def reverse(self, filtered: Scores, predicted: Scores, u: Known) -> "BestPredecessor":
        """x_t = argmax_i (δ_i + log A_i,x_{t+1})."""
        return BestPredecessor(filtered.values, self.model.dynamics, u.transition)

    def log_prob(self, steps: Step, path: Int[Array, "T"], scores: Any, log_evidence: Any) -> Scalar:
        """log p(path, ys) of prepared steps, term by term: it does not depend on how the path was found."""
        size, begin = self.model.num_states, log(self.model.initial)[path]
        before = jnp.concatenate([path[:1], path[:-1]])
        move = lambda each: self.model.dynamics.row(each[0], each[2])[each[1]]
        moves = log(jax.lax.map(move, (before, path, steps.u.transition)))  # not all at once: a row may need a matrix
        first = jnp.arange(len(path)) == 0
        arrived = jnp.where(first if steps.first is None else first | steps.first, begin, moves)
        seen = jnp.sum(jnp.where(jnp.arange(size) == path[:, None], steps.y.values, 0), axis=1)
        if steps.observed is not None:
            seen = jnp.where(any_component(steps.observed), seen, 0)
        terms = arrived + seen
        return jnp.sum(terms if steps.padding is None else jnp.where(steps.padding, 0, terms))

    def ways(self) -> tuple[type, ...]:
        """In blocks, in one block, and in order."""
        return BestInBlocks, BestInOneBlock


class BestPredecessor(AbstractKernel[Scores]):
    """The state before, on the best path through the state after."""

    values: Float[Array, "K"]
    transition: AbstractTransition
    u: PyTree  # what the transition is told of the state after

    def sample(self, key: Key | None, state: Int[Array, ""]) -> Int[Array, ""]:
        """The best predecessor; nothing is drawn."""
        return jnp.argmax(self.values + log(self.transition.column(state, self.u)))
