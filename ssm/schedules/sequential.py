"""One step after the other."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.numeric.trees import length, select
from ssm.schedules.base import AbstractSchedule, Walk
from ssm.shapes import PyTree
from ssm.steps import Step

# A CPU runs the operations of a loop one after the other, without a scheduler that takes longer than they do, where
# none of them touches more than so many bytes. Short sequences are not worth compiling a second loop.
SMALL_BYTES, MOST_STEPS, MIN_STEPS = 512, 32, 256


class Sequential(AbstractSchedule):
    """One `lax.scan`: the least work, T steps deep. The reference for the other schedules.

    `unroll` steps are compiled into one loop body; on CPUs 1 is fastest (`python -m benchmarks schedules_vs_length`).
    `in_small_blocks`: a scan over scans of small arrays, where a step is many operations on these.
    """

    unroll: int = eqx.field(static=True, default=1)
    in_small_blocks: bool = eqx.field(static=True, default=False)

    def run(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """See `AbstractSchedule.run`."""
        return self._walk(walk, belief, steps, reverse=False)

    def run_backward(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """See `AbstractSchedule.run_backward`; without a reversed copy of the steps."""
        return self._walk(walk, belief, steps, reverse=True)

    def _walk(self, walk: Walk, belief: Any, steps: Step, reverse: bool) -> tuple[Any, PyTree]:
        size = _block_size(walk, belief, steps) if self.in_small_blocks else 1
        if size == 1:
            return walk_in_order(walk, belief, steps, self.unroll, reverse)
        return _walk_blocks(walk, belief, steps, size, self.unroll, reverse)


def walk_in_order(walk: Walk, belief: Any, steps: Step, unroll: int = 1, reverse: bool = False) -> tuple[Any, PyTree]:
    """`lax.scan` over the steps."""
    return jax.lax.scan(lambda carry, step: walk(carry, step), belief, steps, unroll=unroll, reverse=reverse)


def _walk_blocks(walk: Walk, belief: Any, steps: Step, size: int, unroll: int, reverse: bool) -> tuple[Any, PyTree]:
    total = length(steps.t)
    extra = -total % size
    real = jnp.arange(total + extra) < total if extra else None

    def one(carry: Any, each: tuple) -> tuple[Any, PyTree]:
        step, real = each
        following, saved = walk(carry, step)
        return following if real is None else select(real, following, carry), saved

    def cut(array: Any) -> Any:
        repeated = jnp.broadcast_to(array[-1:], (extra, *array.shape[1:]))  # never more than a block of these
        array = jnp.concatenate([array, repeated]) if extra else array
        return array.reshape(-1, size, *array.shape[1:])

    blocks = jax.tree.map(cut, steps), None if real is None else real.reshape(-1, size)
    block = lambda carry, each: jax.lax.scan(one, carry, each, unroll=unroll, reverse=reverse)
    last, saved = jax.lax.scan(block, belief, blocks, reverse=reverse)
    return last, jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:])[:total], saved)


def _block_size(walk: Walk, belief: Any, steps: Step) -> int:
    """How many steps fit into small arrays, a divisor of T if a large one does; 1 for the walk as a whole."""
    total = length(steps.t)
    if total < MIN_STEPS:
        return 1
    step = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), steps)
    saved = jax.eval_shape(walk, belief, step)[1]
    most = min(SMALL_BYTES // max(_bytes(step), _bytes(saved)), MOST_STEPS)
    if most < 2 or _bytes(belief) > SMALL_BYTES:
        return 1
    return next((size for size in range(most, most // 2, -1) if total % size == 0), most)


def _bytes(tree: PyTree) -> int:
    """Those of the largest array."""
    return max((leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)), default=1)
