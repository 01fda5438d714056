"""Blocks of a sequence, or sequences of a batch, side by side: how they lie, and how they agree at their borders."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssm.numeric.trees import widen
from ssm.shapes import Array, Bool, Flag, PyTree, Shaped
from ssm.steps import Step


class Layout(NamedTuple):
    """One sequence of T steps as C lanes of L; what is missing at the end of the last lanes is filled up."""

    total: int
    lanes: int

    @property
    def depth(self) -> int:
        """L."""
        return -(-self.total // self.lanes)

    def split(self, tree: PyTree) -> PyTree:
        """(T, ...) to (L C, ...), step l of all lanes before step l + 1 of any; filled up with the last entry."""

        def leaf(array: Array) -> Array:
            extra = self.depth * self.lanes - self.total
            array = jnp.concatenate([array, jnp.repeat(array[-1:], extra, axis=0)]) if extra else array
            return jnp.swapaxes(array.reshape(self.lanes, self.depth, *array.shape[1:]), 0, 1).reshape(array.shape)

        return jax.tree.map(leaf, tree)

    def join(self, array: Shaped[Array, "L *K C"]) -> Shaped[Array, "T *K"]:
        """(L, C) to (T,), or (L, K, C) to (T, K)."""
        in_time = jnp.moveaxis(array, -1, 0)  # (C, L, ...)
        return in_time.reshape(-1, *in_time.shape[2:])[: self.total]

    def real(self, steps: Step) -> Bool[Array, "L C"]:
        """Which steps are no filling."""
        times = jnp.arange(self.lanes)[None, :] * self.depth + jnp.arange(self.depth)[:, None]
        return times < self.total

    def after(self, real: Bool[Array, "L C"]) -> Bool[Array, "L C"]:
        """The same flags one step later: a lane goes on where the next one begins."""
        return jnp.concatenate([real[1:], jnp.append(real[0, 1:], False)[None]])


class Batch(NamedTuple):
    """C sequences of L steps, one in each lane."""

    depth: int
    lanes: int

    def split(self, tree: PyTree) -> PyTree:
        """(C, L, ...) to (L C, ...)."""
        leaf = lambda array: jnp.swapaxes(array, 0, 1).reshape(-1, *array.shape[2:])
        return jax.tree.map(leaf, tree)

    def join(self, array: Shaped[Array, "L *K C"]) -> Shaped[Array, "C L *K"]:
        """(L, C) to (C, L), or (L, K, C) to (C, L, K)."""
        return jnp.moveaxis(array, -1, 0)

    def real(self, steps: Step) -> Bool[Array, "L C"]:
        """Which steps are no padding."""
        return jnp.ones((self.depth, self.lanes), bool) if steps.padding is None else ~steps.padding.T

    def after(self, real: Bool[Array, "L C"]) -> Bool[Array, "L C"]:
        """The same flags one step later: at its end a lane is over."""
        return jnp.concatenate([real[1:], jnp.zeros_like(real[:1])])


def unbroken(steps: Step) -> bool:
    """Whether steps (T,) or (B, T) are one stretch each, padded only in a batch."""
    return steps.first is None and (steps.padding is None or steps.t.ndim == 2)


def relay(walk: Callable, starts: PyTree, same: Callable, max_sweeps: int) -> tuple[Flag, PyTree]:
    """What `walk` recorded when the next starts that it returned were the `same` as its own, and whether they were."""

    def unfinished(carry: tuple) -> Flag:
        return ~carry[2] & (carry[3] < max_sweeps)

    def again(carry: tuple) -> tuple:
        starts, _, _, count = carry
        ends, record = walk(starts)
        return ends, record, jnp.all(same(ends, starts)), count + 1

    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(walk, starts)[1])
    _, record, agreed, _ = jax.lax.while_loop(unfinished, again, (starts, nothing, jnp.zeros((), bool), 0))
    return agreed, record


def still(beliefs: PyTree, steps: Step) -> PyTree:
    """Beliefs (B, T, ...) that stay, in the padding after a sequence, what they were at its end."""
    if steps.padding is None:
        return beliefs
    last = jnp.sum(~steps.padding, axis=-1, keepdims=True, dtype=int) - 1  # (B, 1)
    times = jnp.minimum(jnp.arange(steps.t.shape[-1]), last)
    return jax.tree.map(lambda leaf: leaf[jnp.arange(len(leaf))[:, None], times], beliefs)


def still_ahead(predicted: PyTree, filtered: PyTree, steps: Step) -> PyTree:
    """Predicted beliefs (B, T, ...) that are, in the padding after a sequence, the filtered ones of `still`."""
    if steps.padding is None:
        return predicted
    where = lambda ahead, now: jnp.where(widen(steps.padding, ahead.ndim), now, ahead)
    return jax.tree.map(where, predicted, filtered)
