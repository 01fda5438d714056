"""The evidence, whose gradient is an expectation of statistics (Fisher's identity).

    ∇ log p(y; θ) = E_{p(x|y)} [∇ log p(x, y; θ)] = ∇_θ Q(θ, statistics)     at θ = the current parameters

EM maximises Q, gradient methods take a step up ∇Q, and both get the statistics from one forward and one
backward pass. Because the backward pass of `evidence` *is* that identity, reverse mode keeps (T, K) beliefs
where differentiating through the scan would keep what every operation of every step needs.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import handed_out
from ssm.data import Sequences, over_sequences
from ssm.numeric.transposing import linear
from ssm.numeric.trial import on_trial
from ssm.passes.expectation import AbstractDifferentiable
from ssm.passes.forms import Form, either, has_quick_form, in_form
from ssm.passes.in_order import forward, nothing
from ssm.passes.together import slope_together, walk_together
from ssm.recursion import AbstractRecursion, offers
from ssm.scan import predictions
from ssm.schedules import AbstractSchedule, Sequential, together
from ssm.shapes import Array, Flag, Float, Key, PyTree, Scalar
from ssm.steps import Step


def evidence_of(
    model: AbstractRecursion,
    sequences: Sequences,
    schedule: AbstractSchedule,
    key: Key | None = None,
    *,
    fast: bool = True,
) -> Float[Array, "*B"]:
    """log p(y_{1:T}) of every sequence, for a constrained model; `fast=False` under `vmap`."""
    fast = fast and not sequences.batched
    one = lambda steps, key: _evidence(model, steps, schedule, key, fast)
    return over_sequences(one, sequences, key, together=together(schedule, model, sequences.steps, fast))


def _evidence(
    model: AbstractRecursion, steps: Step, schedule: AbstractSchedule, key: Key | None, fast: bool
) -> Float[Array, "*B"]:
    if offers(model, AbstractDifferentiable) and not on_trial():  # where nothing is differentiated
        return _exact_evidence((model, steps), schedule, fast)
    return jnp.sum(forward(model, steps, schedule, key, nothing, fast=fast)[1], axis=-1)


@eqx.filter_custom_jvp
def _exact_evidence(model_and_steps, schedule, fast):
    model, steps = model_and_steps
    return jnp.sum(forward(model, steps, schedule, None, nothing, fast=fast)[1], axis=-1)


@_exact_evidence.def_jvp
def _exact_evidence_jvp(primals, tangents):
    """Backwards: one walk back for all sequences together. Forwards: what moves, times the slope of each sequence."""
    both, schedule, fast = primals
    value, found = _there(both, schedule, fast)
    moves = tangents[0]

    def back(held: tuple, cotangent: Array) -> PyTree:
        both, found = held
        return _slope(moves, both, found, cotangent, schedule, fast)

    def ahead(held: tuple, moves: PyTree) -> Array:
        if not value.ndim:
            return _product(back(held, jnp.ones_like(value)), moves, value)
        model, steps = held[0]
        each = lambda steps, moved: _one_ahead(model, steps, (moves[0], moved), value)
        return jax.vmap(each)(steps, moves[1])

    return value, linear(ahead, back, (both, found), moves, like=value)


def _there(both: tuple[Any, Step], schedule: AbstractSchedule, fast: bool) -> tuple[Float[Array, "*B"], PyTree]:
    """log p(y_{1:T}), and what the way back needs."""
    model, steps = both
    if together(schedule, model, steps, fast):
        log_evidence, walk = walk_together(model, steps, schedule)
        return jnp.sum(log_evidence, axis=-1), walk
    return _walk(model, steps, schedule)


def _slope(
    moves: PyTree, both: tuple[Any, Step], found: PyTree, cotangent: Array, schedule: AbstractSchedule, fast: bool
) -> PyTree:
    """The gradient of the evidence, summed with the weights `cotangent`, by what moves: the leaves that `moves` has."""
    model, steps = both
    side_by_side = together(schedule, model, steps, fast)
    if side_by_side:
        sensitivities = slope_together(model, steps, found, schedule, cotangent)
    else:
        sensitivities = _sensitivities(model, steps, schedule, found)
    moving = jax.tree.map(lambda move: move is not None, moves, is_leaf=lambda move: move is None)
    free, still = eqx.partition(both, moving)

    def expected(free: PyTree) -> Scalar:
        model, steps = eqx.combine(free, still)
        arranged = model.arrange(steps, schedule) if side_by_side else steps
        return model.first_order(model.prepare(arranged), sensitivities)

    slope = jax.grad(expected)(free)
    counted = side_by_side and steps.t.ndim == 2
    return slope if counted else jax.tree.map(lambda leaf: cotangent * leaf, slope)


def _one_ahead(model: AbstractDifferentiable, steps: Step, moves: PyTree, like: Array) -> Array:
    """How the evidence of one sequence of a batch changes."""
    _, found = _there((model, steps), Sequential(), fast=False)
    return _product(_slope(moves, (model, steps), found, jnp.ones((), like.dtype), Sequential(), False), moves, like)


def _product(slope: PyTree, moves: PyTree, like: Array) -> Array:
    """A scalar of the kind of `like`."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b).astype(like.dtype), slope, moves)
    return sum(jax.tree.leaves(products), start=jnp.zeros((), like.dtype))


class _There(NamedTuple):
    """What a walk in order leaves for the way back: filtered beliefs, and whether it was the quick form's."""

    filtered: Any
    is_quick: Flag


def _walk(model: AbstractDifferentiable, steps: Step, schedule: AbstractSchedule) -> tuple[Scalar, _There]:
    """log p(y_{1:T}) of one sequence, and the walk there."""
    quickens = has_quick_form(model, schedule)

    def one(form: Form) -> tuple[Array, tuple[Scalar, _There]]:
        _, log_evidence, filtered = form.walk(schedule, None, lambda saved: saved.filtered)
        kept = handed_out(filtered) if quickens else filtered
        return log_evidence, (jnp.sum(log_evidence), _There(kept, jnp.asarray(form.recursion is not form.model)))

    return in_form(one, model, steps, schedule)


def _sensitivities(model: AbstractDifferentiable, steps: Step, schedule: AbstractSchedule, there: _There) -> PyTree:
    """Sensitivities of one sequence, from the walk there, or, where that was the safe form's, from a new one."""

    def back(form: Form, predicted: Any, filtered: Any) -> PyTree:
        return form.model.sensitivities(form.steps, predicted, filtered, schedule)

    def from_there(form: Form, there: _There) -> PyTree:
        return back(form, predictions(form.recursion, form.prepared, there.filtered), there.filtered)

    def quick(model: AbstractDifferentiable, steps: Step, there: _There) -> tuple[Flag, PyTree]:
        return there.is_quick, from_there(Form.quick(model, steps), there)

    def safe(model: AbstractDifferentiable, steps: Step, there: _There) -> PyTree:
        form = Form.safe(model, steps)
        saved = form.beliefs(schedule, None)
        return back(form, saved.predicted, saved.filtered)

    if not has_quick_form(model, schedule):
        return from_there(Form.safe(model, steps), there)
    return either(quick, safe, (model, steps, there))
