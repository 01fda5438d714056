"""A linear-Gaussian model with constant matrices, in lanes: covariances once, and means as a linear network.

Filter covariances never see the data, so they are walked once for all sequences and until they rest
(`ssm.recursions.gaussian.steady.riccati`). What remains for every sequence is an affine recursion of its means,

    a_{t+1} = F (a_t + K_t (y_t - d_t - H a_t)) + b_{t+1},

the same at every step once the gain K_t is: blocks of the rest of a sequence are walked side by side, each from
zero, and then from where the block before it ends. That is exact; only the covariances come to rest by a tolerance.
Arrays are (L, n, C), lanes last, in long rows.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssm.numeric.linalg import multiply
from ssm.shapes import Array, Float, PyTree, Shaped

HEAD = 256  # steps in which covariances may move
SMALL = 8  # up to this many columns a sum of products beats a matrix product
LANES = 64


class Split(NamedTuple):
    """B sequences of T steps: H at the start, one lane for each, and then C blocks of L, one lane for each."""

    count: int
    total: int
    head: int
    blocks: int

    @classmethod
    def of(cls, count: int, total: int, size: int, lanes: int | None) -> "Split":
        """As many blocks as asked for, or as fill the vector units for a state of `size` dimensions."""
        head = min(HEAD, total)
        wanted = lanes or (2 * LANES if size <= SMALL else LANES) // count
        return cls(count, total, head, max(min(wanted, (total - head) // 32), 1))

    @property
    def depth(self) -> int:
        """L."""
        return -(-(self.total - self.head) // self.blocks)

    @property
    def filled(self) -> int:
        """How many steps the last block has too many."""
        return self.head + self.depth * self.blocks - self.total

    def split(self, array: Shaped[Array, "B T n"]) -> "Parts":
        """Head and tail; the last block is filled up with zeros."""
        tail = jnp.pad(array[:, self.head :], ((0, 0), (0, self.filled), (0, 0)))
        tail = tail.reshape(self.count * self.blocks, self.depth, array.shape[2])
        return Parts(jnp.moveaxis(array[:, : self.head], 0, -1), jnp.moveaxis(tail, 0, -1))

    def join(self, parts: "Parts") -> Shaped[Array, "B T n"]:
        """The way back."""
        tail = jnp.moveaxis(parts.tail, -1, 0)
        tail = tail.reshape(self.count, self.blocks * self.depth, tail.shape[2])
        return jnp.concatenate([jnp.moveaxis(parts.head, -1, 0), tail[:, : self.total - self.head]], axis=1)


class Parts(NamedTuple):
    """An array in lanes, or what acts on one: step by step in the head, the same for all steps of the tail."""

    head: Any  # (H, ...)
    tail: Any

    def act(self, lanes: "Parts") -> "Parts":
        """Matrix times vector, in every step of every lane."""
        return Parts(across(self.head, lanes.head), across(self.tail, lanes.tail))

    def map(self, function: Callable[..., Array], *others: "Parts") -> "Parts":
        """A function of arrays, of both parts."""
        return Parts(*(function(*parts) for parts in zip(self, *others, strict=True)))


def across(matrix: Float[Array, "*L I J"], vectors: Float[Array, "L J C"]) -> Float[Array, "L I C"]:
    """Matrix times vector in every step and lane."""
    if matrix.shape[-1] <= SMALL:
        # Column by column: as a sum over an axis, one row alone took 30 times as long.
        columns = (matrix[..., j, None] * vectors[:, None, j] for j in range(matrix.shape[-1]))
        return functools.reduce(operator.add, columns)
    if matrix.ndim == 3:
        return jax.lax.map(lambda each: push(*each), (matrix, vectors))
    # Step by step: as one product, XLA would turn the whole array over, twice.
    return jax.lax.map(lambda each: push(matrix, each), vectors)


class Sweep(NamedTuple):
    """What one step of a sweep leads to, and what it leaves."""

    following: Float[Array, "D C"]
    record: PyTree  # kept of every step
    sums: PyTree  # added up over all steps and lanes


def sweep(
    step: Callable[[PyTree, Array, PyTree], Sweep],
    rules: Parts,
    loop: Float[Array, "D D"],
    inputs: Parts,
    start: Float[Array, "D B"],
    split: Split,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """What `step(rule, x, input)` records, and its sums, from the first time on or in `reverse`.

    Every step is affine in x, in the tail with the matrix `loop`; rules and inputs are trees of arrays, (H, ...) and
    (H, n, B) in the head. In the tail the rule is one, and inputs are (L, n, C).
    """

    def scan(move: Callable, start: Array, now: PyTree) -> tuple[Array, PyTree, PyTree]:
        def one(carry: tuple, now: PyTree) -> tuple[tuple, PyTree]:
            done = move(carry[0], now)
            return (done.following, jax.tree.map(jnp.add, carry[1], done.sums)), done.record

        first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), now)
        sums = jax.eval_shape(move, start, first).sums
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), sums)
        (last, sums), record = jax.lax.scan(one, (start, nothing), now, reverse=reverse)
        return last, record, sums

    in_head = lambda x, now: step(now[0], x, now[1])
    in_tail = lambda x, now: step(rules.tail, x, now)
    if reverse:
        starts = _starts(in_tail, loop, inputs.tail, start, split, reverse)
        first, tail, late = scan(in_tail, starts, inputs.tail)
        # The first block of each sequence begins where its head ends.
        first = first.reshape(len(first), split.count, split.blocks)[:, :, 0] if split.depth else start
        _, head, early = scan(in_head, first, (rules.head, inputs.head))
    else:
        last, head, early = scan(in_head, start, (rules.head, inputs.head))
        _, tail, late = scan(in_tail, _starts(in_tail, loop, inputs.tail, last, split, reverse), inputs.tail)
    parts = jax.tree.map(Parts, head, tail)
    return parts, jax.tree.map(jnp.add, early, late)


def _starts(
    move: Callable, loop: Float[Array, "D D"], inputs: PyTree, start: Float[Array, "D B"], split: Split, reverse: bool
) -> Float[Array, "D C"]:
    """Where every block starts: all are walked from zero, and from where the one before it then ends."""
    if split.blocks == 1:
        return start
    nothing = jnp.zeros((len(start), split.count * split.blocks), start.dtype)
    ends = jax.lax.scan(lambda x, now: (move(x, now).following, None), nothing, inputs, reverse=reverse)[0]
    ends = jnp.moveaxis(ends.reshape(-1, split.count, split.blocks), -1, 0)  # (C, D, B)
    whole = jnp.linalg.matrix_power(loop, split.depth)
    border = lambda x, end: (multiply(whole, x) + end, x)
    return jnp.moveaxis(jax.lax.scan(border, start, ends, reverse=reverse)[1], 0, -1).reshape(nothing.shape)


def before(parts: Parts, split: Split) -> Parts:
    """x_{t-1} in the place of x_t, and zero in that of the first."""
    head = jnp.concatenate([jnp.zeros_like(parts.head[:1]), parts.head[:-1]])
    if not split.depth:
        return Parts(head, parts.tail)
    ends = parts.tail[-1].reshape(-1, split.count, split.blocks)
    first = jnp.concatenate([parts.head[-1][:, :, None], ends[:, :, :-1]], axis=2).reshape(1, len(ends), -1)
    return Parts(head, jnp.concatenate([first, parts.tail[:-1]]))


def after(parts: Parts, split: Split) -> Parts:
    """x_{t+1} in the place of x_t, and zero in that of the last."""
    if not split.depth:
        return Parts(jnp.concatenate([parts.head[1:], jnp.zeros_like(parts.head[:1])]), parts.tail)
    starts = parts.tail[0].reshape(-1, split.count, split.blocks)
    last = jnp.concatenate([starts[:, :, 1:], jnp.zeros_like(starts[:, :, :1])], axis=2).reshape(1, len(starts), -1)
    return Parts(jnp.concatenate([parts.head[1:], starts[None, :, :, 0]]), jnp.concatenate([parts.tail[1:], last]))


def push(matrix: Float[Array, "I J"], vectors: Float[Array, "J C"]) -> Float[Array, "I C"]:
    """Matrix times vector in every lane."""
    if matrix.shape[1] <= SMALL:
        return jnp.sum(matrix[:, :, None] * vectors, axis=1)
    return multiply(matrix, vectors)
