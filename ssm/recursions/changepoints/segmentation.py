"""The most probable segmentation: the changepoint recursion with max-product in the place of sum-product."""

from typing import Any, final

import equinox as eqx
import jax.numpy as jnp

from ssm.conjugate.base import AbstractConjugate
from ssm.maps.base import AbstractKernel
from ssm.maps.max_plus import best_score
from ssm.numeric.trees import select
from ssm.recursion import AbstractReversibleScan
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.steps import PartlyObserved, Step


class BestRuns(eqx.Module):
    """For each run that is kept, the score of the best segmentation that ends in it."""

    values: Float[Array, "*batch R"]
    run_lengths: Int[Array, "*batch R"]
    segments: AbstractConjugate

    def sample(self, key: Key | None) -> Int[Array, ""]:
        """The best run length; nothing is drawn."""
        return self.run_lengths[jnp.argmax(self.values)]


@final
class BestSegmentation(AbstractReversibleScan[BestRuns]):
    """belief_i = max over segmentations that end in run i; the increments sum to the best log-probability.

    Exact under the conditions of `ChangePoint`; beyond them the run of lowest score is dropped.
    """

    model: Any  # a ChangePoint, which hands itself over

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As the model's."""
        return self.model.event_shape

    def prepare(self, steps: Step) -> Step:
        """As the model does."""
        return self.model.prepare(steps)

    def init(self, u: PyTree, *, key: Key | None = None) -> BestRuns:
        """One run of length 0."""
        start = self.model.init(u)
        return BestRuns(start.log_weights, start.run_lengths, start.segments)

    def predict(self, belief: BestRuns, u: PyTree, *, key: Key | None = None) -> BestRuns:
        """A run goes on, or the best of all ends."""
        stay, end = self.model.log_moves(belief.run_lengths, belief.values.dtype)
        staying = belief.values + stay
        fresh, run_lengths, segments = self.model.begin(staying, belief.run_lengths, belief.segments)
        return BestRuns(jnp.where(fresh, jnp.max(belief.values + end), staying), run_lengths, segments)

    def update(
        self, prior: BestRuns, u: PyTree, y: Array | PartlyObserved, *, key: Key | None = None
    ) -> tuple[BestRuns, Scalar]:
        """Add what each run predicted of y; take out the best score, which is the increment."""
        values, segments = self.model.score(prior.values, prior.segments, y)
        highest = jnp.max(values)
        impossible = highest == -jnp.inf
        kept = BestRuns(prior.values - best_score(prior.values), prior.run_lengths, prior.segments)
        posterior = BestRuns(values - best_score(values), prior.run_lengths, segments)
        return select(impossible, kept, posterior), highest

    def log_prob(self, steps: Step, path: Int[Array, "T"], scores: BestRuns, log_evidence: Float[Array, "T"]) -> Scalar:
        """log p(path, ys) of prepared steps, from the increments."""
        # Moves into unobserved steps are not among the increments but still in the scores where a sequence ends.
        ends = jnp.ones(1, bool) if steps.first is None else jnp.append(steps.first[1:], True)
        best = jnp.max(scores.values[-ends.shape[0] :], axis=1)
        return jnp.sum(log_evidence) + jnp.sum(jnp.where(ends, best, 0))

    def reverse(self, filtered: BestRuns, predicted: BestRuns, u: PyTree) -> "BestBefore":
        """The best run that ended before a new one."""
        _, end = self.model.log_moves(filtered.run_lengths, filtered.values.dtype)
        return BestBefore(filtered.run_lengths[jnp.argmax(filtered.values + end)])


@final
class BestBefore(AbstractKernel[BestRuns]):
    """The run length before, on the best segmentation through the run length after."""

    ended: Int[Array, ""]

    def sample(self, key: Key | None, state: Int[Array, ""]) -> Int[Array, ""]:
        """One less, or that of the run that ended; nothing is drawn."""
        return jnp.where(state > 0, state - 1, self.ended)
