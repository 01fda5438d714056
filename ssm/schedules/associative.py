"""All steps at once: compose them as maps, then apply every prefix to the first belief."""

from typing import Any

import jax

from ssm.maps.base import AbstractMap
from ssm.numeric.trees import index, prepend
from ssm.recursion import AbstractParallelScan
from ssm.schedules.base import AbstractSchedule, Walk
from ssm.shapes import PyTree
from ssm.steps import Step


class Associative(AbstractSchedule):
    """One `lax.associative_scan` over lifted steps: about twice the compositions, log T deep.

    Only the beliefs come from the composed maps. Evidence and predictions are then computed by the ordinary
    step from each neighbour, so per-step increments are as accurate as in a sequential run.
    """

    requires = AbstractParallelScan

    def run(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """See `AbstractSchedule.run`."""
        prefixes = jax.lax.associative_scan(jax.vmap(compose), jax.vmap(walk.lift)(steps))
        filtered = jax.vmap(lambda prefix: prefix.apply(belief))(prefixes)
        return walk_from_neighbours(walk, belief, filtered, steps)


def compose(first: AbstractMap, second: AbstractMap) -> AbstractMap:
    """`first`, then `second`."""
    return first.then(second)


def walk_from_neighbours(walk: Walk, belief: Any, filtered: Any, steps: Step) -> tuple[Any, PyTree]:
    """Take every step at once, each from the filtered belief (T, ...) before it."""
    before = prepend(belief, index(filtered, slice(None, -1)))
    after, saved = jax.vmap(walk)(before, steps)
    return index(after, -1), saved
