"""The forward pass: steps through the driver, in the quick form where there is one and it holds."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax

from ssm.beliefs import handed_out
from ssm.distributions import num_symbols
from ssm.model import AbstractModel
from ssm.numeric import trial
from ssm.numeric.trees import index
from ssm.passes.forms import Form, in_form
from ssm.recursion import AbstractRecursion
from ssm.scan import Saved, predictions
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.sequential import Sequential
from ssm.schedules.side_by_side import together
from ssm.shapes import Array, Flag, Key, PyTree
from ssm.steps import Step


def forward(
    model: AbstractRecursion,
    steps: Step,
    schedule: AbstractSchedule,
    key: Key | None,
    save: Callable[[Saved], PyTree],
    *,
    fast: bool = True,
    belief: Any = None,
) -> tuple[Any, Array, PyTree]:
    """Last belief, log p(y_t | y_<t) (T,), and what `save` kept, for a constrained model and steps as observed.

    `fast=False` for one sequence under `vmap`, which is then not cut into lanes. Steps (B, T) only where `together`.
    """
    if belief is None and together(schedule, model, steps, fast):
        return where_it_holds(partial(_attempt, schedule, save), partial(_in_order, save), (model, steps, key))
    if type(model).event_kind is AbstractModel.event_kind:
        _check_real(model, steps, key)

    def walk(form: Form, key: Key | None, belief: Any) -> tuple[Array, tuple]:
        last, log_evidence, kept = form.walk(schedule, key, save, belief)
        return log_evidence, (last, log_evidence, handed_out(kept))

    return in_form(walk, model, steps, schedule, key, belief)


def _check_real(model: AbstractRecursion, steps: Step, key: Key | None) -> None:
    """Raise TypeError for a member of symbols that did not say so: as real numbers they would not be checked."""
    known = index(model.prepare(steps).u, 0)
    if (count := num_symbols(model.emit(model.init(known, key=key), known))) is not None:
        raise TypeError(
            f"{type(model).__name__}.event_kind: `emit` returns a distribution over {count} symbols; say event_kind = "
            f'"symbol" and num_classes = {count}, so that what is no symbol is an error'
        )


def nothing(saved: Saved) -> None:
    """Save nothing beside the evidence."""
    return None


def beliefs(
    model: AbstractRecursion, steps: Step, schedule: AbstractSchedule, key: Key | None, *, fast: bool = True
) -> Saved:
    """The full record of a forward pass, as verbs hand it out; arguments as in `forward`."""
    if together(schedule, model, steps, fast):
        save = lambda saved: (saved.predicted, saved.filtered)
        _, log_evidence, both = forward(model, steps, schedule, key, save, fast=fast)
        return Saved(both[0], both[1], log_evidence)
    return from_beliefs(lambda form, saved: saved, model, steps, schedule, key)


def from_beliefs(
    function: Callable[..., PyTree],
    model: AbstractRecursion,
    steps: Step,
    schedule: AbstractSchedule,
    key: Key | None,
    *others: PyTree,
) -> PyTree:
    """function(form, saved, *others) of the full record of a walk, all in the quick form where that holds."""

    def one(form: Form, key: Key | None, *others: PyTree) -> tuple[Array, PyTree]:
        saved = form.beliefs(schedule, key)
        return saved.log_evidence, handed_out(function(form, saved, *others))

    return in_form(one, model, steps, schedule, key, *others)


# -- side by side ---------------------------------------------------------------------------------------------


def where_it_holds(
    attempt: Callable[..., tuple[Flag, Callable[[], PyTree]]], in_order: Callable[..., PyTree], operands: tuple
) -> PyTree:
    """What `attempt(*operands)` found if it says that this holds, else what `in_order(*operands)` finds.

    Its derivative is that of `in_order`. An attempt returns a flag and a function that hands out what was found.
    """
    if not trial.on_trial():
        return _where_it_holds(attempt, in_order, operands)
    holds, found = attempt(*operands)
    trial.claim(holds)
    return found()


@eqx.filter_custom_jvp
def _where_it_holds(attempt: Callable, in_order: Callable, operands: tuple) -> PyTree:
    holds, found = attempt(*operands)
    return jax.lax.cond(holds, found, lambda: in_order(*operands))


@_where_it_holds.def_jvp
def _where_it_holds_jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    _, in_order, operands = primals
    return _where_it_holds(*primals), eqx.filter_jvp(in_order, operands, tangents[2])[1]


def each_sequence(function: Callable[..., PyTree], steps: Step, *others: PyTree) -> PyTree:
    """function(steps, *others), or of every sequence of a batch (B, T) where that is what the steps are."""
    return (trial.mapped(function) if steps.t.ndim == 2 else function)(steps, *others)


def _attempt(
    schedule: Any, save: Callable, model: AbstractRecursion, steps: Step, key: Key | None
) -> tuple[Flag, Callable[[], PyTree]]:
    holds, saved = model.forward_side_by_side(steps, schedule)

    def record(steps: Step, saved: Saved) -> tuple[Any, Array, PyTree]:
        if saved.predicted is None:
            form = Form.quick(model, steps) if model.is_quickened else Form.safe(model, steps)
            saved = saved._replace(predicted=predictions(form.recursion, form.prepared, saved.filtered))
        return model.resume(index(saved.filtered, -1)), saved.log_evidence, jax.vmap(save)(saved)

    return holds, lambda: each_sequence(record, steps, saved)


def _in_order(save: Callable, model: AbstractRecursion, steps: Step, key: Key | None) -> tuple[Any, Array, PyTree]:
    return each_sequence(lambda steps: forward(model, steps, Sequential(), key, save), steps)
