"""Smoothing is itself a recursion: the same driver, backwards in time, over the reversed kernels."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import Point
from ssm.maps.base import AbstractMap
from ssm.recursion import AbstractParallelRecursion, AbstractRecursion, AbstractReversibleRecursion
from ssm.scan import scan
from ssm.schedules.base import AbstractSchedule
from ssm.shapes import Key, PyTree, Scalar
from ssm.steps import Step


class Reversal(eqx.Module):
    """What the backward step at t is told: the forward beliefs at t, and what comes after."""

    filtered: Any  # p(x_t | y_<=t)
    predicted: Any  # p(x_{t+1} | y_<=t)
    u: PyTree  # u_{t+1}


class _Backward(AbstractRecursion[Any]):
    """Shared by smoothing and sampling: nothing is observed on the way back."""

    feeds_back: ClassVar[bool] = False

    forward: AbstractReversibleRecursion

    def update(self, prior: Any, u: Reversal, y: None, *, key: Key | None = None) -> tuple[Any, Scalar]:
        """Nothing to correct: the observations are in the kernels."""
        return prior, jnp.zeros(())

    def _kernel(self, u: Reversal) -> Any:
        return self.forward.reverse(u.filtered, u.predicted, u.u)


@final
class Smoother(_Backward, AbstractParallelRecursion[Any]):
    """belief_t = p(x_t | y_{1:T}), from belief_{t+1} through p(x_t | x_{t+1}, y_{<=t})."""

    at_once: bool = eqx.field(static=True, default=False)

    @property
    def predicts_at_once(self) -> bool:
        """As on the way there, if that was said."""
        return self.at_once

    def init(self, u: Reversal, *, key: Key | None = None) -> Any:
        """At the end of a sequence the smoothed belief is the filtered one."""
        return u.filtered

    def predict(self, belief: Any, u: Reversal, *, key: Key | None = None) -> Any:
        """One step into the past."""
        return self._kernel(u).apply(belief)

    def lift(self, u: Reversal, y: None) -> AbstractMap:
        """The reversed kernel as a map."""
        kernel = self._kernel(u)
        return kernel if isinstance(kernel, AbstractMap) else kernel.as_map()


@final
class PathSampler(_Backward):
    """belief_t = a drawn x_t: one path from p(x_{1:T} | y_{1:T}), last state first."""

    def init(self, u: Reversal, *, key: Key | None = None) -> Point:
        """A draw of the last state."""
        return Point(u.filtered.sample(key))

    def predict(self, belief: Point, u: Reversal, *, key: Key | None = None) -> Point:
        """A draw of x_t given x_{t+1}."""
        return Point(self._kernel(u).sample(key, belief.state))


def backward_steps(steps: Step, predicted: Any, filtered: Any) -> Step:
    """The steps of the way back, from those of the way there and its beliefs.

    Between t and t+1 the way back is an ordinary step; it starts afresh at t where a new sequence starts at
    t+1, and stands still where t+1 is padding.
    """
    first = None if steps.first is None else _following(steps.first).at[-1].set(True)
    padding = None if steps.padding is None else _following(steps.padding).at[-1].set(False)
    u = Reversal(filtered, _following(predicted), _following(steps.u))
    return Step(u=u, first=first, padding=padding, t=steps.t)


def smooth_backward(model: Any, steps: Step, predicted: Any, filtered: Any, schedule: AbstractSchedule) -> Any:
    """Smoothed beliefs (T, ...) of prepared steps, from the beliefs of the forward pass."""
    smoothed = model.smooth_directly(steps, predicted, filtered, schedule)
    if smoothed is None:
        smoothed = walk_back(model, backward_steps(steps, predicted, filtered), schedule)
    return model.settle(smoothed)


def walk_back(model: Any, steps: Step, schedule: AbstractSchedule) -> Any:
    """Smoothed beliefs (T, ...) through the reversed kernels, from the steps of the way back."""
    return scan(Smoother(model), steps, schedule=schedule, save=lambda saved: saved.filtered, backward=True)[1]


def _following(tree: PyTree) -> PyTree:
    """Entry t + 1 in the place of t; the last one, which nothing reads, repeated."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf[1:], leaf[-1:]]), tree)
