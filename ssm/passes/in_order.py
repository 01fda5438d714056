"""The way that every member has: its steps through the driver, in order or as another schedule says."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax.numpy as jnp

from ssm.beliefs import handed_out
from ssm.distributions import num_symbols
from ssm.model import AbstractModel
from ssm.numeric.trees import index
from ssm.numeric.trial import mapped
from ssm.passes.backward import best_back
from ssm.passes.base import AbstractPass, Answer, Walked
from ssm.recursion import AbstractRecursion
from ssm.scan import Saved, predictions, scan
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.sequential import Sequential
from ssm.schedules.side_by_side import SideBySide
from ssm.shapes import Array, Flag, Float, Key, Keys, PyTree
from ssm.steps import Step


class InOrder(AbstractPass):
    """The scan. What a family knows of its own is said in classes below this one."""

    differentiable: ClassVar[bool] = True
    # Whether it always holds; if not, its log-evidence is NaN or infinite where it does not.
    certain: ClassVar[bool] = True

    schedule: AbstractSchedule
    increments: Float[Array, "*B T"]
    predicted: Any  # None where they are made of the filtered ones when they are asked for
    filtered: Any
    final: Any  # the last belief

    @classmethod
    def takes(cls, model: Any, steps: Step, schedule: AbstractSchedule) -> bool:
        """Any steps; where a schedule is not for them, one after the other."""
        return True

    @classmethod
    def of(cls, model: Any, steps: Step, schedule: AbstractSchedule, key: Keys | None = None) -> Self:
        """See `AbstractPass`."""
        schedule = Sequential() if isinstance(schedule, SideBySide) else schedule

        def one(steps: Step, key: Key | None) -> tuple:
            if isinstance(model, AbstractRecursion) and type(model).event_kind is AbstractModel.event_kind:
                _check_real(model, steps, key)
            recursion, prepared = cls.form(model, steps)

            def save(saved: Saved) -> tuple:
                predicted = None if cls.at_once(recursion) else cls.keep(saved.predicted)
                return saved.log_evidence, predicted, cls.keep(saved.filtered)

            last, kept = scan(recursion, prepared, schedule=cls.order(model, schedule), key=key, save=save)
            return *kept, cls.finish(model, last)

        over = one if steps.t.ndim == 1 else mapped(one, (0, None if key is None else 0))
        return cls(model, steps, schedule, *over(steps, key))

    @property
    def holds(self) -> Flag | None:
        """See `AbstractPass`."""
        return None if self.certain else jnp.all(jnp.isfinite(jnp.sum(self.increments, axis=-1)))

    @property
    def log_evidence(self) -> Float[Array, "*B T"]:
        """See `AbstractPass`."""
        return self.increments

    def kept(self) -> Self:
        """The least that the way back needs."""
        return type(self)(self.model, self.steps, self.schedule, self.increments, None, self.filtered, None)

    def beliefs(self) -> Answer:
        """See `AbstractPass`."""
        return self.each(lambda walked: (walked.predicted, walked.filtered))

    def last(self) -> Answer:
        """See `AbstractPass`."""
        return Answer(self.holds, self.final)

    def each(self, function: Callable[..., PyTree], *others: PyTree) -> Answer:
        """See `AbstractPass`; the beliefs as they were walked, of which some have an inner form."""

        def one(steps: Step, predicted: Any, filtered: Any, log_evidence: Array, *others: PyTree) -> PyTree:
            recursion, prepared = self.form(self.model, steps)
            if predicted is None:
                again = predictions(recursion, prepared, self.resume(filtered), self.at_once(recursion))
                predicted = self.keep(again)
            beliefs = predicted, filtered
            walked = Walked(self.model, steps, recursion, prepared, *beliefs, log_evidence, self.schedule)
            return handed_out(function(walked, *others))

        found = self.over(one)(self.steps, self.predicted, self.filtered, self.log_evidence, *others)
        return Answer(self.holds, found)

    def best(self) -> Answer:
        """The most probable path, and its log-probability, of a recursion that finds it."""

        def path(walked: Walked) -> tuple[Array, Array]:
            path = best_back(self.model, walked.prepared, walked.predicted, walked.filtered)
            return path, self.model.log_prob(walked.prepared, path, walked.filtered, walked.log_evidence)

        return self.each(path)

    # -- what a family says -----------------------------------------------------------------------------------------

    @classmethod
    def form(cls, model: Any, steps: Step) -> tuple[Any, Step]:
        """The recursion that is walked, and prepared steps: those of the model, or of a quicker one."""
        return model, model.prepare(steps)

    @classmethod
    def at_once(cls, recursion: Any) -> bool:
        """Whether predicting for all times after the walk is cheaper than keeping predictions."""
        return False

    @classmethod
    def order(cls, model: Any, schedule: AbstractSchedule) -> AbstractSchedule:
        """The schedule of the way there."""
        return schedule

    @classmethod
    def keep(cls, belief: Any) -> Any:
        """What is kept of a belief that was walked: all of it, unless some is for the walk alone."""
        return belief

    @classmethod
    def resume(cls, kept: Any) -> Any:
        """The belief to walk on with, from what was kept."""
        return kept

    @classmethod
    def finish(cls, model: Any, belief: Any) -> Any:
        """The last belief in the form that the model itself walks on with."""
        return belief


def _check_real(model: AbstractRecursion, steps: Step, key: Key | None) -> None:
    """Raise TypeError for a member of symbols that did not say so: as real numbers they would not be checked."""
    known = index(model.prepare(steps).u, 0)
    if (count := num_symbols(model.emit(model.init(known, key=key), known))) is not None:
        raise TypeError(
            f"{type(model).__name__}.event_kind: `emit` returns a distribution over {count} symbols; say event_kind = "
            f'"symbol" and num_classes = {count}, so that what is no symbol is an error'
        )
