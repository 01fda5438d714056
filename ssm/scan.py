"""The one driver: filtering, forecasting, smoothing, sampling and decoding all run through `scan`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.maps.base import AbstractMap
from ssm.numeric.trees import index, length, prepend, select
from ssm.recursion import AbstractParallelScan, AbstractScan
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.sequential import Sequential
from ssm.shapes import Array, Float, Key, PyTree
from ssm.steps import Step


class Saved(NamedTuple):
    """Everything that a step knows: stacked, the full record of a run."""

    predicted: Any
    filtered: Any
    log_evidence: Float[Array, "*batch"]


def everything(saved: Saved) -> PyTree:
    """Save the full record."""
    return saved


def evidence_only(saved: Saved) -> PyTree:
    """Save log p(y_t | y_<t) alone."""
    return saved.log_evidence


def scan(
    recursion: AbstractScan,
    steps: Step,
    *,
    schedule: AbstractSchedule = Sequential(),
    belief: Any = None,
    key: Key | None = None,
    save: Callable[[Saved], PyTree] = everything,
    backward: bool = False,
) -> tuple[Any, PyTree]:
    """Walk a recursion through prepared steps (T, ...): its last belief, and what `save` kept, stacked (T, ...).

    Starts from `recursion.init`, or continues after the filtered `belief`. In Python, with every step observed::

        prior = recursion.init(steps[0].u)
        for step in steps:
            belief, log_evidence = recursion.update(prior, step.u, step.y)
            record.append(save(Saved(prior, belief, log_evidence)))
            prior = recursion.predict(belief, next_step.u)

    The keys of step t are folded from `key` and t, so results depend neither on T nor on the schedule.
    `backward` walks from the last step to the first; what was saved is still in the order of time.
    """
    walk, belief, steps = _prepare_walk(recursion, steps, belief, key, save, begin=-1 if backward else 0)
    run = schedule.run_backward if backward else schedule.run
    return run(walk, belief, steps)


def predictions(recursion: AbstractScan, steps: Step, filtered: Any, at_once: bool = False) -> Any:
    """p(x_t | y_<t) at all times, from the filtered beliefs (T, ...) of a run that began with `init`.

    `at_once`: for all times together, as where predicting is one matrix product for them.
    """
    walk, belief, steps = _prepare_walk(recursion, steps, None, None, everything, begin=0)
    before = prepend(belief, index(filtered, slice(None, -1)))
    if at_once:
        return jax.vmap(walk.prior)(before, steps)
    return jax.lax.map(lambda each: walk.prior(*each), (before, steps))


def _prepare_walk(
    recursion: AbstractScan, steps: Step, belief: Any, key: Key | None, save: Callable, begin: int
) -> "tuple[_Walk, Any, Step]":
    """The walk, the belief that it carries into the first step, and the steps with their starts marked."""
    if belief is not None:
        return _Walk(recursion, None, key, save), belief, steps
    start = recursion.init(index(steps.u, begin), key=_fold(key, steps.t[begin], 0))
    if steps.first is None:
        marked = _with_first(steps, jnp.zeros(length(steps.t), bool).at[begin].set(True))
        return _Walk(recursion, start, key, save), start, marked
    return _Walk(recursion, None, key, save), start, _with_first(steps, steps.first.at[begin].set(True))


class _Walk(eqx.Module):
    """One step of a recursion, with its flags: the only place where they are read."""

    recursion: AbstractScan
    start: Any  # the belief at every `first`, when it is the same one
    key: Key | None
    save: Callable = eqx.field(static=True)

    def __call__(self, belief: Any, step: Step) -> tuple[Any, PyTree]:
        """One step as a function: the body of `lax.scan`."""
        prior = self.prior(belief, step)
        posterior, log_evidence = self._correct(prior, step)
        if step.padding is not None:
            posterior = select(step.padding, belief, posterior)
            log_evidence = jnp.where(step.padding, 0, log_evidence)
        return posterior, self.save(Saved(prior, posterior, log_evidence))

    def lift(self, step: Step) -> AbstractMap:
        """One step as a map, for schedules that compose."""
        assert isinstance(self.recursion, AbstractParallelScan)  # by what the schedule requires
        whole = self.recursion.lift(step.u, step.y)
        if step.observed is not None:
            whole = select(jnp.any(step.observed), whole, self.recursion.lift(step.u, None))
        if step.first is not None:
            posterior, _ = self._correct(self._initial(step), step)
            whole = select(step.first, whole.forget(posterior), whole)
        if step.padding is not None:
            whole = select(step.padding, whole.identity(), whole)
        return whole

    def prior(self, belief: Any, step: Step) -> Any:
        """The predicted belief of one step."""
        prior = self.recursion.predict(belief, step.u, key=_fold(self.key, step.t, 1))
        if step.first is not None:
            prior = select(step.first, self._initial(step), prior)
        return prior if step.padding is None else select(step.padding, belief, prior)

    def _initial(self, step: Step) -> Any:
        if self.start is not None:
            return self.start
        return self.recursion.init(step.u, key=_fold(self.key, step.t, 0))

    def _correct(self, prior: Any, step: Step) -> tuple[Any, Array]:
        key = _fold(self.key, step.t, 2)
        posterior, log_evidence = self.recursion.update(prior, step.u, step.y, key=key)
        if step.observed is None:
            return posterior, log_evidence
        seen = jnp.any(step.observed)
        missed = self.recursion.miss(prior, step.u, key=key)
        return select(seen, posterior, missed), jnp.where(seen, log_evidence, 0)


def _with_first(steps: Step, first: Array) -> Step:
    return eqx.tree_at(lambda s: s.first, steps, first, is_leaf=lambda leaf: leaf is None)


def _fold(key: Key | None, t: Array, purpose: int) -> Key | None:
    """The key of one purpose (0 init, 1 predict, 2 update) at one time."""
    return None if key is None else jax.random.fold_in(jax.random.fold_in(key, t), purpose)
