"""Filtering of a linear-Gaussian model with constant matrices (see `blocks`)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.numeric.trees import index
from ssm.passes.blocks import still, still_ahead
from ssm.recursions.gaussian.steady.blocks import Parts, Split, Sweep, push, sweep
from ssm.recursions.gaussian.steady.riccati import Closed, Covariances, System, settle
from ssm.recursions.gaussian.system.gains import Gains
from ssm.scan import Saved
from ssm.shapes import Array, Bool, Flag, Float, Int
from ssm.steps import Step


class Problem(NamedTuple):
    """What a model says of B sequences of T steps."""

    initial_mean: Float[Array, "D"]
    initial_root: Float[Array, "D D"]
    system: System
    residual: Float[Array, "B T N"]  # y - d
    offset: Float[Array, "B T D"]  # b, leading into each time; that of the first is not read


class WalkThere(NamedTuple):
    """The walk there."""

    problem: Problem
    steps: Step
    split: Split
    covariances: Covariances
    predicted: Parts  # means a_t
    innovation: Parts  # v_t = y_t - d_t - H a_t
    log_density: Parts  # log N(v_t; 0, S_t), (1, C) in every lane

    @classmethod
    def of(cls, problem: Problem, steps: Step, schedule: Any) -> Any:
        """Covariances until they rest, then the means."""
        split, system = _split(problem, schedule), problem.system
        size, count, total = len(problem.initial_mean), split.count, split.total
        covariances = settle(system, problem.initial_root, split.head, total, schedule.tol)
        following = jnp.concatenate([problem.offset[:, 1:], problem.offset[:, -1:]], axis=1)
        inputs = Parts(*zip(split.split(problem.residual), split.split(following), strict=True))
        start = jnp.broadcast_to(problem.initial_mean[:, None], (size, count))
        there, _ = sweep(_predict, Parts(*covariances[:2]), covariances.steady.loop, inputs, start, split)
        return cls(problem, steps, split, covariances, *there)

    @classmethod
    def again(cls, problem: Problem, steps: Step, schedule: Any, found: tuple) -> Any:
        """The same, from what `walk` found."""
        return cls(problem, steps, _split(problem, schedule), *found)

    def walk(self) -> tuple[Flag, tuple, Float[Array, "*B T"]]:
        """As `AbstractDifferentiable.walk_side_by_side`."""
        found = self.covariances, self.predicted, self.innovation, self.log_density
        return self.covariances.holds, found, self.log_evidence()

    def forward(self) -> tuple[Flag, Saved]:
        """As `AbstractRecursion.forward_side_by_side`."""
        update = self._acting(lambda step: step.gains.gain).act(self.innovation)
        filtered = still(self._beliefs(self.predicted.map(jnp.add, update), lambda gains: gains.root), self.steps)
        ahead = self._beliefs(self.predicted, lambda gains: gains.prior)
        ahead, filtered = self._unbatched((still_ahead(ahead, filtered, self.steps), filtered))
        return self.covariances.holds, Saved(ahead, filtered, self.log_evidence())

    def _beliefs(self, means: Parts, root: Callable[[Gains], Array]) -> Gaussian:
        """(B, T, ...), with some root of every step."""
        mean, head, steady = self.split.join(means), *(root(step.gains) for step in self.covariances[:2])
        roots = jnp.concatenate([head, jnp.broadcast_to(steady, (self._after_head, *steady.shape))])
        return Gaussian(mean, jnp.broadcast_to(roots, (*mean.shape[:2], *roots.shape[1:])))

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


def _split(problem: Problem, schedule: Any) -> Split:
    count, total, _ = problem.residual.shape
    return Split.of(count, total, len(problem.initial_mean), schedule.lanes)


def _acting(covariances: Covariances, matrix: Callable[[Closed], Array]) -> Parts:
    """What some matrix of a step does, in the head and in the tail."""
    return Parts(matrix(covariances.head), matrix(covariances.steady))
