"""Smoothing is itself a recursion: the same driver, backwards in time, over the reversed kernels."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import Point
from ssm.maps.base import AbstractMap
from ssm.numeric.trees import reverse
from ssm.recursion import AbstractParallelScan, AbstractReversibleScan, AbstractScan
from ssm.scan import predictions, scan
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.sequential import Sequential
from ssm.shapes import Array, Key, PyTree, Scalar
from ssm.steps import Step


class Reversal(eqx.Module):
    """What the backward step at t is told: the forward beliefs at t, and what comes after."""

    filtered: Any  # p(x_t | y_<=t)
    predicted: Any  # p(x_{t+1} | y_<=t)
    u: PyTree  # u_{t+1}


class _Backward(AbstractScan[Any]):
    """Shared by smoothing and sampling: nothing is observed on the way back."""

    forward: AbstractReversibleScan

    def update(self, prior: Any, u: Reversal, y: None, *, key: Key | None = None) -> tuple[Any, Scalar]:
        """Nothing to correct: the observations are in the kernels."""
        return prior, jnp.zeros(())

    def _kernel(self, u: Reversal) -> Any:
        return self.forward.reverse(u.filtered, u.predicted, u.u)


@final
class Smoother(_Backward, AbstractParallelScan[Any]):
    """belief_t = p(x_t | y_{1:T}), from belief_{t+1} through p(x_t | x_{t+1}, y_{<=t})."""

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


def smooth_back(model: Any, steps: Step, predicted: Any, filtered: Any, schedule: AbstractSchedule) -> Any:
    """Smoothed beliefs (T, ...) of prepared steps, from the beliefs of the way there."""
    return walk_back(model, backward_steps(steps, predicted, filtered), schedule)


def walk_back(model: Any, steps: Step, schedule: AbstractSchedule) -> Any:
    """Smoothed beliefs (T, ...) through the reversed kernels, from the steps of the way back."""
    return scan(Smoother(model), steps, schedule=schedule, save=lambda saved: saved.filtered, backward=True)[1]


def lag_back(model: Any, steps: Step, predicted: Any, filtered: Any, lag: int, at_once: bool = False) -> Any:
    """p(x_t | y_{1:t+lag}): one sweep through the reversed kernels of all times per lag; `at_once` as `predictions`."""
    back = reverse(backward_steps(steps, predicted, filtered))

    def sweep(_: Array, after: Any) -> Any:
        """p(x_t | y_{1:t+l}), latest first, from p(x_{t+1} | y_{1:t+l})."""
        return predictions(Smoother(model), back, after, at_once)

    return reverse(jax.lax.fori_loop(0, lag, sweep, reverse(filtered)))


def draw_back(model: Any, steps: Step, predicted: Any, filtered: Any, key: Key, num_samples: int) -> Any:
    """Paths (S, T, ...), last state first."""
    back = backward_steps(steps, predicted, filtered)

    def path(key: Key) -> PyTree:
        save = lambda saved: saved.filtered.state
        return scan(PathSampler(model), back, schedule=Sequential(), key=key, save=save, backward=True)[1]

    return jax.vmap(path)(jax.random.split(key, num_samples))


def best_back(model: Any, steps: Step, predicted: Any, filtered: Any) -> Any:
    """The path (T, ...) that a max-product recursion leads back on; nothing is drawn."""
    back = backward_steps(steps, predicted, filtered)
    return scan(PathSampler(model), back, save=lambda saved: saved.filtered.state, backward=True)[1]


def _following(tree: PyTree) -> PyTree:
    """Entry t + 1 in the place of t; the last one, which nothing reads, repeated."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf[1:], leaf[-1:]]), tree)
