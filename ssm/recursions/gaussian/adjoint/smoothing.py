"""Smoothed states of a linear-Gaussian model from the adjoint, and from reversed kernels where those are more exact.

    mean_t + P_t Fᵀ r_{t+1},        L (I - Lᵀ Fᵀ N_{t+1} F L) Lᵀ   with   P_t = L Lᵀ

divide by no prediction (de Jong 1989; Durbin & Koopman 2012, section 4.4), so they hold where states become certain:
there a reversed kernel multiplies by the inverse of dynamics that contract, and a long way back makes rounding as
large as the states. But they subtract, which costs the digits of what the future knows better than the past by far;
the kernels of Rauch, Tung & Striebel subtract nothing. So where much is subtracted, and while some states are diffuse,
kernels lead back from the nearest later time where it is not. Where both lose digits, as where a state without noise is
vague at first and certain later, orthogonal matrices lead back from the end (`orthogonal`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.beliefs.diffuse import DiffuseGaussian
from ssm.maps.slopes import Slope
from ssm.numeric.linalg import multiply_many
from ssm.numeric.roots import clear_pivots, semidefinite_root
from ssm.numeric.trees import select
from ssm.numeric.trial import first_that_holds
from ssm.passes.backward import backward_steps, walk_back
from ssm.recursions.gaussian.adjoint import recursion as adjoint
from ssm.recursions.gaussian.adjoint.orthogonal import whitened
from ssm.recursions.gaussian.adjoint.recursion import Seen
from ssm.schedules.base import AbstractSchedule
from ssm.shapes import Array, Bool, Flag, Float
from ssm.steps import Step

# Where a pivot of I - Lᵀ Fᵀ N F L is at least this, the subtraction costs four bits at the most.
LEAST_LEFT = 1 / 16


def smoothed(model: Any, steps: Step, predicted: Any, filtered: Any, schedule: AbstractSchedule) -> Any:
    """p(x_t | y_{1:T}) (T, ...) of prepared steps, from the beliefs of the forward pass."""
    seen = model.seen(steps, predicted)
    after = adjoint.adjoints(seen, steps, schedule)
    return from_adjoints(model, steps, predicted, filtered, seen, after, schedule)[0]


def from_adjoints(
    model: Any, steps: Step, predicted: Any, filtered: Any, seen: Seen, after: Slope, schedule: AbstractSchedule
) -> tuple[Any, Bool[Array, "T"]]:
    """The same, from adjoints, and where these alone were enough."""
    root, exact = left(filtered.root, after.covariance)
    mean = adjoint.smoothed_means(Gaussian(filtered.mean, filtered.root), after)
    directly = dataclasses.replace(filtered, mean=mean, root=root)
    if isinstance(filtered, DiffuseGaussian):
        exact = exact & ~is_diffuse(filtered)

    known = _where(exact, directly, filtered)
    options = [
        (lambda: jnp.all(exact), lambda: directly),
        (
            lambda: kernels_hold(model, steps, predicted, filtered, exact),
            lambda: _by_kernels(model, steps, predicted, known, exact, schedule),
        ),
    ]
    turned = lambda: _turned(model, steps, predicted, filtered, seen, schedule)
    return first_that_holds(options, turned), exact


def lagged(
    model: Any, steps: Step, predicted: Gaussian, filtered: Gaussian, lag: int, by_kernels: Callable[[], Any]
) -> Gaussian:
    """p(x_t | y_{1:t+lag}): through kernels where these hold, else by orthogonal matrices."""

    def turned() -> Gaussian:
        found = whitened(model, steps, predicted, model.seen(steps, predicted)).lagged(lag)
        return found if steps.padding is None else _where(steps.padding, filtered, found)

    nowhere = jnp.zeros(len(steps.t), bool)
    return first_that_holds([(lambda: kernels_hold(model, steps, predicted, filtered, nowhere), by_kernels)], turned)


def kernels_hold(model: Any, steps: Step, predicted: Any, filtered: Any, exact: Bool[Array, "T"]) -> Flag:
    """Whether no kernel from a time that is not `exact` divides by what is next to nothing."""

    def clear(root: Array, ahead: Array, u: Any) -> Flag:
        matrix, _, noise = model._transition(u)
        return clear_pivots(ahead, matrix, root, noise)

    back = backward_steps(steps, predicted, filtered)
    holds = exact | jax.vmap(clear)(filtered.root, back.u.predicted.root, back.u.u)
    for nowhere in (back.first, back.padding):  # nothing leads back to there
        holds = holds if nowhere is None else holds | nowhere
    return jnp.all(holds.at[-1].set(True))


def _by_kernels(model: Any, steps: Step, predicted: Any, known: Any, exact: Array, schedule: AbstractSchedule) -> Any:
    """Through kernels from the nearest later time that is `exact`."""
    back = backward_steps(steps, predicted, known)
    first = exact if back.first is None else exact | back.first
    return walk_back(model, dataclasses.replace(back, first=first), schedule)


def _turned(model: Any, steps: Step, predicted: Any, filtered: Any, seen: Seen, schedule: AbstractSchedule) -> Any:
    """By orthogonal matrices, and through kernels to what is diffuse."""
    stays = jnp.zeros(len(steps.t), bool) if steps.padding is None else steps.padding
    if isinstance(filtered, Gaussian):
        return _where(stays, filtered, whitened(model, steps, predicted, seen).smoothed())
    vague = is_diffuse(predicted)
    # What follows a diffuse prediction has a root, and that is where a walk begins.
    begins = jnp.concatenate([vague[:1], vague[:-1]])
    known = whitened(model, steps, predicted, seen, begins).smoothed()
    known = DiffuseGaussian(known.mean, known.root, jnp.zeros_like(filtered.loading))
    start = _where(vague | stays, filtered, known)
    return _by_kernels(model, steps, predicted, start, ~vague, schedule)


def is_diffuse(belief: DiffuseGaussian) -> Bool[Array, "T"]:
    """When something is diffuse."""
    return jnp.any(belief.loading != 0, axis=(-2, -1))


def left(root: Float[Array, "T D D"], after: Float[Array, "T D D"]) -> tuple[Float[Array, "T D D"], Bool[Array, "T"]]:
    """The root of P - P Fᵀ N F P, and where it is exact to rounding; what it is elsewhere stands for nothing."""
    eye = jnp.eye(root.shape[-1], dtype=root.dtype)
    kept = eye - multiply_many(jnp.swapaxes(root, -1, -2), after, root)
    factor = jax.vmap(semidefinite_root)
    exact = little_subtracted(eye, factor(jax.lax.stop_gradient(kept)))
    return multiply_many(root, factor(jnp.where(exact[:, None, None], kept, eye))), exact


def little_subtracted(before: Float[Array, "*M D D"], after: Float[Array, "*T D D"]) -> Bool[Array, "*T"]:
    """Whether what is left of a covariance is as exact as it was, from triangular roots before and after."""
    pivots = lambda root: jnp.diagonal(root, axis1=-2, axis2=-1) ** 2
    return jnp.all(pivots(after) >= LEAST_LEFT * pivots(before), axis=-1)


def _where(flags: Bool[Array, "T"], one: Any, other: Any) -> Any:
    return jax.vmap(select)(flags, one, other)
