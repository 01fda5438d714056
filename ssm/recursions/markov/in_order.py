"""A chain walked in order: by logarithms, which lose nothing, or by scaled probabilities, which say if they did."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from ssm.beliefs import Bracketed, Categorical, LogCategorical
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import log_sum, ratio
from ssm.passes.backward import lag_back, smooth_back
from ssm.passes.base import Walked
from ssm.passes.in_order import InOrder
from ssm.recursion import AbstractScan
from ssm.recursions.markov.counts import NOTHING, Known, difference
from ssm.schedules import AbstractSchedule, Blocked, Sequential, SideBySide
from ssm.shapes import Key, PyTree, Scalar
from ssm.steps import Step


class ChainInOrder(InOrder):
    """Smoothed rows sum to one again after a long way back."""

    @staticmethod
    def smooth(walked: Walked) -> Any:
        """See `AbstractPass`."""
        back = smooth_back(walked.model, walked.prepared, walked.predicted, walked.filtered, walked.schedule)
        return summing_to_one(back)

    @staticmethod
    def lag(walked: Walked, lag: int) -> Any:
        """See `AbstractPass`."""
        at_once = isinstance(walked.filtered, Categorical) and walked.model.dynamics.is_one_matrix
        return summing_to_one(lag_back(walked.model, walked.prepared, walked.predicted, walked.filtered, lag, at_once))


class ScaledChain(ChainInOrder):
    """Probabilities relative to their sum, until one of them may have been lost."""

    certain: ClassVar[bool] = False

    @classmethod
    def takes(cls, model: Any, steps: Step, schedule: AbstractSchedule) -> bool:
        """Walks in turn: what is composed has no bound on what it loses."""
        return in_turn(schedule)

    @classmethod
    def form(cls, model: Any, steps: Step) -> "tuple[QuickChain, Step]":
        """See `InOrder`."""
        return quickened(model, steps)

    @classmethod
    def at_once(cls, recursion: "QuickChain") -> bool:
        """Where predicting is one matrix product."""
        return recursion.chain.dynamics.is_one_matrix

    @classmethod
    def keep(cls, belief: Bracketed) -> Categorical:
        """The probabilities."""
        return belief.plain()

    @classmethod
    def resume(cls, kept: Categorical) -> Bracketed:
        """As if no more were lost than numbers could not hold."""
        return Bracketed.of(kept.probs)

    @classmethod
    def finish(cls, model: Any, belief: Bracketed) -> LogCategorical:
        """Logarithms."""
        return LogCategorical(belief.plain().log_probs)


class QuickChain(AbstractScan[Bracketed]):
    """A chain of scaled probabilities, with a bound on what they have lost."""

    chain: Any  # a `ChainFilter`

    def init(self, u: Known | None = None, *, key: Key | None = None) -> Bracketed:
        """π."""
        return Bracketed.of(self.chain.initial)

    def predict(self, belief: Bracketed, u: Known = NOTHING, *, key: Key | None = None) -> Bracketed:
        """As the chain's."""
        return self.chain.predict(belief, u)

    def update(self, prior: Bracketed, u: Known, y: PyTree, *, key: Key | None = None) -> tuple[Bracketed, Scalar]:
        """As the chain's; NaN where more than rounding may have been lost."""
        return self.chain.update(prior, u, y)


def quickened(chain: Any, steps: Step) -> tuple[QuickChain, Step]:
    """The quick form of a `ChainFilter`: exponentials outside the scan, relative to the best state of each row."""
    emission, ys = chain.emission.quicken(steps.y, steps.u, steps.observed)
    known = Known(steps.u, chain.dynamics.prepare(steps.u, steps.t))
    quick = QuickChain(eqx.tree_at(lambda m: m.emission, chain, emission))
    observed = chain.emission.informed(steps.u, steps.observed)
    return quick, dataclasses.replace(steps, y=ys, u=known, observed=observed)


def in_turn(schedule: AbstractSchedule) -> bool:
    """Whether steps follow each other, and no maps are composed."""
    blocks = isinstance(schedule, Blocked) and isinstance(schedule.across, Sequential)
    return blocks or isinstance(schedule, Sequential | SideBySide)


def summing_to_one(smoothed: Any) -> Any:
    """Smoothed beliefs (T, ...) without the rounding that a long way back accumulates."""
    if isinstance(smoothed, LogCategorical):
        logs = smoothed.log_probs
        return LogCategorical(difference(logs, log_sum(logs)[..., None]))
    probs = smoothed.probs
    return Categorical(ratio(probs, multiply(probs, jnp.ones((probs.shape[-1], 1), probs.dtype))))
