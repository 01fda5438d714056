"""Covariances of a model with constant matrices, walked back from the end: they move at both ends, and rest between.

What is made of them at each time is worked out where they move, and once for all times at which they rest.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssm.numeric.linalg import add_up, multiply
from ssm.recursions.gaussian.steady.riccati import rests
from ssm.shapes import Array, Flag, Float, Int, PyTree

CHUNK = 32  # entries that are worked out together


class Relaxed(NamedTuple):
    """A covariance at all times, walked back from the end: as many at the start and at the end as differ."""

    head: Float[Array, "H D D"]
    middle: Float[Array, "D D"]
    tail: Float[Array, "E D D"]
    moving: Int[Array, ""]  # how many entries of the head may differ from the middle
    late: Int[Array, ""]  # how many entries of the tail do
    holds: Flag

    @property
    def all(self) -> Float[Array, "M D D"]:
        """M = H + 1 + E of them, in time."""
        return jnp.concatenate([self.head, self.middle[None], self.tail])

    def each(self, function: Callable[[PyTree], PyTree], entries: PyTree) -> PyTree:
        """A function of entries (M, ...) that move when this does."""
        resting = function(jax.tree.map(lambda leaf: leaf[len(self.head)], entries))
        # What goes with the entry before is still another one at the first that rests.
        return where_moving(function, entries, resting, self.moving + 1, self.late)


class Backward(NamedTuple):
    """X_{t-1} = matrix_t X_t matrix_tᵀ + added_t."""

    matrix: Float[Array, "*H D D"]
    added: Float[Array, "*H D D"]

    def apply(self, later: Float[Array, "*H D D"]) -> Float[Array, "*H D D"]:
        """One step back."""
        return multiply(self.matrix, later, jnp.swapaxes(self.matrix, -1, -2)) + self.added


def relax(last: Float[Array, "D D"], steady: Backward, head: Backward, moving: Int[Array, ""], size: int) -> Relaxed:
    """From the last X: `size` steps back that are all alike, until they rest, and then those of the head.

    Of these, the ones from `moving` on are as the steady one.
    """

    def walk(carry: tuple) -> tuple:
        count, later, record, _ = carry
        before = steady.apply(later)
        record = jax.lax.dynamic_update_index_in_dim(record, later, size - 1 - count, 0)
        return count + 1, before, record, rests(later, before)

    unfinished = lambda carry: (carry[0] < size) & ~carry[3]
    start = (0, last, jnp.zeros((max(size, 1), *last.shape), last.dtype), jnp.zeros((), bool))
    count, middle, tail, still = jax.lax.while_loop(unfinished, walk, start)
    tail = jnp.where((jnp.arange(size) < size - count)[:, None, None], middle, tail[:size])

    size = len(head.matrix)
    moving = jnp.where(still, jnp.minimum(moving, size), size)

    def through_head(back: Array, carry: tuple) -> tuple:
        later, record = carry
        t = moving - 1 - back
        record = jax.lax.dynamic_update_index_in_dim(record, later, t, 0)
        return jax.tree.map(lambda leaf: leaf[t], head).apply(later), record

    rest = jnp.broadcast_to(middle, (size, *middle.shape))
    entries = jax.lax.fori_loop(0, moving, through_head, (middle, rest))[1]
    return Relaxed(entries, middle, tail, moving, jnp.asarray(count), still)


def where_moving(
    function: Callable[[PyTree], PyTree],
    entries: PyTree,
    resting: PyTree,
    moving: Int[Array, ""],
    late: Int[Array, ""] | int = 0,
) -> PyTree:
    """A function of the first `moving` and the last `late` of M entries (M, ...); for all others it is `resting`."""
    size = len(jax.tree.leaves(entries)[0])
    chunk = min(CHUNK, size)
    early = -(-moving // chunk)

    def work(i: Array, result: PyTree) -> PyTree:
        start = jnp.where(i < early, i * chunk, size - (i - early + 1) * chunk)
        start = jnp.clip(start, 0, size - chunk)  # what is worked out twice is the same both times
        some = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, chunk), entries)
        put = lambda all, part: jax.lax.dynamic_update_slice_in_dim(all, part, start, 0)
        return jax.tree.map(put, result, jax.vmap(function)(some))

    everywhere = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), resting)
    return jax.lax.fori_loop(0, early - (-late // chunk), work, everywhere)


def weighted(weights: Float[Array, "M"], array: Float[Array, "M I J"]) -> Float[Array, "I J"]:
    """Σ_m weights_m array_m."""
    return add_up(weights[:, None, None] * array)
