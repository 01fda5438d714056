"""Filtering of a linear-Gaussian model with constant matrices (see `gaussian_lanes`)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.linalg import multiply
from ssm.recursions.gaussian_lanes import Parts, Split, walk
from ssm.recursions.riccati import Closed, Covariances, System, settle
from ssm.recursions.side_by_side import still
from ssm.shapes import Array, Bool, Flag, Float, Int
from ssm.steps import Step
from ssm.trees import index


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

    @classmethod
    def of(cls, problem: Problem, steps: Step, schedule: Any) -> Any:
        """Covariances until they rest, then the means."""
        split, system = _split(problem, schedule), problem.system
        size, count, total = len(problem.initial_mean), split.count, split.total
        covariances = settle(system, problem.initial_root, split.head, total, schedule.tol)
        following = jnp.concatenate([problem.offset[:, 1:], problem.offset[:, -1:]], axis=1)
        residual = split.split(problem.residual)
        pushed = _acting(covariances, lambda step: step.push).act(residual)
        forcing = pushed.map(jnp.add, split.split(following))
        loop = _acting(covariances, lambda step: step.loop)
        predicted = walk(loop, forcing, jnp.broadcast_to(problem.initial_mean[:, None], (size, count)), split)
        expected = _acting(covariances, lambda step: step.gains.emission).act(predicted)
        return cls(problem, steps, split, covariances, predicted, residual.map(jnp.subtract, expected))

    @classmethod
    def again(cls, problem: Problem, steps: Step, schedule: Any, found: tuple) -> Any:
        """The same, from what `walk` found."""
        return cls(problem, steps, _split(problem, schedule), *found)

    def walk(self) -> tuple[Flag, tuple, Float[Array, "*B T"]]:
        """As `AbstractDifferentiable.walk_side_by_side`."""
        return self.covariances.holds, (self.covariances, self.predicted, self.innovation), self.log_evidence()

    def forward(self) -> tuple[Flag, Gaussian, Float[Array, "*B T"]]:
        """As `AbstractRecursion.forward_side_by_side`."""
        update = self._acting(lambda step: step.gains.gain).act(self.innovation)
        mean = self.split.join(self.predicted.map(jnp.add, update))
        head, steady = self.covariances.head.gains.root, self.covariances.steady.gains.root
        roots = jnp.concatenate([head, jnp.broadcast_to(steady, (self._after_head, *steady.shape))])
        filtered = Gaussian(mean, jnp.broadcast_to(roots, (*mean.shape[:2], *roots.shape[1:])))
        return self.covariances.holds, still(self._unbatched(filtered), self.steps), self.log_evidence()

    def log_evidence(self) -> Float[Array, "*B T"]:
        """log N(y_t; H a_t + d_t, S_t); 0 in padding."""
        surprise = self._acting(lambda step: step.gains.whiten).act(self.innovation)  # S^-½ v
        scale = self._acting(lambda step: step.gains.log_scale[..., None, None])
        constant = self.innovation.head.shape[1] * 0.5 * jnp.log(2 * jnp.pi).astype(self.innovation.head.dtype)
        density = lambda w, log_scale: -jnp.sum(w**2, axis=1, keepdims=True) / 2 - log_scale - constant
        log_evidence = self.split.join(surprise.map(density, scale))[..., 0]
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


def _split(problem: Problem, schedule: Any) -> Split:
    count, total, _ = problem.residual.shape
    return Split.of(count, total, len(problem.initial_mean), schedule.lanes)


def _acting(covariances: Covariances, matrix: Callable[[Closed], Array]) -> Parts:
    """What some matrix of a step does, in the head and in the tail."""
    return Parts(matrix(covariances.head), matrix(covariances.steady))
