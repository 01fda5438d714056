"""Paths of a linear-Gaussian state given the data: what is expected of them, and what is drawn of the error of that.

How far a path is from its expectation does not depend on the data, so it can be drawn from those that the model makes:
x = E[x | y] + (x⁺ - E[x⁺ | y⁺]) (Durbin & Koopman 2002). Only the error of the prediction is walked there,

    e_t = x⁺_t - E[x⁺_t | y⁺_<t],        e_{t+1} = F (e_t - K (H e_t + v_t)) + w_{t+1},

and back the costate r_t of `ssm.recursions.costate`. Nothing is divided by a prediction, so noises may be singular and
states certain. Where that subtracts too much (`ssm.recursions.costate_smoothing`), paths are drawn from the end, each
state given the one after it (`ssm.recursions.orthogonal_smoothing`).
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian, Point
from ssm.linalg import multiply
from ssm.recursion import AbstractRecursion
from ssm.recursions import costate
from ssm.recursions.backward import Reversal, backward_steps
from ssm.recursions.costate import Seen
from ssm.recursions.costate_smoothing import left
from ssm.recursions.orthogonal_smoothing import whitened
from ssm.scan import scan
from ssm.schedules.sequential import Sequential
from ssm.shapes import Array, Float, Key, Scalar
from ssm.steps import Step


def draws(
    model: Any, steps: Step, predicted: Gaussian, filtered: Gaussian, key: Key, num_samples: int
) -> Float[Array, "S T D"]:
    """Paths from p(x_{1:T} | y_{1:T}) of prepared steps, from the beliefs of the forward pass."""
    seen = model.seen(steps, predicted)
    matrices, costates = jax.vmap(Seen.back)(seen).matrix, costate.costates(seen, steps, Sequential())
    expected = costate.smoothed_means(filtered, costates)
    exact = jnp.all(left(filtered.root, costates.covariance)[1])

    def path(key: Key) -> Float[Array, "T D"]:
        # Keys are folded from the times, so that draws do not depend on T.
        for_noises, for_rest = jax.random.split(key)
        noises = jax.vmap(lambda step: _noises(model, step, jax.random.fold_in(for_noises, step.t)))(steps)
        walked = dataclasses.replace(steps, u=Walked(seen, noises), y=None, observed=None)
        before, after = scan(Errors(), walked, save=lambda saved: (saved.predicted.state, saved.filtered.state))[1]
        pushed = jax.vmap(_pushed)(seen, before, noises.emission)
        back = backward_steps(dataclasses.replace(steps, u=(matrices, pushed)), None, None)
        slopes = scan(Slopes(), back, save=lambda saved: saved.filtered.state, backward=True)[1]
        corrected = multiply(jnp.swapaxes(filtered.root, 1, 2), slopes[..., None])
        direct = expected + after - multiply(filtered.root, corrected)[..., 0]
        return jax.lax.cond(exact, lambda: direct, lambda: from_end(direct, for_rest))

    def from_end(direct: Float[Array, "T D"], key: Key) -> Float[Array, "T D"]:
        found = whitened(model, steps, predicted, seen).draw(key, steps.t)
        return found if steps.padding is None else jnp.where(steps.padding[:, None], direct, found)

    return jax.vmap(path)(jax.random.split(key, num_samples))


class Noises(NamedTuple):
    """Drawn at one time."""

    initial: Float[Array, "D"]
    transition: Float[Array, "D"]
    emission: Float[Array, "N"]


class Walked(NamedTuple):
    """One time of the way there."""

    seen: Seen
    noises: Noises


def _noises(model: Any, step: Step, key: Key) -> Noises:
    emission = model._measured(step.u, step.y)[0]
    roots = model.initial_root, model._transition(step.u).root, emission.root
    drawn = (
        multiply(root, jax.random.normal(key, root.shape[1:], root.dtype))
        for root, key in zip(roots, jax.random.split(key, 3), strict=True)
    )
    return Noises(*drawn)


def _pushed(seen: Seen, error: Float[Array, "D"], noise: Float[Array, "N"]) -> Float[Array, "D"]:
    """What the observation of a time, H e + v, adds to the slope one time earlier: Fᵀ Hᵀ S⁻¹ (H e + v)."""
    surprise = multiply(seen.look, error) + multiply(seen.gains.whiten, noise)
    return multiply(seen.transition.T, seen._replace(surprise=surprise).slope)


@final
class Errors(AbstractRecursion[Point]):
    """belief = x⁺_t - E[x⁺_t | y⁺_<=t], from the beginning."""

    feeds_back: ClassVar[bool] = False

    def init(self, u: Walked, *, key: Key | None = None) -> Point:
        """A draw of what is not known of the first state."""
        return Point(u.noises.initial)

    def predict(self, belief: Point, u: Walked, *, key: Key | None = None) -> Point:
        """F e + w."""
        return Point(multiply(u.seen.transition, belief.state) + u.noises.transition)

    def update(self, prior: Point, u: Walked, y: None, *, key: Key | None = None) -> tuple[Point, Scalar]:
        """e - K (H e + v)."""
        gains = u.seen.gains
        seen = multiply(gains.emission, prior.state) + u.noises.emission
        return Point(prior.state - multiply(gains.gain, seen)), jnp.zeros(())


@final
class Slopes(AbstractRecursion[Point]):
    """belief = Fᵀ r_{t+1}, from the end: the mean of `ssm.recursions.costate.Costate` alone."""

    feeds_back: ClassVar[bool] = False

    def init(self, u: Reversal, *, key: Key | None = None) -> Point:
        """Nothing comes after the end."""
        return Point(jnp.zeros_like(u.u[1]))

    def predict(self, belief: Point, u: Reversal, *, key: Key | None = None) -> Point:
        """Past the observation at t + 1, and through the transition into it."""
        matrix, pushed = u.u
        return Point(multiply(matrix, belief.state) + pushed)

    def update(self, prior: Point, u: Reversal, y: None, *, key: Key | None = None) -> tuple[Point, Scalar]:
        """Nothing to correct."""
        return prior, jnp.zeros(())
