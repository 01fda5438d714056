"""The forward-backward algorithm of one long chain, in blocks side by side (see `ssm.schedules.SideBySide`).

A step of a chain with few states is too little work for a processor: it waits for each step to finish. C blocks
of L steps, T = C L, give every step C lanes of work. Arrays are (L, K, C): lanes last, in long rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import least_lost
from ssm.numeric.linalg import HIGHEST
from ssm.passes.blocks import Batch, Layout, relay
from ssm.shapes import Array, Bool, Flag, Float, PyTree
from ssm.steps import Step

# Up to this many states a broadcast product and sum beats a matrix product (`python -m benchmarks side_by_side`).
SMALL = 12
MEMORY = 128
SWEEPS = 6  # at most, unless the schedule says


class Forward(NamedTuple):
    """What the way there finds."""

    agreed: Flag
    filtered: Float[Array, "L K C"]
    totals: Float[Array, "L C"]  # normalisers


class Backward(NamedTuple):
    """What the way back finds."""

    agreed: Flag
    smoothed: Float[Array, "L K C"]
    moves: Float[Array, "K K"]  # Σ_t filtered_t(i) gain_{t+1}(j) over all lanes, to be multiplied by A_ij


class Chain(eqx.Module):
    """A homogeneous chain and the scaled likelihoods of its lanes."""

    initial: Float[Array, "K"]
    transition: Float[Array, "K K"]
    weights: Float[Array, "L K C"]
    real: Bool[Array, "L C"]
    layout: Layout | Batch = eqx.field(static=True)
    tol: float | None = eqx.field(static=True)
    max_sweeps: int | None = eqx.field(static=True)

    def forward(self) -> Forward:
        """Filtered probabilities, normalised at every step."""

        def correct(prior: Array, weights: Array) -> tuple[Array, Array]:
            joint = prior * weights
            total = jnp.sum(joint, axis=0)
            return joint / total, total

        def step(carry: tuple[Array, Array], weights: Array) -> tuple[tuple[Array, Array], tuple]:
            prior, smallest = carry
            filtered, total = correct(prior, weights)
            after = self._push(filtered)
            return (after, jnp.minimum(smallest, after * total)), (filtered, total)

        def begin(ends: Float[Array, "K C"]) -> Float[Array, "K C"]:
            if isinstance(self.layout, Batch):
                return jnp.broadcast_to(self.initial[:, None], ends.shape)
            return jnp.concatenate([self.initial[:, None], ends[:, :-1]], axis=1)

        move = lambda prior, weights: (self._push(correct(prior, weights)[0]), None)
        vague = jnp.full((self.size, self.layout.lanes), 1 / self.size, self.initial.dtype)
        starts = begin(jax.lax.scan(move, vague, self.weights[self.layout.depth - self.memory :])[0])

        def walk(starts: Float[Array, "K C"]) -> tuple[Float[Array, "K C"], tuple[Array, Array, Array]]:
            (ends, smallest), (filtered, totals) = jax.lax.scan(step, (starts, jnp.ones_like(starts)), self.weights)
            return begin(ends), (filtered, totals, smallest)

        agreed, (filtered, totals, smallest) = self._relay(walk, starts)
        # No prediction may be so small that what a step can lose of it, to numbers too small to be held, is more than
        # rounding. Where one is, the proof of `ssm.beliefs.Bracketed` may still hold, in order.
        kept = smallest >= least_lost(self.initial) / jnp.finfo(self.initial.dtype).eps
        return Forward(agreed & jnp.all(kept) & jnp.all(totals > 0), filtered, totals)

    def backward(self, forward: Forward, counted: Float[Array, "C"] | None = None) -> Backward:
        """Smoothed probabilities and expected moves, with gain_t = weights_t b_t / total_t and b_{t-1} = A gain_t.

        Every lane's moves are counted once, or as often as `counted` says.
        """
        shares = self.weights / forward.totals[:, None]
        often = self.layout.after(self.real).astype(shares.dtype)
        seen = (shares, forward.filtered, often if counted is None else often * counted)
        last = forward.filtered[-1]

        def step(carry: tuple[Array, Array], seen: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
            gain, moves = carry
            share, filtered, often = seen
            back = self._pull(gain)
            moves = moves + self._pairs(filtered, gain * often)
            return (share * back, moves), filtered * back

        def begin(ends: Float[Array, "K C"]) -> Float[Array, "K C"]:
            if isinstance(self.layout, Batch):
                return jnp.ones_like(ends)
            nexts = jnp.concatenate([ends[:, 1:], jnp.ones_like(ends[:, :1])], axis=1)
            # Σ filtered b = 1 everywhere: what rounding has made of it is taken out at every border.
            return nexts / jnp.sum(last * self._pull(nexts), axis=0)

        move = lambda gain, share: (share * self._pull(gain), None)
        starts = begin(jax.lax.scan(move, jnp.ones_like(last), shares[: self.memory], reverse=True)[0])
        nothing = jnp.zeros((self.size, self.size) + last.shape[1:] * (self.size <= SMALL), last.dtype)

        def walk(starts: Float[Array, "K C"]) -> tuple[Float[Array, "K C"], tuple[Array, Array]]:
            (ends, moves), smoothed = jax.lax.scan(step, (starts, nothing), seen, reverse=True)
            return begin(ends), (smoothed, moves)

        agreed, (smoothed, moves) = self._relay(walk, starts)
        moves = jnp.sum(moves, axis=2) if moves.ndim == 3 else moves
        return Backward(agreed & jnp.all(jnp.isfinite(moves)), smoothed, moves)

    def _relay(self, walk: Callable, starts: Float[Array, "K C"]) -> tuple[Flag, PyTree]:
        """What the last walk recorded, repeated until the starts of all lanes agree with their neighbours' ends."""
        if isinstance(self.layout, Batch):  # sequences of their own, which know where they start
            return jnp.ones((), bool), walk(starts)[1]
        tol = 32 * jnp.finfo(starts.dtype).eps if self.tol is None else self.tol
        same = lambda ends, starts: jnp.abs(ends - starts) <= tol * jnp.maximum(jnp.abs(ends), jnp.abs(starts))
        return relay(walk, starts, same, self.max_sweeps or SWEEPS)

    @property
    def size(self) -> int:
        """K."""
        return len(self.initial)

    @property
    def memory(self) -> int:
        """How many steps a vague start is walked to become a first guess."""
        return 0 if isinstance(self.layout, Batch) else min(MEMORY, self.layout.depth)

    def _push(self, probs: Float[Array, "K C"]) -> Float[Array, "K C"]:
        if self.size <= SMALL:
            return jnp.sum(self.transition[:, :, None] * probs[:, None], axis=0)
        return jnp.matmul(self.transition.T, probs, precision=HIGHEST)

    def _pull(self, values: Float[Array, "K C"]) -> Float[Array, "K C"]:
        if self.size <= SMALL:
            return jnp.sum(self.transition.T[:, :, None] * values[:, None], axis=0)
        return jnp.matmul(self.transition, values, precision=HIGHEST)

    def _pairs(self, before: Float[Array, "K C"], gain: Float[Array, "K C"]) -> Float[Array, "K K *C"]:
        if self.size <= SMALL:
            return before[:, None] * gain[None]
        return jnp.matmul(before, gain.T, precision=HIGHEST)


def lay_out(steps: Step, size: int, lanes: int | None) -> Layout | Batch:
    """Lanes for one sequence (T,) of a chain of `size` states, or for a batch (B, T)."""
    if steps.t.ndim == 2:
        return Batch(steps.t.shape[1], steps.t.shape[0])
    total = steps.t.shape[0]
    return Layout(total, min(lanes or suggested_lanes(total, size), total))


def suggested_lanes(total: int, size: int) -> int:
    """Enough lanes to fill the vector units, of blocks long enough for a chain to forget."""
    return max(min(128 if size <= SMALL else 64, total // 64), 1)
