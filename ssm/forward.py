"""The forward pass: prepared steps through the driver, in the fast form where there is one and it is safe."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ssm.recursion import AbstractRecursion, Step
from ssm.scan import Saved, everything, scan
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.sequential import Sequential
from ssm.shapes import Array, Key, PyTree


def forward(
    model: AbstractRecursion,
    steps: Step,
    schedule: AbstractSchedule,
    key: Key | None,
    *,
    fast: bool = True,
    belief: Any = None,
    save: Callable[[Saved], PyTree] = everything,
) -> tuple[Any, Array, PyTree]:
    """Last belief, log p(y_t | y_<t) (T,), and what `save` kept, for a constrained model and prepared steps.

    `fast=False` under `vmap`, where a `cond` would run both of its branches.
    """

    def run(these: Step) -> tuple[Any, Array, PyTree]:
        both = lambda saved: (saved.log_evidence, save(saved))
        last, (log_evidence, kept) = scan(model, these, schedule=schedule, belief=belief, key=key, save=both)
        return last, log_evidence, kept

    quick = model.quicken(steps) if fast and isinstance(schedule, Sequential) else None
    if quick is None:
        return run(steps)
    attempt = run(quick)
    return jax.lax.cond(jnp.all(jnp.isfinite(attempt[1])), lambda: attempt, lambda: run(steps))
