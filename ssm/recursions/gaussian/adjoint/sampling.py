"""Paths of a linear-Gaussian state given the data: what is expected of them, and what is drawn of the error of that.

How far a path is from its expectation does not depend on the data, so it can be drawn from those that the model makes:
x = E[x | y] + (x⁺ - E[x⁺ | y⁺]) (Durbin & Koopman 2002). Only the error of the prediction is walked there,

    e_t = x⁺_t - E[x⁺_t | y⁺_<t],        e_{t+1} = F (e_t - K (H e_t + v_t)) + w_{t+1},

and back the adjoint r_t of `recursion`. Nothing is divided by a prediction, so noises may be singular and states
certain. What subtracts too much (`smoothing`), at the start of a sequence, is drawn given what comes after it, by the
reversed kernels, or where these do not hold all of a path, from its end (`orthogonal`).
"""

import dataclasses
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian, Point
from ssm.numeric.linalg import multiply
from ssm.numeric.trial import first_that_holds, mapped
from ssm.passes.backward import Reversal, backward_steps
from ssm.recursion import AbstractScan
from ssm.recursions.gaussian.adjoint import recursion as adjoint
from ssm.recursions.gaussian.adjoint.orthogonal import whitened
from ssm.recursions.gaussian.adjoint.recursion import Seen
from ssm.recursions.gaussian.adjoint.smoothing import kernels_hold, left
from ssm.scan import scan
from ssm.schedules.sequential import Sequential
from ssm.shapes import Array, Bool, Flag, Float, Key, Scalar
from ssm.steps import Step


def draws(
    model: Any, steps: Step, predicted: Gaussian, filtered: Gaussian, key: Key, num_samples: int
) -> Float[Array, "S T D"]:
    """Paths from p(x_{1:T} | y_{1:T}) of prepared steps, from the beliefs of the forward pass."""
    seen = model.seen(steps, predicted)
    matrices, adjoints = jax.vmap(Seen.back)(seen).matrix, adjoint.adjoints(seen, steps, Sequential())
    expected = adjoint.smoothed_means(filtered, adjoints)
    exact = left(filtered.root, adjoints.covariance)[1]
    ways = backward_steps(steps, predicted, filtered)
    known = _known(exact, ways)

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
        kernels = lambda: kernels_hold(model, steps, predicted, filtered, known)
        given_later = lambda: _early(model, ways, direct, known, for_rest)
        options = [(lambda: jnp.all(exact), lambda: direct), (kernels, given_later)]
        return first_that_holds(options, lambda: from_end(direct, for_rest))

    def from_end(direct: Float[Array, "T D"], key: Key) -> Float[Array, "T D"]:
        found = whitened(model, steps, predicted, seen).draw(key, steps.t)
        return found if steps.padding is None else jnp.where(steps.padding[:, None], direct, found)

    return mapped(path)(jax.random.split(key, num_samples))


def _known(exact: Bool[Array, "T"], back: Step) -> Bool[Array, "T"]:
    """From when on, in each sequence, all times are exact."""
    ends = jnp.zeros_like(exact).at[-1].set(True) if back.first is None else back.first

    def step(later: Flag, now: tuple[Flag, Flag]) -> tuple[Flag, Flag]:
        exact, ends = now
        known = exact & (ends | later)
        return known, known

    return jax.lax.scan(step, jnp.ones((), bool), (exact, ends), reverse=True)[1]


def _early(model: Any, back: Step, direct: Float[Array, "T D"], known: Bool[Array, "T"], key: Key) -> Array:
    """A path that is `direct` where that is known, and drawn through the reversed kernels before."""
    first = known if back.first is None else known | back.first
    steps = dataclasses.replace(back, u=(back.u, direct), first=first)
    return scan(Rest(model), steps, key=key, save=lambda saved: saved.filtered.state, backward=True)[1]


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
class Errors(AbstractScan[Point]):
    """belief = x⁺_t - E[x⁺_t | y⁺_<=t], from the beginning."""

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
class Rest(AbstractScan[Point]):
    """belief = a drawn x_t: as it was drawn already where a path begins, and then given x_{t+1}."""

    model: Any

    def init(self, u: tuple[Reversal, Array], *, key: Key | None = None) -> Point:
        """As it was drawn."""
        return Point(u[1])

    def predict(self, belief: Point, u: tuple[Reversal, Array], *, key: Key | None = None) -> Point:
        """A draw of x_t given x_{t+1}."""
        back = u[0]
        return Point(self.model.reverse(back.filtered, back.predicted, back.u).sample(key, belief.state))

    def update(self, prior: Point, u: tuple[Reversal, Array], y: None, *, key: Key | None = None):
        """Nothing to correct."""
        return prior, jnp.zeros(())


@final
class Slopes(AbstractScan[Point]):
    """belief = Fᵀ r_{t+1}, from the end: the mean of `ssm.recursions.gaussian.adjoint.recursion.Adjoint` alone."""

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
