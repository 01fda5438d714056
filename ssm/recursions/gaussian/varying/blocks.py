"""The walk of a linear-Gaussian model whose covariances keep moving, in lanes (see `forward`).

Covariances first, which see no data, and then means. Arrays are (L, ..., C), lanes last; every step is that of the
square-root filter (`ssm.numeric.batched_roots`).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssm.numeric.batched_roots import Seeing, condition, product, triangular_root
from ssm.passes.blocks import relay
from ssm.recursions.gaussian.steady.blocks import Parts, Split
from ssm.recursions.gaussian.system.dynamics import Dynamics
from ssm.shapes import Array, Flag, Float, PyTree
from ssm.steps import Step, seen_steps

ENTRIES = 3200  # of the roots of all lanes: beyond, XLA hands single operations to threads, and waits for them
LANES, ROW = 128, 8  # at most, and a multiple of what a vector unit holds
SHORTEST = 128  # steps of a block
LARGEST, ENOUGH = 12, 4096  # states or components, and steps of all sequences
WARM = 96  # steps of the block before that are walked first, half of it at most
AGREED = 64  # epsilons
SWEEPS = 3  # at most, unless the schedule says: what forgets more slowly is walked in order as fast


def lanes_for(count: int, total: int, size: int) -> int:
    """How many blocks of each of `count` sequences of `total` steps fill the vector units for D = `size`."""
    wanted = min(most_lanes(size) // count, total // SHORTEST)
    return max(wanted - wanted % ROW if count == 1 else wanted, 1)


def pays(count: int, total: int, size: int, seen: int) -> bool:
    """Whether there is enough to put side by side, and to pay for compiling it: some 2 s for ten states.

    Two states seen through one component are walked in order as fast (`python -m benchmarks kalman_missing_vs_peers`).
    """
    lanes = min(count * lanes_for(count, total, size), most_lanes(size))
    sizes = (size > 2 or seen > 1) and max(size, seen) <= LARGEST
    return sizes and lanes >= ROW and count * total >= ENOUGH


def most_lanes(size: int) -> int:
    """How many lanes are walked as fast as few, for D = `size`."""
    return max(min(LANES, ENTRIES // size**2) // ROW, 1) * ROW


class Roots(NamedTuple):
    """What a walk of covariances records, (L, ..., C)."""

    predicted: Float[Array, "*L D D C"]
    filtered: Float[Array, "*L D D C"]
    deviations: Float[Array, "*L D C"]  # of predicted states
    seeing: Seeing


class Means(NamedTuple):
    """What a walk of means does."""

    predicted: Float[Array, "*L D C"]
    filtered: Float[Array, "*L D C"]
    log_evidence: Float[Array, "*L C"]


class Walk(NamedTuple):
    """Inputs in lanes, and how to walk through them."""

    model: Any
    split: Split
    schedule: Any
    inputs: "_Inputs"  # (L, ..., C)

    @classmethod
    def of(cls, model: Any, batch: Step, schedule: Any) -> "Walk":
        """Lanes of steps (B, T) as observed."""
        count, total = batch.t.shape
        blocks = schedule.lanes or lanes_for(count, total, model.num_dims)
        split = Split(count, total, 0, min(blocks, total))
        return cls(model, split, schedule, _inputs(model, batch, split))

    def cover(self) -> tuple[Flag, Roots]:
        """Of all covariances, and whether borders agreed."""
        return self._sweep(self._cover, self.model.initial_root, self.inputs, self._same_roots)

    def move(self, roots: Roots) -> tuple[Flag, Means]:
        """Of all means, once covariances are known."""
        same = lambda ends, starts: self._same_means(ends, starts, roots.deviations[0])
        return self._sweep(self._move, self.model.initial_mean, (self.inputs, roots.seeing), same)

    def _sweep(self, step: Callable, initial: Array, inputs: PyTree, same: Callable) -> tuple[Flag, Any]:
        """What a step records, in blocks from where the ends of those before lead to."""
        shape = self.split.count, self.split.blocks
        start = jnp.broadcast_to(initial[..., None], (*initial.shape, self.split.count))
        if self.split.blocks == 1:
            return jnp.ones((), bool), _in_groups(step, start, inputs, most_lanes(self.model.num_dims))

        def begin(ends: Float[Array, "*n C"]) -> Float[Array, "*n C"]:
            there = ends.reshape(*ends.shape[:-1], *shape)[..., :-1]
            return jnp.concatenate([start[..., None], there], axis=-1).reshape(ends.shape)

        def walk(starts: Array) -> tuple[Array, Any]:
            ends, record = jax.lax.scan(step, starts, inputs)
            return begin(ends), record

        first = self.split.depth - min(WARM, self.split.depth // 2)
        late = jax.tree.map(lambda leaf: leaf[first:], inputs)
        everywhere = jnp.repeat(start, self.split.blocks, axis=-1)
        starts = begin(jax.lax.scan(lambda x, now: (step(x, now)[0], None), everywhere, late)[0])
        return relay(walk, starts, same, self.schedule.max_sweeps or SWEEPS)

    def _tol(self, array: Array) -> Any:
        return AGREED * jnp.finfo(array.dtype).eps if self.schedule.tol is None else self.schedule.tol

    def _same_roots(self, ends: Float[Array, "D D C"], starts: Float[Array, "D D C"]) -> Flag:
        """Whether no entry of a covariance differs, relative to √(P_ii P_jj)."""
        covariance, other = (jnp.sum(root[:, None] * root, axis=2) for root in (ends, starts))
        scale = jnp.sqrt(jnp.sum(ends**2, axis=1))
        return jnp.all(jnp.abs(covariance - other) <= self._tol(ends) * scale[:, None] * scale)

    def _same_means(self, ends: Float[Array, "D C"], starts: Float[Array, "D C"], deviations: Array) -> Flag:
        """Whether no mean differs, relative to its standard deviation and to what it is in any lane."""
        scale = deviations + jnp.max(jnp.abs(ends), axis=1, keepdims=True)
        return jnp.all(jnp.abs(ends - starts) <= self._tol(ends) * scale)

    def _cover(self, root: Float[Array, "D D C"], now: "_Inputs") -> tuple[Float[Array, "D D C"], Roots]:
        """From the root of p(x_t | y_<t) to that of p(x_{t+1} | y_<=t)."""
        matrix, _, noise = now.emission(self.model)[0]
        rows = product(matrix, root)
        if now.seen is not None:  # nothing seen: unit noise that reads zero
            rows = jnp.where(now.seen, rows, 0)
            noise = jnp.where(now.seen, noise, jnp.eye(len(noise), dtype=noise.dtype)[:, :, None])
        seeing, left = condition(rows, root, noise)
        forward, _, spread = now.transition(self.model)
        filtered = triangular_root(left, jnp.zeros_like(root[:, :, :1]))
        deviations = jnp.sqrt(jnp.sum(root**2, axis=1))
        return triangular_root(product(forward, left), spread), Roots(root, filtered, deviations, seeing)

    def _move(self, mean: Float[Array, "D C"], now: "tuple[_Inputs, Seeing]") -> tuple[Float[Array, "D C"], Means]:
        """From the mean of p(x_t | y_<t) to that of p(x_{t+1} | y_<=t)."""
        inputs, seeing = now
        (matrix, offset, _), y, num_missing = inputs.emission(self.model)
        residual = y - product(matrix, mean) - offset
        if inputs.seen is not None:
            residual = jnp.where(inputs.seen, residual, 0)
        shift, log_evidence = seeing.correct(residual)
        log_evidence = log_evidence + num_missing * jnp.asarray(0.5 * math.log(2 * math.pi), mean.dtype)
        if inputs.seen is not None:
            log_evidence = jnp.where(inputs.seen, log_evidence, 0)
        filtered = mean + shift
        forward, drift, _ = inputs.transition(self.model)
        return product(forward, filtered) + drift, Means(mean, filtered, log_evidence)


class _Inputs(NamedTuple):
    """What a step is told."""

    seen_by: Any  # `Known` at t
    moved_by: Any  # `Known` at t + 1
    y: Any
    seen: Any  # (C,), or None where all is

    def emission(self, model: Any) -> tuple[Dynamics, Array, Any]:
        """What y went through, its value, and how many components are missing."""
        emission, y, num_missing = model._measured(self.seen_by, self.y)
        return _shared(emission), y, num_missing

    def transition(self, model: Any) -> Dynamics:
        """Into the next time."""
        return _shared(model._transition(self.moved_by))


def _in_groups(step: Callable, start: Array, inputs: PyTree, most: int) -> Any:
    """What a step records in C lanes, `most` at a time."""
    count = start.shape[-1]
    walk = lambda both: jax.lax.scan(step, *both)[1]
    if count <= most:
        return walk((start, inputs))
    groups = -(-count // most)
    lanes = -(-count // (groups * ROW)) * ROW

    def grouped(leaf: Array) -> Array:
        full = jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, groups * lanes - count)], mode="edge")
        return jnp.moveaxis(full.reshape(*leaf.shape[:-1], groups, lanes), -2, 0)

    record = jax.lax.map(walk, jax.tree.map(grouped, (start, inputs)))
    together = lambda leaf: jnp.moveaxis(leaf, 0, -2).reshape(*leaf.shape[1:-1], -1)[..., :count]
    return jax.tree.map(together, record)


def _inputs(model: Any, batch: Step, split: Split) -> _Inputs:
    """Those of all steps (B, T), in lanes."""
    prepared = jax.vmap(model.prepare)(batch)
    following = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:, 1:], leaf[:, -1:]], axis=1), prepared.u)
    seen = None if batch.observed is None and batch.padding is None else seen_steps(batch)
    return jax.tree.map(lambda leaf: in_lanes(leaf, split), _Inputs(prepared.u, following, prepared.y, seen))


def _shared(dynamics: Dynamics) -> Dynamics:
    """What all lanes share has one lane."""
    arrays = zip(dynamics, (2, 1, 2), strict=True)
    return Dynamics(*(array if array.ndim > rank else array[..., None] for array, rank in arrays))


def in_lanes(leaf: Array, split: Split) -> Array:
    """(B, T, ...) to (L, ..., C)."""
    parts = split.split(leaf.reshape(*leaf.shape[:2], -1))
    return parts.tail.reshape(len(parts.tail), *leaf.shape[2:], parts.tail.shape[-1])


def joined(leaf: Array, split: Split) -> Array:
    """(L, ..., C) to (B, T, ...)."""
    flat = leaf.reshape(len(leaf), -1, leaf.shape[-1])
    none = jnp.zeros((0, flat.shape[1], split.count), leaf.dtype)
    return split.join(Parts(none, flat)).reshape(split.count, split.total, *leaf.shape[1:-1])
