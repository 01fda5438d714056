"""Two forms of one recursion: a quick one, which says whether it holds, and the safe one, which always does."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssm.numeric import trial
from ssm.numeric.missing import somewhere
from ssm.recursion import AbstractRecursion
from ssm.scan import Saved, predictions, scan
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.blocked import Blocked
from ssm.schedules.sequential import Sequential
from ssm.schedules.side_by_side import SideBySide
from ssm.shapes import Array, Flag, Key, PyTree
from ssm.steps import Step


class Form(NamedTuple):
    """A model, the steps of one sequence as observed, and the form of both that is walked."""

    model: Any
    steps: Step
    recursion: AbstractRecursion
    prepared: Step

    @classmethod
    def quick(cls, model: Any, steps: Step) -> "Form":
        """The cheaper one."""
        return cls(model, steps, *model.quicken(steps))

    @classmethod
    def safe(cls, model: Any, steps: Step) -> "Form":
        """The model itself."""
        return cls(model, steps, model, model.prepare(steps))

    def walk(
        self, schedule: AbstractSchedule, key: Key | None, save: Callable[[Saved], PyTree], belief: Any = None
    ) -> tuple[Any, Array, PyTree]:
        """Last belief, in the form of the model, log p(y_t | y_<t) (T,), and what `save` kept."""
        record = self.recursion.record

        def both(saved: Saved) -> tuple[Array, PyTree]:
            return saved.log_evidence, save(Saved(record(saved.predicted), record(saved.filtered), saved.log_evidence))

        if belief is not None:
            belief = self.recursion.resume(belief)
        last, (log_evidence, kept) = scan(
            self.recursion, self.prepared, schedule=schedule, belief=belief, key=key, save=both
        )
        return self.model.resume(record(last)), log_evidence, kept

    def beliefs(self, schedule: AbstractSchedule, key: Key | None) -> Saved:
        """The full record of a walk, in this form."""
        if not self.recursion.predicts_at_once:
            _, log_evidence, both = self.walk(schedule, key, lambda saved: (saved.predicted, saved.filtered))
            return Saved(both[0], both[1], log_evidence)
        # Where predicting costs one matrix product for all times, it is left out of the loop and done after it.
        _, log_evidence, filtered = self.walk(schedule, key, lambda saved: saved.filtered)
        return Saved(predictions(self.recursion, self.prepared, filtered), filtered, log_evidence)


def in_form(
    function: Callable[..., tuple[Array, PyTree]],
    model: AbstractRecursion,
    steps: Step,
    schedule: AbstractSchedule,
    *others: PyTree,
) -> PyTree:
    """The second that `function(form, *others)` returns, in the quick form where the first is finite, else in the safe.

    Whatever follows from a walk belongs into the function: a way back from beliefs of the one form is in that form.
    """
    safe = lambda model, steps, *others: function(Form.safe(model, steps), *others)[1]
    if not has_quick_form(model, schedule):
        return safe(model, steps, *others)

    def quick(model: AbstractRecursion, steps: Step, *others: PyTree) -> tuple[Flag, PyTree]:
        log_evidence, found = function(Form.quick(model, steps), *others)
        return jnp.isfinite(jnp.sum(log_evidence)), found

    return either(quick, safe, (model, steps, *others))


def has_quick_form(model: AbstractRecursion, schedule: AbstractSchedule) -> bool:
    """Whether there is one to try: for walks in turn, since what is composed has no bound on what it loses."""
    blocks = isinstance(schedule, Blocked) and isinstance(schedule.across, Sequential)
    return model.is_quickened and (blocks or isinstance(schedule, Sequential | SideBySide))


def either(
    quick: Callable[..., tuple[Flag, PyTree]], safe: Callable[..., PyTree], operands: tuple[PyTree, ...]
) -> PyTree:
    """What `quick(*operands)` found if it says that this holds, else what `safe(*operands)` finds."""
    holds, found = quick(*operands)
    if trial.on_trial():
        trial.claim(holds)
        return found
    # What only the safe form needs is computed inside the choice. Under `vmap` all take the one that holds for all.
    return jax.lax.cond(somewhere(~holds), lambda: safe(*operands), lambda: found)
