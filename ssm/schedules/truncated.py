"""Truncated backpropagation through time."""

from typing import Any

import equinox as eqx
import jax

from ssm.numeric.trees import index, prepend
from ssm.schedules.base import AbstractSchedule, Walk
from ssm.schedules.blocked import as_blocks, from_blocks
from ssm.schedules.sequential import walk_in_order
from ssm.shapes import PyTree
from ssm.steps import Step


class Truncated(AbstractSchedule):
    """A sequential scan whose gradient does not cross the borders of blocks of `size` steps.

    Values are exact; the gradient is that of Williams & Peng 1990 with h' = h = size: biased unless size >= T.
    """

    size: int = eqx.field(static=True)

    def run(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """See `AbstractSchedule.run`."""

        def block(carry: Any, steps: Step) -> tuple[Any, PyTree]:
            return walk_in_order(walk, jax.tree.map(jax.lax.stop_gradient, carry), steps)

        # The first border, before the first step, must let the gradient of the initial belief through.
        blocks = as_blocks(steps, self.size)
        belief, head = walk_in_order(walk, belief, index(blocks, 0))
        last, tail = jax.lax.scan(block, belief, index(blocks, slice(1, None)))
        return last, from_blocks(prepend(head, tail), steps)
