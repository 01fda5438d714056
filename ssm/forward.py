"""The forward pass: steps through the driver, in the fast form where there is one and it holds."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import num_symbols
from ssm.model import AbstractModel
from ssm.recursion import AbstractRecursion
from ssm.scan import Saved, predictions, scan
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.sequential import Sequential
from ssm.schedules.side_by_side import SideBySide, together
from ssm.shapes import Array, Flag, Key, PyTree
from ssm.steps import Step
from ssm.trees import index


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

    `fast=False` under `vmap`, where a `cond` would run both of its branches. Steps (B, T) only where `together`.
    """

    def run(recursion: AbstractRecursion, prepared: Step) -> tuple[Any, Array, PyTree]:
        both = lambda saved: (saved.log_evidence, save(saved))
        last, (log_evidence, kept) = scan(recursion, prepared, schedule=schedule, belief=belief, key=key, save=both)
        return last, log_evidence, kept

    if belief is None and together(schedule, model, steps, fast):
        return where_it_holds(partial(_attempt, schedule, save), partial(_in_order, save, fast), (model, steps, key))
    if type(model).event_kind is AbstractModel.event_kind:
        _check_real(model, steps, key)
    quick = model.quicken(steps) if fast and isinstance(schedule, Sequential | SideBySide) else None
    if quick is None:
        return run(model, model.prepare(steps))
    attempt = run(*quick)
    # Preparing inside the branch: what only the safe form needs is neither computed nor kept otherwise.
    return jax.lax.cond(jnp.isfinite(jnp.sum(attempt[1])), lambda: attempt, lambda: run(model, model.prepare(steps)))


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
    """The full record of a forward pass.

    Where predicting costs one matrix product for all times, it is left out of the loop and done after it.
    """
    if not model.predicts_at_once:
        save = lambda s: (s.predicted, s.filtered)
        _, log_evidence, (predicted, filtered) = forward(model, steps, schedule, key, save, fast=fast)
        return Saved(predicted, filtered, log_evidence)
    _, log_evidence, filtered = forward(model, steps, schedule, key, lambda s: s.filtered, fast=fast)
    ahead = lambda steps, filtered: predictions(model, model.prepare(steps), filtered)
    return Saved(each_sequence(ahead, steps, filtered), filtered, log_evidence)


# -- side by side ---------------------------------------------------------------------------------------------


@eqx.filter_custom_jvp
def where_it_holds(
    attempt: Callable[..., tuple[Flag, Callable[[], PyTree]]], in_order: Callable[..., PyTree], operands: tuple
) -> PyTree:
    """What `attempt(*operands)` found if it says that this holds, else what `in_order(*operands)` finds.

    Its derivative is that of `in_order`. An attempt returns a flag and a function that hands out what was found.
    """
    holds, found = attempt(*operands)
    return jax.lax.cond(holds, found, lambda: in_order(*operands))


@where_it_holds.def_jvp
def _where_it_holds_jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    _, in_order, operands = primals
    return where_it_holds(*primals), eqx.filter_jvp(in_order, operands, tangents[2])[1]


def each_sequence(function: Callable[..., PyTree], steps: Step, *others: PyTree) -> PyTree:
    """function(steps, *others), or of every sequence of a batch (B, T) where that is what the steps are."""
    return (jax.vmap(function) if steps.t.ndim == 2 else function)(steps, *others)


def _attempt(
    schedule: Any, save: Callable, model: AbstractRecursion, steps: Step, key: Key | None
) -> tuple[Flag, Callable[[], PyTree]]:
    holds, saved = model.forward_side_by_side(steps, schedule)

    def record(steps: Step, saved: Saved) -> tuple[Any, Array, PyTree]:
        if saved.predicted is None:
            saved = saved._replace(predicted=predictions(model, model.prepare(steps), saved.filtered))
        return index(saved.filtered, -1), saved.log_evidence, jax.vmap(save)(saved)

    return holds, lambda: each_sequence(record, steps, saved)


def _in_order(
    save: Callable, fast: bool, model: AbstractRecursion, steps: Step, key: Key | None
) -> tuple[Any, Array, PyTree]:
    fast = fast and steps.t.ndim == 1
    return each_sequence(lambda steps: forward(model, steps, Sequential(), key, save, fast=fast), steps)
