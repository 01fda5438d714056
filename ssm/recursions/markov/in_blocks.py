"""A hidden Markov model of one long sequence, or of a batch, in lanes (see `ssm.schedules.SideBySide`)."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from ssm.beliefs import Categorical
from ssm.emissions.common.base import AbstractEmission
from ssm.numeric.trees import times
from ssm.passes.blocks import still
from ssm.recursions.markov import blocks
from ssm.recursions.markov.counts import Counts, any_component
from ssm.scan import Saved
from ssm.shapes import Array, Bool, Float
from ssm.steps import Step


class InLanes(NamedTuple):
    """The chain of some steps in lanes, and what makes log p(y_t | y_<t) of its normalisers."""

    chain: blocks.Chain
    steps: Step  # as they came, (T,) or (B, T)
    seen: Bool[Array, "L C"]
    shift: Float[Array, "L C"]

    @classmethod
    def of(
        cls,
        emission: AbstractEmission,
        initial: Float[Array, "K"],
        transition: Float[Array, "K K"],
        steps: Step,
        schedule: Any,
    ) -> "InLanes":
        """Steps laid out as the schedule says, and their likelihoods."""
        layout = blocks.lay_out(steps, len(initial), schedule.lanes)
        split = layout.split(steps)
        real, observed = layout.real(steps), emission.informed(split.u, split.observed)
        seen = real if observed is None else real & any_component(observed).reshape(real.shape)
        weights, shift = emission.side_by_side(split.y, split.u, split.observed, seen)
        chain = blocks.Chain(initial, transition, weights, real, layout, schedule.tol, schedule.max_sweeps)
        return cls(chain, steps, seen, shift)

    def forward(self) -> tuple[Array, Saved]:
        """As `AbstractRecursion.forward_side_by_side`."""
        there = self.chain.forward()
        filtered = still(self.chain.layout.join(there.filtered), self.steps)
        return there.agreed, Saved(None, Categorical(filtered), self._evidence(there))

    def smooth(self) -> tuple[Array, Categorical, Array]:
        """As `AbstractReversibleRecursion.smooth_side_by_side`."""
        there = self.chain.forward()
        back = self.chain.backward(there)
        smoothed = still(self.chain.layout.join(back.smoothed), self.steps)
        return there.agreed & back.agreed, Categorical(smoothed), self._evidence(there)

    def walk(self) -> tuple[Array, "tuple[InLanes, blocks.Forward]", Array]:
        """As `AbstractDifferentiable.walk_side_by_side`."""
        there = self.chain.forward()
        return there.agreed, (self, there), self._evidence(there)

    def expect(self, there: blocks.Forward, counted: Float[Array, "B"] | None) -> tuple[Array, Counts]:
        """As `AbstractExpectation.statistics_side_by_side`."""
        back = self.chain.backward(there, counted)
        often = self.chain.real.astype(back.smoothed.dtype)
        states = back.smoothed * (often if counted is None else often * counted)[:, None]
        initial = jnp.sum(states[0], axis=1) if self.steps.t.ndim == 2 else states[0, :, 0]
        rows = jnp.swapaxes(states, 0, 1).reshape(self.chain.size, -1)  # (K, L C)
        counts = Counts(initial, self.chain.transition * back.moves, rows.T)
        return back.agreed, counts

    def _evidence(self, there: blocks.Forward) -> Float[Array, "..."]:
        return self.chain.layout.join(jnp.where(self.seen, jnp.log(there.totals) + self.shift, 0))


def arranged(steps: Step, size: int, schedule: Any) -> Step:
    """As `AbstractExpectation.arrange`, for a chain of `size` states."""
    layout = blocks.lay_out(steps, size, schedule.lanes)
    return dataclasses.replace(layout.split(steps), padding=None)


def arranged_counts(counts: Counts, steps: Step, schedule: Any, counted: Array | None) -> Counts:
    """As `AbstractExpectation.arrange_statistics`."""
    layout = blocks.lay_out(steps, counts.initial.shape[-1], schedule.lanes)
    counts = counts if counted is None else times(counts, counted)
    states = layout.split(counts.states)
    states = jnp.where(layout.real(steps).reshape(-1, 1), states, 0)
    sums = lambda leaf: jnp.sum(leaf, axis=0) if steps.t.ndim == 2 else leaf
    return Counts(sums(counts.initial), sums(counts.transitions), states)
