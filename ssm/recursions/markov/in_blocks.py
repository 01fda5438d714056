"""A hidden Markov model of a long sequence in blocks, or of a batch, side by side (see `ssm.schedules.SideBySide`)."""

import dataclasses
from typing import Any, Self

import jax.numpy as jnp

from ssm.beliefs import Categorical, LogCategorical
from ssm.numeric.trees import index
from ssm.passes.base import AbstractPass, Answer
from ssm.passes.blocks import still, unbroken
from ssm.recursions.markov import blocks
from ssm.recursions.markov.counts import Counts, any_component
from ssm.recursions.markov.in_order import ChainInOrder, ScaledChain, quickened
from ssm.scan import predictions
from ssm.schedules import AbstractSchedule, SideBySide
from ssm.shapes import Array, Flag, Float, Keys, Scalar
from ssm.steps import Step
from ssm.transitions.homogeneous import Homogeneous

LONG, MOST_STATES, MANY = 2000, 64, 8  # `python -m benchmarks side_by_side`


class ChainInBlocks(AbstractPass):
    """Scaled probabilities of every block, relayed until borders agree."""

    chain: blocks.Chain
    there: blocks.Forward
    increments: Float[Array, "*B T"]

    @classmethod
    def suits(cls, model: Any) -> bool:
        """With one matrix for all times."""
        return isinstance(model.dynamics, Homogeneous)

    @classmethod
    def pays(cls, model: Any, shape: tuple[int, ...]) -> bool:
        """Long sequences of not too many states, and batches."""
        enough = shape[0] >= LONG and model.num_states <= MOST_STATES if len(shape) == 1 else shape[0] >= MANY
        return cls.suits(model) and enough

    @classmethod
    def takes(cls, model: Any, steps: Step, schedule: AbstractSchedule) -> bool:
        """Unbroken sequences."""
        return isinstance(schedule, SideBySide) and cls.suits(model) and unbroken(steps)

    @classmethod
    def of(cls, model: Any, steps: Step, schedule: Any, key: Keys | None = None) -> Self:
        """Steps laid out as the schedule says, their likelihoods, and the way there."""
        initial, transition, emission = model.initial, model.transition, model.emission
        layout = blocks.lay_out(steps, len(initial), schedule.lanes)
        split = layout.split(steps)
        real, observed = layout.real(steps), emission.informed(split.u, split.observed)
        seen = real if observed is None else real & any_component(observed).reshape(real.shape)
        weights, shift = emission.side_by_side(split.y, split.u, split.observed, seen)
        chain = blocks.Chain(initial, transition, weights, real, layout, schedule.tol, schedule.max_sweeps)
        there = chain.forward()
        return cls(model, steps, chain, there, layout.join(jnp.where(seen, jnp.log(there.totals) + shift, 0)))

    @property
    def holds(self) -> Flag:
        """Whether borders agree, and numbers are in their range."""
        return self.there.agreed

    @property
    def log_evidence(self) -> Float[Array, "*B T"]:
        """Logarithms of the normalisers."""
        return self.increments

    def beliefs(self) -> Answer:
        """Predicted ones are made of the filtered ones."""
        filtered = self._filtered()

        def ahead(steps: Step, filtered: Categorical) -> Categorical:
            recursion, prepared = quickened(self.model, steps)
            return ScaledChain.keep(predictions(recursion, prepared, ScaledChain.resume(filtered), at_once=True))

        return Answer(self.holds, (self.over(ahead)(self.steps, filtered), filtered))

    def last(self) -> Answer:
        """As logarithms."""
        last = lambda filtered: LogCategorical(index(filtered, -1).log_probs)
        return Answer(self.holds, self.over(last)(self._filtered()))

    def smoothed(self) -> Answer:
        """Back in blocks, too."""
        back = self.chain.backward(self.there)
        smoothed = still(self.chain.layout.join(back.smoothed), self.steps)
        return Answer(self.holds & back.agreed, Categorical(smoothed))

    def statistics(self) -> Answer:
        """Of one sequence; those of each of a batch in order."""
        if self.steps.t.ndim == 2:
            return super().statistics()
        holds, found = self._counts(None)
        size, (depth, lanes) = self.chain.size, self.chain.real.shape
        states = jnp.swapaxes(found.states.reshape(depth, lanes, size), 1, 2)
        return Answer(holds, dataclasses.replace(found, states=self.chain.layout.join(states)))

    def maximised(self, frozen: frozenset[str]) -> Answer:
        """From statistics in the order of the blocks."""
        holds, found = self._counts(None)
        return Answer(holds, self.model.maximise(found, self._arranged(self.steps), frozen))

    def sensitivities(self, counted: Float[Array, "*B"]) -> Answer:
        """The statistics of all sequences together."""
        return self._counts(counted if self.steps.t.ndim == 2 else None)

    def first_order(self, model: Any, steps: Step, sensitivities: Counts, counted: Float[Array, "*B"]) -> Scalar:
        """In the order of the blocks."""
        found = model.first_order(model.prepare(self._arranged(steps)), sensitivities)
        return found if self.steps.t.ndim == 2 else counted * found

    smooth = staticmethod(ChainInOrder.smooth)
    lag = staticmethod(ChainInOrder.lag)
    draw = staticmethod(ChainInOrder.draw)

    def _arranged(self, steps: Step) -> Step:
        """Steps as those of one sequence (L C,), step after step of all lanes."""
        return dataclasses.replace(self.chain.layout.split(steps), padding=None)

    def _counts(self, counted: Float[Array, "B"] | None) -> Answer:
        """Statistics of all sequences together, each as often as `counted` says, in the order of `_arranged`."""
        back = self.chain.backward(self.there, counted)
        often = self.chain.real.astype(back.smoothed.dtype)
        states = back.smoothed * (often if counted is None else often * counted)[:, None]
        initial = jnp.sum(states[0], axis=1) if self.steps.t.ndim == 2 else states[0, :, 0]
        rows = jnp.swapaxes(states, 0, 1).reshape(self.chain.size, -1)  # (K, L C)
        return Answer(self.holds & back.agreed, Counts(initial, self.chain.transition * back.moves, rows.T))

    def _filtered(self) -> Categorical:
        return Categorical(still(self.chain.layout.join(self.there.filtered), self.steps))
