"""Changepoints: the recursion whose belief is a distribution over how long the present segment has run."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.conjugate.base import AbstractConjugate
from ssm.distributions import Distribution, WeightedMixture
from ssm.model import AbstractStateSpace
from ssm.numeric import checks
from ssm.numeric.logspace import log
from ssm.numeric.trees import select, widen
from ssm.parameters import Simplex, value
from ssm.passes.capabilities import AbstractDecodable
from ssm.recursion import AbstractReversibleRecursion
from ssm.recursions.changepoints.runs import NextRun, ReversedRuns, Run, Runs, log_sum
from ssm.recursions.changepoints.segmentation import BestSegmentation
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar
from ssm.steps import PartlyObserved, Step, partly_missing


@final
class ChangePoint(AbstractReversibleRecursion[Runs], AbstractStateSpace, AbstractDecodable[Runs]):
    """Segments with parameters of their own: r_t = 0 with probability hazard(r_{t-1}), else r_{t-1} + 1.

        r_1 = 0;  parameters_t ~ segment if r_t = 0, else parameters_{t-1};  y_t ~ p(y | parameters_t)

    Bayesian online changepoint detection (Adams & MacKay 2007; Fearnhead & Liu 2007), here with the past and
    the future of every run length too. `segment` is a conjugate prior of `ssm.conjugate`. `hazard` is one
    probability, or one for each run length (H,) with the last for all longer ones, or a function from run
    lengths (R,) to probabilities (R,): hazard(r) is the probability that a segment ends after r + 1 steps if it
    has lasted so long. Arrays are trained as logits, hard zeros and ones stay.

    `num_runs` is R, how many runs are kept: steps take O(R) work. All answers are exact while at most R runs
    have positive probability, so always for T <= R. Beyond that the run least probable to go on is dropped at
    each step and the others are scaled to sum to one; `Runs.log_kept` says how much is left, and
    `log_prob + log_kept[-1]` is a lower bound on the exact log-evidence: the sum over the segmentations kept.

    Raises TypeError for a segment that is not conjugate, ValueError for hazards outside [0, 1] or num_runs < 2.
    """

    feeds_back: ClassVar[bool] = False

    segment: AbstractConjugate
    _hazard: Simplex | Array | Callable[..., Any]
    num_runs: int = eqx.field(static=True)

    def __init__(self, segment: AbstractConjugate, hazard: Any, num_runs: int):
        if not isinstance(segment, AbstractConjugate):
            raise TypeError(f"segment: expected a conjugate model of ssm.conjugate, got {type(segment).__name__}")
        self.segment = segment
        self._hazard = hazard if callable(hazard) else _hazards(hazard)
        self.num_runs = checks.positive_int("num_runs", num_runs)
        if num_runs < 2:
            raise ValueError("num_runs: keeping one run cannot tell change from no change; pass at least 2, got 1")

    @property
    def hazard(self) -> Any:
        """Probability of a change: one, one for each run length, or the function that was given."""
        return self._hazard if callable(self._hazard) else value(self._hazard)[..., 1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As the segment's."""
        return self.segment.event_shape

    @property
    def event_kind(self) -> str:
        """As the segment's."""
        return self.segment.event_kind

    @property
    def num_classes(self) -> int:
        """As the segment's."""
        return self.segment.num_classes

    def validate(self, ys: np.ndarray) -> None:
        """As the segment's."""
        self.segment.validate(ys)

    def validate_steps(self, steps: Step) -> None:
        """As the segment's, where flags come one per component."""
        if partly_missing(steps) and checks.is_concrete(steps.observed) and checks.is_concrete(steps.padding):
            real = np.ones(steps.t.shape, bool) if steps.padding is None else ~np.asarray(steps.padding)
            self.segment.validate_observed(np.asarray(steps.observed)[real])

    # -- the recursion ----------------------------------------------------------------------------------------

    def best(self) -> BestSegmentation:
        """See `AbstractDecodable`."""
        return BestSegmentation(self)

    def prepare(self, steps: Step) -> Step:
        """y as it is, with its flags where components are missing."""
        y = PartlyObserved(steps.y, steps.observed) if partly_missing(steps) else steps.y
        return dataclasses.replace(steps, y=y)

    def init(self, u: PyTree = None, *, key: Key | None = None) -> Runs:
        """One run of length 0 that has seen nothing."""
        first = jnp.arange(self.num_runs) == 0
        segments = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.num_runs, *leaf.shape)), self.segment)
        dtype = jnp.result_type(*jax.tree.leaves(self.segment))
        return Runs(log(first.astype(dtype)), jnp.where(first, 0, -1), segments, jnp.zeros((), dtype))

    def predict(self, belief: Runs, u: PyTree = None, *, key: Key | None = None) -> Runs:
        """Every run goes on or ends; what ends begins anew in a free place, or in that of the weakest run."""
        stay, end = self.log_moves(belief.run_lengths, belief.log_kept.dtype)
        staying, ended = belief.log_weights + stay, log_sum(belief.log_weights + end)
        fresh, run_lengths, segments = self.begin(staying, belief.run_lengths, belief.segments)
        log_kept = jnp.log1p(-jnp.sum(jnp.where(fresh, jnp.exp(staying), 0)))
        return Runs(jnp.where(fresh, ended, staying) - log_kept, run_lengths, segments, belief.log_kept + log_kept)

    def update(
        self, prior: Runs, u: PyTree, y: Array | PartlyObserved, *, key: Key | None = None
    ) -> tuple[Runs, Scalar]:
        """Reweigh runs by what they predicted of y; log Σ_i w_i p(y | run i) is the evidence."""
        log_joint, segments = self.score(prior.log_weights, prior.segments, y)
        total = log_sum(log_joint)
        posterior = Runs(log_joint - total, prior.run_lengths, segments, prior.log_kept)
        return select(total == -jnp.inf, prior, posterior), total

    def emit(self, prior: Runs, u: PyTree = None) -> WeightedMixture:
        """The mixture of what the runs predict."""
        return WeightedMixture(_predictive, prior.segments, prior.log_weights)

    def reverse(self, filtered: Runs, predicted: Runs, u: PyTree) -> "ReversedRuns":
        """A run that is not new was one step shorter; before a new one was any run, ∝ filtered · hazard."""
        _, end = self.log_moves(filtered.run_lengths, filtered.log_kept.dtype)
        return ReversedRuns(filtered, predicted.run_lengths == 0, filtered.log_weights + end)

    # -- what it shares with the best segmentation ------------------------------------------------------------

    def log_moves(self, run_lengths: Int[Array, "*R"], dtype: Any) -> tuple[Float[Array, "*R"], Float[Array, "*R"]]:
        """log(1 - hazard) and log hazard at these run lengths. NaN where a function's hazard is no probability."""
        if not callable(self._hazard):
            table = jnp.atleast_2d(value(self._hazard))
            rows = log(table)[jnp.clip(run_lengths, 0, len(table) - 1)]
            return rows[..., 0], rows[..., 1]
        hazard = jnp.asarray(self._hazard(jnp.maximum(run_lengths, 0).astype(dtype)), dtype)
        hazard = jnp.broadcast_to(jnp.where((hazard >= 0) & (hazard <= 1), hazard, jnp.nan), run_lengths.shape)
        known = ~jnp.isnan(hazard)
        return jnp.where(known, log(1 - hazard), jnp.nan), jnp.where(known, log(hazard), jnp.nan)

    def begin(
        self, staying: Float[Array, "R"], run_lengths: Int[Array, "R"], segments: AbstractConjugate
    ) -> tuple[Bool[Array, "R"], Int[Array, "R"], AbstractConjugate]:
        """Where the new run goes, and all runs one step later with the new one among them."""
        fresh = jnp.arange(self.num_runs) == jnp.argmin(staying)
        lengths = jnp.where(fresh, 0, jnp.where(run_lengths < 0, -1, run_lengths + 1))
        pick = lambda prior, leaf: jnp.where(widen(fresh, leaf.ndim), prior, leaf)
        return fresh, lengths, jax.tree.map(pick, self.segment, segments)

    def score(
        self, log_weights: Float[Array, "R"], segments: AbstractConjugate, y: Array | PartlyObserved
    ) -> tuple[Float[Array, "R"], AbstractConjugate]:
        """log w_i p(y | run i), and what the runs have seen once y is added."""
        seen = y if isinstance(y, PartlyObserved) else PartlyObserved(y, None)
        log_joint = WeightedMixture(_predictive, segments, log_weights).log_joint(seen.y, seen.observed)
        return log_joint, jax.vmap(lambda segment: segment.learn(seen.y, seen.observed))(segments)

    # -- drawing ----------------------------------------------------------------------------------------------

    def initial_state(self, u: PyTree) -> "NextRun":
        """A new segment."""
        return NextRun(self.segment, None, jnp.zeros(()))

    def next_state(self, state: Run, u: PyTree) -> "NextRun":
        """The same segment or a new one."""
        dtype = jnp.result_type(*jax.tree.leaves(self.segment))
        return NextRun(self.segment, state, self.log_moves(state.run_length, dtype)[1])

    def observation(self, state: Run, u: PyTree) -> Distribution:
        """p(y | parameters of the segment)."""
        return self.segment.observation(state.parameters)


def _predictive(segment: AbstractConjugate) -> Distribution:
    return segment.predictive()


def _hazards(hazard: Any) -> Simplex:
    """Probabilities of going on and of ending: () to (2,), (H,) to (H, 2)."""
    hazard = checks.unit_interval("hazard", hazard, () if np.ndim(hazard) == 0 else ("H",))
    return Simplex.of(jnp.stack([1 - hazard, hazard], axis=-1))
