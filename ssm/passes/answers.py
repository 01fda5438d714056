"""What verbs ask of a walk beside beliefs: expected statistics, and smoothed beliefs."""

from collections.abc import Callable
from typing import Any

from ssm.passes.backward import smooth_backward
from ssm.passes.expectation import AbstractExpectation
from ssm.passes.forms import Form
from ssm.passes.in_order import each_sequence, from_beliefs, where_it_holds
from ssm.recursion import AbstractReversibleRecursion
from ssm.scan import Saved
from ssm.schedules import AbstractSchedule, Sequential
from ssm.shapes import Array, Flag, Float, Key, PyTree
from ssm.steps import Step


def statistics_of(model: AbstractExpectation, steps: Step, schedule: AbstractSchedule) -> tuple[PyTree, Array]:
    """Expected statistics and log p(y_t | y_<t) (T,), for a constrained model and one sequence as observed."""

    def counted(form: Form, saved: Saved) -> tuple[PyTree, Array]:
        return form.model.statistics(form.steps, saved.predicted, saved.filtered, schedule), saved.log_evidence

    return from_beliefs(counted, model, steps, schedule, None)


def smooth_one(model: Any, steps: Step, schedule: AbstractSchedule, key: Key | None) -> tuple[Any, Float[Array, "T"]]:
    """Smoothed beliefs (T, ...) and log p(y_t | y_<t), for a constrained model and one sequence as observed."""

    def smoothed(form: Form, saved: Saved) -> tuple[Any, Array]:
        back = smooth_backward(form.model, form.prepared, saved.predicted, saved.filtered, schedule)
        return back, saved.log_evidence

    return from_beliefs(smoothed, model, steps, schedule, key)


def smooth_together(
    model: AbstractReversibleRecursion, steps: Step, schedule: AbstractSchedule
) -> tuple[Any, Float[Array, "*B T"]]:
    """Smoothed beliefs and log p(y_t | y_<t), of one sequence or a batch, where the schedule takes it together."""

    def attempt(model: AbstractReversibleRecursion, steps: Step) -> tuple[Flag, Callable]:
        holds, smoothed, log_evidence = model.smooth_side_by_side(steps, schedule)
        return holds, lambda: (smoothed, log_evidence)

    def in_order(model: AbstractReversibleRecursion, steps: Step) -> tuple[Any, Array]:
        return each_sequence(lambda steps: smooth_one(model, steps, Sequential(), None), steps)

    return where_it_holds(attempt, in_order, (model, steps))
