"""The one door for speed: a way through the data, made from a model and steps, and what may be asked of it.

Verbs ask `ssm.passes.door.ask`, which takes the first way of `AbstractRecursion.ways` that is for these steps. A way
that is fast on conditions says whether they held, and the next one answers where they did not.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import handed_out
from ssm.numeric.trial import mapped
from ssm.passes.backward import draw_back, lag_back, smooth_back
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.sequential import Sequential
from ssm.shapes import Array, Flag, Float, Key, Keys, PyTree, Scalar
from ssm.steps import Step


class Answer(NamedTuple):
    """What was found, and whether it holds; None if it always does."""

    holds: Flag | None
    found: PyTree


class Walked(NamedTuple):
    """One sequence, and the beliefs that a way found at its times."""

    model: Any
    steps: Step  # as observed
    recursion: Any  # the form of the model that was walked, and its prepared steps
    prepared: Step
    predicted: Any
    filtered: Any
    log_evidence: Float[Array, "T"]
    schedule: AbstractSchedule  # for the way back


class AbstractWay(eqx.Module):
    """A walk through steps (T,) or (B, T) as observed, and when it is taken."""

    # Whether JAX may differentiate its answers; if not, their derivatives are those of the ways behind it.
    differentiable: ClassVar[bool] = False
    # Whether it is much slower for steps with flags, whatever the flags say.
    wants_no_flags: ClassVar[bool] = False

    @classmethod
    def suits(cls, model: Any) -> bool:
        """Whether `SideBySide` may stand for this way through such a model."""
        return False

    @classmethod
    def pays(cls, model: Any, shape: tuple[int, ...]) -> bool:
        """Whether that is faster on a CPU, for steps (T,) or (B, T)."""
        return False

    @classmethod
    @abstractmethod
    def takes(cls, model: Any, steps: Step, schedule: AbstractSchedule) -> bool:
        """Whether it walks these steps in this order."""

    @classmethod
    @abstractmethod
    def of(cls, model: Any, steps: Step, schedule: Any, key: Keys | None = None) -> Self:
        """The way there, through steps that it takes; `key` (B,) for a batch."""


class AbstractPass(AbstractWay):
    """A walk that knows beliefs at all times; what it answers has the leading axes of the steps."""

    model: Any
    steps: Step

    @property
    @abstractmethod
    def holds(self) -> Flag | None:
        """Whether what was found on the way there is right; None if it always is."""

    @property
    @abstractmethod
    def log_evidence(self) -> Float[Array, "*B T"]:
        """log p(y_t | y_<t)."""

    @abstractmethod
    def beliefs(self) -> Answer:
        """p(x_t | y_<t) and p(x_t | y_<=t) at all times."""

    @abstractmethod
    def last(self) -> Answer:
        """The last filtered belief, for the model to walk on with."""

    def each(self, function: Callable[..., PyTree], *others: PyTree) -> Answer:
        """function(walked, *others) of every sequence, with its own entry of `others`, as verbs hand it out."""
        holds, (predicted, filtered) = self.beliefs()

        def one(steps: Step, predicted: Any, filtered: Any, log_evidence: Array, *others: PyTree) -> PyTree:
            prepared, schedule = self.model.prepare(steps), Sequential()
            walked = Walked(self.model, steps, self.model, prepared, predicted, filtered, log_evidence, schedule)
            return handed_out(function(walked, *others))

        return Answer(holds, self.over(one)(self.steps, predicted, filtered, self.log_evidence, *others))

    def smoothed(self) -> Answer:
        """p(x_t | y_{1:T}) at all times."""
        return self.each(self.smooth)

    def lagged(self, lag: int) -> Answer:
        """p(x_t | y_{1:t+lag}) at all times."""
        return self.each(lambda walked: self.lag(walked, lag))

    def drawn(self, keys: Keys, num_samples: int) -> Answer:
        """Paths (S, T, ...) from p(x_{1:T} | y_{1:T}); `keys` (B,) for a batch."""
        return self.each(lambda walked, key: self.draw(walked, key, num_samples), keys)

    def statistics(self) -> Answer:
        """Expected statistics of every sequence, in time."""
        return self.each(_statistics)

    def maximised(self, frozen: frozenset[str]) -> Answer:
        """The model after one M-step."""
        holds, statistics = self.statistics()
        return Answer(holds, self.model.maximise(statistics, self.steps, frozen))

    def slope(self, moving: PyTree, counted: Float[Array, "*B"]) -> Answer:
        """The gradient of the evidence in those leaves of (model, steps) that are `moving`.

        Each sequence is counted as often as it says.
        """
        holds, sensitivities = self.sensitivities(counted)
        free, still = eqx.partition((self.model, self.steps), moving)

        def expected(free: PyTree) -> Scalar:
            model, steps = eqx.combine(free, still)
            return self.first_order(model, steps, sensitivities, counted)

        return Answer(holds, jax.grad(expected)(free))

    def sensitivities(self, counted: Float[Array, "*B"]) -> Answer:
        """What `first_order` needs."""
        return self.each(_sensitivities)

    def first_order(self, model: Any, steps: Step, sensitivities: PyTree, counted: Float[Array, "*B"]) -> Scalar:
        """A function of the model and of steps whose gradient, there, is that of `slope`."""
        one = lambda steps, these: model.first_order(model.prepare(steps), these)
        return jnp.sum(counted * self.over(one)(steps, sensitivities))

    def kept(self) -> Self:
        """The least of it that a way back needs."""
        return self

    # -- what follows from beliefs, of one sequence -------------------------------------------------------------------

    @staticmethod
    def smooth(walked: Walked) -> Any:
        """Smoothed beliefs (T, ...): through the reversed kernels, unless a family knows better."""
        return smooth_back(walked.model, walked.prepared, walked.predicted, walked.filtered, walked.schedule)

    @staticmethod
    def lag(walked: Walked, lag: int) -> Any:
        """Those that see no more than `lag` observations ahead."""
        return lag_back(walked.model, walked.prepared, walked.predicted, walked.filtered, lag)

    @staticmethod
    def draw(walked: Walked, key: Key, num_samples: int) -> Any:
        """Paths (S, T, ...)."""
        return draw_back(walked.model, walked.prepared, walked.predicted, walked.filtered, key, num_samples)

    # -- small words ------------------------------------------------------------------------------------------------

    def over(self, function: Callable[..., PyTree]) -> Callable[..., PyTree]:
        """The function, of every sequence of a batch where that is what was walked."""
        return mapped(function) if self.steps.t.ndim == 2 else function


def _statistics(walked: Walked) -> PyTree:
    return walked.model.statistics(walked.steps, walked.predicted, walked.filtered, walked.schedule)


def _sensitivities(walked: Walked) -> PyTree:
    return walked.model.sensitivities(walked.steps, walked.predicted, walked.filtered, walked.schedule)
