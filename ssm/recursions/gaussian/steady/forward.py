"""Filtering of a linear-Gaussian model with constant matrices (see `blocks`)."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.numeric.trees import index
from ssm.passes.base import AbstractPass, Answer
from ssm.passes.blocks import still, still_ahead, unbroken
from ssm.recursions.gaussian.steady.blocks import Parts, Split, Sweep, push, sweep
from ssm.recursions.gaussian.steady.riccati import Closed, Covariances, System, settle
from ssm.recursions.gaussian.system.gains import Gains
from ssm.schedules import AbstractSchedule, SideBySide
from ssm.shapes import Array, Bool, Flag, Float, Int, Keys
from ssm.steps import Step

ENOUGH = 256  # steps of all sequences


class SteadyWalk(AbstractPass):
    """The way there: covariances until they rest, then the means."""

    wants_no_flags: ClassVar[bool] = True

    system: System
    split: Split = eqx.field(static=True)
    covariances: Covariances
    predicted: Parts  # means a_t
    innovation: Parts  # v_t = y_t - d_t - H a_t
    log_density: Parts  # log N(v_t; 0, S_t), (1, C) in every lane

    @classmethod
    def suits(cls, model: Any) -> bool:
        """With a start that is not diffuse."""
        return model.diffuse is None

    @classmethod
    def pays(cls, model: Any, shape: tuple[int, ...]) -> bool:
        """Not for short ones, which take less time than compiling both ways (`benchmarks kalman_evidence_vs_peers`)."""
        return cls.suits(model) and not any(model._varying()) and math.prod(shape) >= ENOUGH

    @classmethod
    def takes(cls, model: Any, steps: Step, schedule: AbstractSchedule) -> bool:
        """Unbroken sequences without gaps, seen through constant matrices (offsets may vary)."""
        still = steps.observed is None and not any(model._varying())
        return isinstance(schedule, SideBySide) and cls.suits(model) and unbroken(steps) and still

    @classmethod
    def of(cls, model: Any, steps: Step, schedule: Any, key: Keys | None = None) -> Self:
        """See `AbstractWay`."""
        batch = steps if steps.t.ndim == 2 else jax.tree.map(lambda leaf: leaf[None], steps)
        noises = model._transition_covariance.lower, model._emission_covariance.lower
        system = System(model.transition_matrix, noises[0], model.emission_matrix, noises[1])
        leading, seen = jax.vmap(model._offsets)(batch)  # offsets that lead into each time (that of the first: nowhere)
        residual, (count, total), size = batch.y - seen, batch.t.shape, len(model.initial_mean)
        split = Split.of(count, total, size, schedule.lanes)
        covariances = settle(system, model.initial_root, split.head, total, schedule.tol)
        following = jnp.concatenate([leading[:, 1:], leading[:, -1:]], axis=1)
        inputs = Parts(*zip(split.split(residual), split.split(following), strict=True))
        start = jnp.broadcast_to(model.initial_mean[:, None], (size, count))
        there, _ = sweep(_predict, Parts(*covariances[:2]), covariances.steady.loop, inputs, start, split)
        return cls(model, steps, system, split, covariances, *there)

    @property
    def holds(self) -> Flag:
        """Whether covariances came to rest."""
        return self.covariances.holds

    def beliefs(self) -> Answer:
        """Predicted and filtered ones."""
        filtered = self._filtered()
        ahead = self._beliefs(self.predicted, lambda gains: gains.prior)
        both = self._unbatched((still_ahead(ahead, filtered, self.steps), filtered))
        return Answer(self.holds, both)

    def last(self) -> Answer:
        """The filtered one."""
        last = lambda belief: index(belief, -1)
        return Answer(self.holds, self.over(last)(self._unbatched(self._filtered())))

    def _filtered(self) -> Gaussian:
        update = self._acting(lambda step: step.gains.gain).act(self.innovation)
        return still(self._beliefs(self.predicted.map(jnp.add, update), lambda gains: gains.root), self.steps)

    def _beliefs(self, means: Parts, root: Callable[[Gains], Array]) -> Gaussian:
        """(B, T, ...), with some root of every step."""
        mean, head, steady = self.split.join(means), *(root(step.gains) for step in self.covariances[:2])
        roots = jnp.concatenate([head, jnp.broadcast_to(steady, (self._after_head, *steady.shape))])
        return Gaussian(mean, jnp.broadcast_to(roots, (*mean.shape[:2], *roots.shape[1:])))

    @property
    def log_evidence(self) -> Float[Array, "*B T"]:
        """log N(y_t; H a_t + d_t, S_t); 0 in padding."""
        log_evidence = self.split.join(self.log_density)[..., 0]
        return self._unbatched(jnp.where(self._real, log_evidence, 0))

    # -- small words ----------------------------------------------------------------------------------------------

    def _acting(self, matrix: Callable[[Closed], Array]) -> Parts:
        return _acting(self.covariances, matrix)

    @property
    def _after_head(self) -> int:
        return self.split.total - self.split.head

    @property
    def _real(self) -> Bool[Array, "B T"]:
        if self.steps.padding is None:
            return jnp.ones((self.split.count, self.split.total), bool)
        return ~self.steps.padding

    @property
    def _lengths(self) -> Int[Array, "B"]:
        return jnp.sum(self._real, axis=1, dtype=int)

    def _unbatched(self, tree: Any) -> Any:
        return tree if self.steps.t.ndim == 2 else index(tree, 0)


def _predict(rule: Closed, mean: Float[Array, "D C"], now: tuple[Array, Array]) -> Sweep:
    """a_{t+1} from a_t: F (I - K H) a + F K (y - d) + b."""
    residual, offset = now
    both, size = push(rule.there, mean), len(mean)
    innovation = residual - both[size:]
    whitened = push(rule.gains.whiten, innovation)
    constant = len(residual) * 0.5 * jnp.log(2 * jnp.pi).astype(residual.dtype)
    log_density = -jnp.sum(whitened**2, axis=0, keepdims=True) / 2 - rule.gains.log_scale - constant
    following = both[:size] + push(rule.push, residual) + offset
    return Sweep(following, (mean, innovation, log_density), ())


def _acting(covariances: Covariances, matrix: Callable[[Closed], Array]) -> Parts:
    """What some matrix of a step does, in the head and in the tail."""
    return Parts(matrix(covariances.head), matrix(covariances.steady))
