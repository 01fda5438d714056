"""The best path of one sequence, or of a batch, in lanes (see `ssm.schedules.SideBySide` and `lanes`)."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.numeric.logspace import log
from ssm.numeric.trees import index
from ssm.passes.base import AbstractWay, Answer
from ssm.passes.blocks import Batch, Layout, relay, unbroken
from ssm.recursions.markov import blocks
from ssm.recursions.markov.counts import any_component
from ssm.schedules import AbstractSchedule, SideBySide
from ssm.shapes import Array, Bool, Flag, Float, Int, Integer, Keys
from ssm.steps import Step
from ssm.transitions.homogeneous import Homogeneous

LONG = 8000  # from this length on blocks pay
FEW = 8  # up to this many lanes a step of many states is one reduction, beyond it a loop over states


class Record(NamedTuple):
    """What the way there keeps of every step."""

    before: Integer[Array, "L K C"] | None  # best predecessors
    scores: Float[Array, "L K C"] | None
    gains: Float[Array, "L C"]  # of the best score
    last: Float[Array, "K C"]  # scores of the last step that is no padding


class MaxChain(eqx.Module):
    """A homogeneous chain with max-product in the place of sum-product, and the log-likelihoods of its lanes.

    Scores are relative to the best one, whose gain is recorded at every step.
    """

    initial: Float[Array, "K"]  # logarithms, as is the transition
    transition: Float[Array, "K K"]
    rows: Float[Array, "L K C"]
    real: Bool[Array, "L C"]
    whole: bool = eqx.field(static=True)  # every lane is a sequence without padding
    layout: Layout | Batch = eqx.field(static=True)
    tol: float | None = eqx.field(static=True)
    max_sweeps: int | None = eqx.field(static=True)

    def best(self) -> tuple[Flag, Int[Array, "*B T"], Float[Array, "*B"]]:
        """Whether the answer holds, the best path, and its log-probability."""
        there, record = self._forward()
        back, path = self._backward(record)
        gains = jnp.where(self.real, record.gains, 0)
        log_prob = jnp.sum(gains, axis=0) if self.batched else jnp.sum(gains)
        path = self.layout.join(path).astype(jnp.arange(1).dtype)
        return there & back, path, log_prob

    def _forward(self) -> tuple[Flag, Record]:
        """The way there."""

        def step(carry: tuple[Array, Array], now: tuple[Array, Array | None]) -> tuple[tuple[Array, Array], tuple]:
            (prior, last), (row, real) = carry, now
            scores = prior + row
            best = jnp.max(scores, axis=0)
            scores = jnp.where(best == -jnp.inf, prior, scores - best)  # what no state can emit is passed over
            moved, before = self._move(scores)
            last = scores if real is None else jnp.where(real, scores, last)
            return (moved, last), (before, scores if before is None else None, best)

        def begin(ends: Float[Array, "K C"]) -> Float[Array, "K C"]:
            if self.batched:
                return jnp.broadcast_to(self.initial[:, None], ends.shape)
            return jnp.concatenate([self.initial[:, None], ends[:, :-1]], axis=1)

        def walk(starts: Float[Array, "K C"]) -> tuple[Float[Array, "K C"], Record]:
            (ends, last), (before, scores, gains) = jax.lax.scan(step, (starts, vague), steps)
            return begin(ends), Record(before, scores, gains, last)

        vague = jnp.zeros((self.size, self.layout.lanes), self.initial.dtype)
        steps = self.rows, None if self.whole else self.real
        late = index(steps, slice(self.layout.depth - self.memory, None))
        starts = begin(jax.lax.scan(lambda *carry: (step(*carry)[0], None), (vague, vague), late)[0][0])
        return self._relay(walk, starts, self._same)

    def _backward(self, record: Record) -> tuple[Flag, Integer[Array, "L C"]]:
        """States from the last to the first."""
        ends = jnp.argmax(self._last(record), axis=0).astype(self.kind)
        seen = (record.scores if record.before is None else record.before, self.layout.after(self.real))

        def step(state: Integer[Array, "C"], seen: tuple) -> tuple[Array, Array]:
            kept, moves = seen
            state = jnp.where(moves, self._before(kept, state), state)
            return state, state

        def begin(firsts: Integer[Array, "C"]) -> Integer[Array, "C"]:
            return ends if self.batched else jnp.concatenate([firsts[1:], ends[-1:]])

        def walk(starts: Integer[Array, "C"]) -> tuple[Integer[Array, "C"], Integer[Array, "L C"]]:
            firsts, path = jax.lax.scan(step, starts, seen, reverse=True)
            return begin(firsts), path

        early = jax.tree.map(lambda leaf: leaf[: self.memory], seen)
        starts = begin(jax.lax.scan(lambda *carry: (step(*carry)[0], None), ends, early, reverse=True)[0])
        return self._relay(walk, starts, jnp.equal)

    def _last(self, record: Record) -> Float[Array, "K C"]:
        """The scores that the last state of each lane's sequence is the best of."""
        if isinstance(self.layout, Batch):
            return record.last
        lane = (self.layout.total - 1) // self.layout.depth
        return jnp.broadcast_to(record.last[:, lane, None], record.last.shape)

    def _move(self, scores: Float[Array, "K C"]) -> tuple[Float[Array, "K C"], Array | None]:
        """max_i (δ_i + log A_ij), and of few states that i."""
        reached = lambda i: self.transition[i][:, None] + scores[i]
        if self.size <= blocks.SMALL:
            moved, before = reached(0), jnp.zeros(scores.shape, self.kind)
            for i in range(1, self.size):
                before = jnp.where(reached(i) > moved, jnp.asarray(i, self.kind), before)
                moved = _larger(reached(i), moved)
            return moved, before
        nothing = jnp.asarray(-jnp.inf, scores.dtype)
        if self.layout.lanes <= FEW:
            return jax.lax.reduce(self.transition[:, :, None] + scores[:, None], nothing, _larger, (0,)), None
        body = lambda i, moved: _larger(reached(i), moved)
        return jax.lax.fori_loop(0, self.size, body, jnp.broadcast_to(nothing, scores.shape)), None

    def _before(self, kept: Array, state: Integer[Array, "C"]) -> Integer[Array, "C"]:
        """The best predecessor of one state in each lane, the first of them where several are."""
        states = jnp.arange(self.size, dtype=self.kind)[:, None]
        if self.size <= blocks.SMALL:
            return jnp.max(jnp.where(states == state, kept, 0), axis=0)
        scores = kept + self.transition[:, state]
        return jnp.min(jnp.where(scores == jnp.max(scores, axis=0), states, self.size - 1), axis=0)

    def _same(self, ends: Float[Array, "K C"], starts: Float[Array, "K C"]) -> Bool[Array, "K C"]:
        tol = 32 * jnp.finfo(starts.dtype).eps if self.tol is None else self.tol
        return (ends == starts) | (jnp.abs(ends - starts) <= tol * jnp.maximum(jnp.abs(starts), 1))

    def _relay(self, walk: Callable, starts: Array, same: Callable) -> tuple[Flag, Any]:
        if self.independent:
            return jnp.ones((), bool), walk(starts)[1]
        return relay(walk, starts, same, self.max_sweeps or blocks.SWEEPS)

    @property
    def size(self) -> int:
        """K."""
        return len(self.initial)

    @property
    def kind(self) -> Any:
        """The integers that states are kept as."""
        return jnp.uint8 if self.size <= blocks.SMALL else jnp.int32

    @property
    def batched(self) -> bool:
        """Whether every lane is a sequence."""
        return isinstance(self.layout, Batch)

    @property
    def independent(self) -> bool:
        """Whether every lane knows where it starts."""
        return self.batched or self.layout.lanes == 1

    @property
    def memory(self) -> int:
        """As for `blocks.Chain`."""
        return 0 if self.independent else min(blocks.MEMORY, self.layout.depth)


class BestInBlocks(AbstractWay):
    """The best path by blocks of one sequence, relayed until they agree, or of all sequences of a batch."""

    chain: MaxChain

    @classmethod
    def suits(cls, model: Any) -> bool:
        """A chain with one matrix for all times."""
        return isinstance(model.model.dynamics, Homogeneous)

    @classmethod
    def pays(cls, model: Any, shape: tuple[int, ...]) -> bool:
        """Always: one block is the shortest loop for one sequence."""
        return cls.suits(model)

    @classmethod
    def takes(cls, model: Any, steps: Step, schedule: AbstractSchedule) -> bool:
        """Unbroken sequences."""
        return isinstance(schedule, SideBySide) and cls.suits(model) and unbroken(steps)

    @classmethod
    def of(cls, model: Any, steps: Step, schedule: Any, key: Keys | None = None) -> Self:
        """Steps laid out as the schedule says."""
        return cls(laid_out(model.model, steps, schedule))

    def best(self) -> Answer:
        """The most probable path and its log-probability."""
        agreed, *found = self.chain.best()
        return Answer(None if self.chain.independent else agreed, tuple(found))


class BestInOneBlock(BestInBlocks):
    """The best path by one block, which always holds."""

    @classmethod
    def of(cls, model: Any, steps: Step, schedule: Any, key: Keys | None = None) -> Self:
        """Steps in one block."""
        return cls(laid_out(model.model, steps, dataclasses.replace(schedule, lanes=1)))


def laid_out(model: Any, steps: Step, schedule: Any) -> MaxChain:
    """Steps (T,) or (B, T) as observed of a chain, laid out as the schedule says."""
    emission, initial = model.emission, model.initial
    one = 1 if steps.t.shape[-1] < LONG else None
    layout = blocks.lay_out(steps, len(initial), schedule.lanes or one)
    split, real = layout.split(steps), layout.real(steps)
    observed = emission.informed(split.u, split.observed)
    seen = None if observed is None else any_component(observed).reshape(real.shape)
    if layout.lanes > 1:
        rows = emission.log_side_by_side(split.y, split.u, split.observed, real if seen is None else seen)
    else:
        rows = emission.log_likelihoods(split.y, split.u, split.observed)[:, :, None]
        rows = rows if seen is None else jnp.where(seen[:, None], rows, 0)
    whole = steps.padding is None and (layout.lanes == 1 or steps.t.ndim == 2)
    return MaxChain(log(initial), log(model.transition), rows, real, whole, layout, schedule.tol, schedule.max_sweeps)


def _larger(a: Array, b: Array) -> Array:
    """One instruction, where `jnp.maximum` takes several to pass on NaN; the best score of all states does that."""
    return jnp.where(a > b, a, b)
