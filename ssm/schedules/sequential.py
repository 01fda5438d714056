"""One step after the other."""

from typing import Any

import equinox as eqx
import jax

from ssm.recursion import Step
from ssm.schedules.base import AbstractSchedule, Walk
from ssm.shapes import PyTree


class Sequential(AbstractSchedule):
    """One `lax.scan`: the least work, T steps deep. The reference for the other schedules.

    `unroll` steps are compiled into one loop body; on CPUs 1 is fastest (`python -m benchmarks schedules_vs_length`).
    """

    unroll: int = eqx.field(static=True, default=1)

    def run(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """See `AbstractSchedule.run`."""
        return walk_in_order(walk, belief, steps, self.unroll)

    def run_backward(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """See `AbstractSchedule.run_backward`; without a reversed copy of the steps."""
        return jax.lax.scan(lambda carry, step: walk(carry, step), belief, steps, reverse=True, unroll=self.unroll)


def walk_in_order(walk: Walk, belief: Any, steps: Step, unroll: int = 1) -> tuple[Any, PyTree]:
    """`lax.scan` over the steps."""
    return jax.lax.scan(lambda carry, step: walk(carry, step), belief, steps, unroll=unroll)
