"""A linear-Gaussian model with constant matrices, in lanes: covariances once, and means as a linear network.

Filter covariances never see the data, so they are walked once for all sequences and until they rest
(`ssm.recursions.riccati`). What remains for every sequence is an affine recursion of its means,

    a_{t+1} = F (a_t + K_t (y_t - d_t - H a_t)) + b_{t+1},

the same at every step once the gain K_t is: blocks of the rest of a sequence are walked side by side, each from
zero, and then from where the block before it ends. That is exact; only the covariances come to rest by a tolerance.
Arrays are (L, n, C), lanes last, in long rows.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssm.linalg import multiply
from ssm.shapes import Array, Float

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

    def split(self, array: Float[Array, "B T n"]) -> "Parts":
        """Head and tail; the last block is filled up with zeros."""
        extra = self.head + self.depth * self.blocks - self.total
        tail = jnp.pad(array[:, self.head :], ((0, 0), (0, extra), (0, 0)))
        tail = tail.reshape(self.count * self.blocks, self.depth, array.shape[2])
        return Parts(jnp.moveaxis(array[:, : self.head], 0, -1), jnp.moveaxis(tail, 0, -1))

    def join(self, parts: "Parts") -> Float[Array, "B T n"]:
        """The way back."""
        tail = jnp.moveaxis(parts.tail, -1, 0)
        tail = tail.reshape(self.count, self.blocks * self.depth, tail.shape[2])
        return jnp.concatenate([jnp.moveaxis(parts.head, -1, 0), tail[:, : self.total - self.head]], axis=1)


class Parts(NamedTuple):
    """An array in lanes, or what acts on one: step by step in the head, the same for all steps of the tail."""

    head: Float[Array, "H *n"]
    tail: Float[Array, "*n"]

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
        return jax.lax.map(lambda each: _push(*each), (matrix, vectors))
    # Step by step: as one product, XLA would turn the whole array over, twice.
    return jax.lax.map(lambda each: _push(matrix, each), vectors)


def walk(matrix: Parts, forcing: Parts, start: Float[Array, "D B"], split: Split) -> Parts:
    """x_1 = start, x_{t+1} = matrix_t x_t + forcing_t: all x_t."""
    last, head = jax.lax.scan(lambda x, now: (_push(now[0], x) + now[1], x), start, (matrix.head, forcing.head))
    return Parts(head, _blocks(matrix.tail, forcing.tail, last, split, reverse=False))


def walk_back(matrix: Parts, forcing: Parts, split: Split) -> Parts:
    """x_{T+1} = 0, x_t = matrix_t x_{t+1} + forcing_t: all x_1 .. x_T."""
    nothing = jnp.zeros((forcing.head.shape[1], split.count), forcing.head.dtype)
    tail, first = _blocks(matrix.tail, forcing.tail, nothing, split, reverse=True), nothing
    if split.depth:  # the first block of each sequence begins where its head ends
        first = tail[0].reshape(-1, split.count, split.blocks)[:, :, 0]
    step = lambda x, now: (_push(now[0], x) + now[1],) * 2
    return Parts(jax.lax.scan(step, first, (matrix.head, forcing.head), reverse=True)[1], tail)


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


def pairs(left: Parts, right: Parts) -> Float[Array, "I J"]:
    """Σ left rightᵀ over all steps and lanes."""
    # Step by step into one sum: 1.6 ms where turning the arrays over for one product took 2.5 (1000 × 10 × 100).
    add = lambda total, now: (total + multiply(now[0], now[1].T), None)
    total = jnp.zeros((left.head.shape[1], right.head.shape[1]), left.head.dtype)
    for part in zip(left, right, strict=True):
        total = jax.lax.scan(add, total, part)[0]
    return total


def _blocks(
    matrix: Float[Array, "D D"], forcing: Float[Array, "L D C"], start: Float[Array, "D B"], split: Split, reverse: bool
) -> Float[Array, "L D C"]:
    """All x, before each step on the way there, and after it on the way back."""
    move = lambda x, force: _push(matrix, x) + force
    starts = start
    if split.blocks > 1:
        zeros = jnp.zeros_like(forcing[0])
        ends = jax.lax.scan(lambda x, force: (move(x, force), None), zeros, forcing, reverse=reverse)[0]
        ends = jnp.moveaxis(ends.reshape(-1, split.count, split.blocks), -1, 0)  # (C, D, B)
        whole = jnp.linalg.matrix_power(matrix, split.depth)
        border = lambda x, end: (multiply(whole, x) + end, x)
        starts = jnp.moveaxis(jax.lax.scan(border, start, ends, reverse=reverse)[1], 0, -1).reshape(zeros.shape)
    if reverse:
        return jax.lax.scan(lambda x, force: (move(x, force),) * 2, starts, forcing, reverse=True)[1]
    return jax.lax.scan(lambda x, force: (move(x, force), x), starts, forcing)[1]


def _push(matrix: Float[Array, "I J"], vectors: Float[Array, "J C"]) -> Float[Array, "I C"]:
    if matrix.shape[1] <= SMALL:
        return jnp.sum(matrix[:, :, None] * vectors, axis=1)
    return multiply(matrix, vectors)
