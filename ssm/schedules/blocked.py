"""A scan over blocks of steps."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.numeric.protocols import offers
from ssm.numeric.trees import index, length, prepend
from ssm.recursion import AbstractParallelScan, AbstractScan
from ssm.schedules.associative import Associative, compose
from ssm.schedules.base import AbstractSchedule, Walk
from ssm.schedules.sequential import Sequential, walk_in_order
from ssm.shapes import PyTree
from ssm.steps import Step


class Blocked(AbstractSchedule):
    """Blocks of `size` steps, walked one after the other or all at once.

    `across=Sequential()`: a scan over checkpointed blocks. A gradient keeps one belief per block and
    recomputes inside it, so memory falls from T to T / size + size beliefs for one more forward pass
    (Gruslys et al. 2016 with one level).

    `across=Associative()`: every block composes its steps into one map, all blocks side by side; the T / size
    maps are composed in log depth; then all blocks are walked side by side. Memory for maps is T / size,
    where `Associative` needs T.
    """

    size: int = eqx.field(static=True)
    across: AbstractSchedule = eqx.field(static=True, default=Sequential())

    def __check_init__(self):
        if self.size < 1:
            raise ValueError(f"Blocked(size): size must be at least 1, got {self.size}")
        if not isinstance(self.across, Sequential | Associative):
            raise TypeError(
                f"Blocked(across): expected Sequential() or Associative(), got {type(self.across).__name__}"
            )

    def run(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """See `AbstractSchedule.run`."""
        blocks = as_blocks(steps, self.size)
        if isinstance(self.across, Sequential):
            inside = jax.checkpoint(lambda carry, block: walk_in_order(walk, carry, block))
            last, saved = jax.lax.scan(inside, belief, blocks)
        else:
            starts = _starts(walk, belief, blocks)
            ends, saved = jax.vmap(lambda carry, block: walk_in_order(walk, carry, block))(starts, blocks)
            last = index(ends, -1)
        return last, from_blocks(saved, steps)

    def supports(self, recursion: AbstractScan) -> bool:
        """Composition across blocks needs a parallel recursion; checkpointing does not."""
        return isinstance(self.across, Sequential) or offers(recursion, AbstractParallelScan)


def as_blocks(steps: Step, size: int) -> Step:
    """(T, ...) to (T / size, size, ...); the last block is filled up with padding steps."""
    total = length(steps.t)
    extra = -total % size
    if extra:
        padding = jnp.zeros(total, bool) if steps.padding is None else steps.padding
        steps = jax.tree.map(lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[-1:], extra, 0)]), steps)
        steps = dataclasses.replace(steps, padding=jnp.concatenate([padding, jnp.ones(extra, bool)]))
    return jax.tree.map(lambda leaf: leaf.reshape((-1, size) + leaf.shape[1:]), steps)


def from_blocks(saved: PyTree, steps: Step) -> PyTree:
    """(T / size, size, ...) back to (T, ...), without what the filling up added."""
    total = length(steps.t)
    return jax.tree.map(lambda leaf: leaf.reshape((-1,) + leaf.shape[2:])[:total], saved)


def _starts(walk: Walk, belief: Any, blocks: Step) -> Any:
    """The belief before every block, from the composed maps of the blocks before it."""

    def whole(block: Step):
        start = walk.lift(index(block, 0))
        rest = index(block, slice(1, None))
        return jax.lax.scan(lambda prefix, step: (prefix.then(walk.lift(step)), None), start, rest)[0]

    prefixes = jax.lax.associative_scan(jax.vmap(compose), jax.vmap(whole)(blocks))
    ends = jax.vmap(lambda prefix: prefix.apply(belief))(prefixes)
    return prepend(belief, index(ends, slice(None, -1)))
