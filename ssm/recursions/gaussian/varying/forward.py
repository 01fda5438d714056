"""A linear-Gaussian model whose covariances keep moving, in lanes: matrices vary in time, or data are missing.

What a filter knew long ago it forgets, of covariances twice as fast as of means. So blocks of a long sequence are
walked side by side, from where a walk over the end of the block before leads, and again from each other's ends until
every border agrees (as a chain: `markov/blocks.py`). By then each block starts where the one before it ended.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.numeric.trees import index
from ssm.passes.backward import smooth_backward
from ssm.passes.blocks import still, still_ahead
from ssm.recursions.gaussian.varying.blocks import Walk, in_lanes, joined
from ssm.scan import Saved
from ssm.schedules.sequential import Sequential
from ssm.shapes import Array, Flag, Float
from ssm.steps import Step


class Moving(NamedTuple):
    """The walk there."""

    model: Any
    steps: Step  # as observed, (T,) or (B, T)
    holds: Flag
    predicted: Gaussian
    filtered: Gaussian
    log_evidence: Float[Array, "*B T"]

    @classmethod
    def of(cls, model: Any, steps: Step, schedule: Any) -> "Moving":
        """Covariances first, which see no data, and then means: sweeps until every border agrees."""
        batch = steps if steps.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], steps)
        walk = there = Walk.of(model, batch, schedule)
        if walk.inputs.seen is None:  # the same covariances for all sequences
            there = Walk.of(model, jax.tree.map(lambda leaf: leaf[:1], batch), schedule)
        settled, roots = there.cover()
        if there.split != walk.split:
            every = lambda leaf: jnp.repeat(joined(leaf, there.split), len(batch.t), axis=0)
            roots = jax.tree.map(lambda leaf: in_lanes(every(leaf), walk.split), roots)
        agreed, means = walk.move(roots)
        parts = (means.predicted, roots.predicted), (means.filtered, roots.filtered), means.log_evidence
        predicted, filtered, log_evidence = jax.tree.map(lambda leaf: joined(leaf, walk.split), parts)
        holds = settled & agreed & jnp.all(jnp.isfinite(log_evidence))
        after = still(Gaussian(*filtered), batch)
        found = still_ahead(Gaussian(*predicted), after, batch), after, log_evidence
        return cls(model, steps, holds, *(found if steps.t.ndim == 2 else index(found, 0)))

    @classmethod
    def again(cls, model: Any, steps: Step, found: tuple) -> "Moving":
        """The same, from what `walk` found."""
        return cls(model, steps, jnp.ones((), bool), *found)

    def walk(self) -> tuple[Flag, tuple, Float[Array, "*B T"]]:
        """As `AbstractDifferentiable.walk_side_by_side`."""
        return self.holds, (self.predicted, self.filtered, self.log_evidence), self.log_evidence

    def forward(self) -> tuple[Flag, Saved]:
        """As `AbstractRecursion.forward_side_by_side`."""
        return self.holds, Saved(self.predicted, self.filtered, self.log_evidence)

    def smooth(self) -> tuple[Flag, Gaussian, Float[Array, "*B T"]]:
        """As `AbstractReversibleRecursion.smooth_side_by_side`: the way back in order."""

        def back(steps: Step, predicted: Gaussian, filtered: Gaussian) -> Gaussian:
            return smooth_backward(self.model, self.model.prepare(steps), predicted, filtered, Sequential())

        return self.holds, self.each(back), self.log_evidence

    def each(self, function: Callable[..., Any]) -> Any:
        """function(steps, predicted, filtered) of every sequence."""
        one = jax.vmap(function) if self.steps.t.ndim == 2 else function
        return one(self.steps, self.predicted, self.filtered)
