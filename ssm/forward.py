"""The forward pass: steps through the driver, in the fast form where there is one and it is safe."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.recursion import AbstractRecursion, Step
from ssm.scan import Saved, predictions, scan
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.sequential import Sequential
from ssm.schedules.side_by_side import SideBySide
from ssm.shapes import Array, Key, PyTree
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

    `fast=False` under `vmap`, where a `cond` would run both of its branches.
    """

    def run(recursion: AbstractRecursion, prepared: Step) -> tuple[Any, Array, PyTree]:
        both = lambda saved: (saved.log_evidence, save(saved))
        last, (log_evidence, kept) = scan(recursion, prepared, schedule=schedule, belief=belief, key=key, save=both)
        return last, log_evidence, kept

    if belief is None and isinstance(schedule, SideBySide) and schedule.takes(model, steps):
        return _side_by_side(model, steps, key, schedule, save, fast)
    quick = model.quicken(steps) if fast and isinstance(schedule, Sequential | SideBySide) else None
    if quick is None:
        return run(model, model.prepare(steps))
    attempt = run(*quick)
    # Preparing inside the branch: what only the safe form needs is neither computed nor kept otherwise.
    return jax.lax.cond(jnp.isfinite(jnp.sum(attempt[1])), lambda: attempt, lambda: run(model, model.prepare(steps)))


@eqx.filter_custom_jvp
def _side_by_side(
    model: AbstractRecursion,
    steps: Step,
    key: Key | None,
    schedule: SideBySide,
    save: Callable[[Saved], PyTree],
    fast: bool,
) -> tuple[Any, Array, PyTree]:
    """Side by side where that holds, in order where it does not; its derivative is that of walking in order."""
    agreed, filtered, log_evidence = model.forward_side_by_side(steps, schedule)

    def take() -> tuple[Any, Array, PyTree]:
        def one(steps: Step, filtered: Any, log_evidence: Array) -> tuple[Any, Array, PyTree]:
            predicted = predictions(model, model.prepare(steps), filtered)
            return index(filtered, -1), log_evidence, jax.vmap(save)(Saved(predicted, filtered, log_evidence))

        return (jax.vmap(one) if steps.t.ndim == 2 else one)(steps, filtered, log_evidence)

    return jax.lax.cond(agreed, take, lambda: _in_order(model, steps, key, save, fast))


@_side_by_side.def_jvp
def _side_by_side_jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    _, _, key, _, save, fast = primals
    in_order = lambda model, steps: _in_order(model, steps, key, save, fast)
    return _side_by_side(*primals), eqx.filter_jvp(in_order, primals[:2], tangents[:2])[1]


def _in_order(
    model: AbstractRecursion, steps: Step, key: Key | None, save: Callable[[Saved], PyTree], fast: bool
) -> tuple[Any, Array, PyTree]:
    batched = steps.t.ndim == 2
    one = lambda steps: forward(model, steps, Sequential(), key, save, fast=fast and not batched)
    return (jax.vmap(one) if batched else one)(steps)


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
    return Saved((jax.vmap(ahead) if steps.t.ndim == 2 else ahead)(steps, filtered), filtered, log_evidence)
