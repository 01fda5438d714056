"""A linear-Gaussian model whose covariances keep moving, in lanes: matrices vary in time, or data are missing.

What a filter knew long ago it forgets, of covariances twice as fast as of means. So blocks of a long sequence are
walked side by side, from where a walk over the end of the block before leads, and again from each other's ends until
every border agrees (as a chain: `markov/blocks.py`). By then each block starts where the one before it ended.
"""

import math
from typing import Any, Self

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.numeric.trees import index
from ssm.passes.base import AbstractPass, Answer
from ssm.passes.blocks import still, still_ahead, unbroken
from ssm.recursions.gaussian.adjoint.in_order import KalmanInOrder
from ssm.recursions.gaussian.varying.blocks import Walk, in_lanes, joined, pays
from ssm.schedules import AbstractSchedule, SideBySide
from ssm.shapes import Array, Flag, Float, Keys
from ssm.steps import Step


class VaryingKalman(AbstractPass):
    """The way there; back it is walked in order."""

    agreed: Flag
    predicted: Gaussian
    filtered: Gaussian
    increments: Float[Array, "*B T"]

    @classmethod
    def suits(cls, model: Any) -> bool:
        """With a start that is not diffuse."""
        return model.diffuse is None

    @classmethod
    def pays(cls, model: Any, shape: tuple[int, ...]) -> bool:
        """Where matrices vary, if there is enough of it; what is missing is not known by the shape."""
        return cls.suits(model) and any(model._varying()) and _enough(model, shape)

    @classmethod
    def takes(cls, model: Any, steps: Step, schedule: AbstractSchedule) -> bool:
        """Unbroken sequences whose covariances keep moving, if there is enough of them, or lanes are asked for."""
        if not isinstance(schedule, SideBySide) or not cls.suits(model) or not unbroken(steps):
            return False
        moves = steps.observed is not None or any(model._varying())
        return moves and (schedule.lanes is not None or _enough(model, steps.t.shape))

    @classmethod
    def of(cls, model: Any, steps: Step, schedule: Any, key: Keys | None = None) -> Self:
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

    @property
    def holds(self) -> Flag:
        """Whether every border agrees, and numbers are finite."""
        return self.agreed

    @property
    def log_evidence(self) -> Float[Array, "*B T"]:
        """See `AbstractPass`."""
        return self.increments

    def beliefs(self) -> Answer:
        """See `AbstractPass`."""
        return Answer(self.holds, (self.predicted, self.filtered))

    def last(self) -> Answer:
        """See `AbstractPass`."""
        last = lambda belief: index(belief, -1)
        return Answer(self.holds, self.over(last)(self.filtered))

    smooth = staticmethod(KalmanInOrder.smooth)
    lag = staticmethod(KalmanInOrder.lag)
    draw = staticmethod(KalmanInOrder.draw)


def _enough(model: Any, shape: tuple[int, ...]) -> bool:
    return pays(math.prod(shape[:-1]), shape[-1], model.num_dims, model.event_shape[0])
