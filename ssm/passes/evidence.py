"""The evidence, whose gradient is an expectation of statistics (Fisher's identity), and those statistics.

    ∇ log p(y; θ) = E_{p(x|y)} [∇ log p(x, y; θ)] = ∇_θ Q(θ, statistics)     at θ = the current parameters

EM maximises Q, gradient methods take a step up ∇Q, and both get the statistics from one forward and one
backward pass. Because the backward pass of `evidence` *is* that identity, reverse mode keeps (T, K) beliefs
where differentiating through the scan would keep what every operation of every step needs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import handed_out
from ssm.data import Sequences, over_sequences
from ssm.numeric.transposing import linear
from ssm.numeric.trial import on_trial
from ssm.passes.backward import smooth_backward
from ssm.passes.expectation import AbstractDifferentiable, AbstractExpectation
from ssm.passes.in_order import (
    Form,
    each_sequence,
    either,
    forward,
    from_beliefs,
    has_quick_form,
    in_form,
    nothing,
    where_it_holds,
)
from ssm.recursion import AbstractRecursion, AbstractReversibleRecursion, offers
from ssm.scan import Saved, predictions
from ssm.schedules import AbstractSchedule, Sequential, together
from ssm.shapes import Array, Flag, Float, Key, PyTree, Scalar
from ssm.steps import Step


def statistics_of(model: AbstractExpectation, steps: Step, schedule: AbstractSchedule) -> tuple[PyTree, Array]:
    """Expected statistics and log p(y_t | y_<t) (T,), for a constrained model and one sequence as observed."""

    def counted(form: Form, saved: Saved) -> tuple[PyTree, Array]:
        return form.model.statistics(form.steps, saved.predicted, saved.filtered, schedule), saved.log_evidence

    return from_beliefs(counted, model, steps, schedule, None)


def smooth_one(model: Any, steps: Step, schedule: AbstractSchedule, key: Key | None) -> tuple[Any, Float[Array, "T"]]:
    """Smoothed beliefs (T, ...) and log p(y_t | y_<t), for a constrained model and one sequence as observed."""

    def smoothed(form: Form, saved: Saved) -> tuple[Any, Array]:
        back = smooth_backward(form.model, form.prepared, saved.predicted, saved.filtered, schedule)
        return back, saved.log_evidence

    return from_beliefs(smoothed, model, steps, schedule, key)


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
        log_evidence, walk = _walk_together(model, steps, schedule)
        return jnp.sum(log_evidence, axis=-1), walk
    return _walk(model, steps, schedule)


def _slope(
    moves: PyTree, both: tuple[Any, Step], found: PyTree, cotangent: Array, schedule: AbstractSchedule, fast: bool
) -> PyTree:
    """The gradient of the evidence, summed with the weights `cotangent`, by what moves: the leaves that `moves` has."""
    model, steps = both
    side_by_side = together(schedule, model, steps, fast)
    if side_by_side:
        sensitivities = _slope_together(model, steps, found, schedule, cotangent)
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


# -- side by side ---------------------------------------------------------------------------------------------


class _Walk(NamedTuple):
    """What the way there leaves for the way back."""

    holds: Flag
    found: PyTree


def _walk_together(
    model: AbstractDifferentiable, steps: Step, schedule: AbstractSchedule
) -> tuple[Float[Array, "*B T"], _Walk]:
    """log p(y_t | y_<t), and the walk there."""

    def attempt(model: AbstractDifferentiable, steps: Step, walk: _Walk, log_evidence: Array) -> tuple[Flag, Callable]:
        return walk.holds, lambda: log_evidence

    def in_order(model: AbstractDifferentiable, steps: Step, walk: _Walk, log_evidence: Array) -> Array:
        return each_sequence(lambda steps: forward(model, steps, Sequential(), None, nothing)[1], steps)

    # What was found goes past the choice, which would copy it: where it does not hold, it is not read.
    walk, log_evidence = _walked((model, steps), schedule)
    return where_it_holds(attempt, in_order, (model, steps, walk, log_evidence)), walk


@eqx.filter_custom_jvp
def _walked(model_and_steps, schedule):
    model, steps = model_and_steps
    holds, found, log_evidence = model.walk_side_by_side(steps, schedule)
    return _Walk(holds, found), log_evidence


@_walked.def_jvp
def _walked_jvp(primals, tangents):
    """Nothing: derivatives are those of walking in order."""
    found = _walked(*primals)
    still = lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else None
    return found, jax.tree.map(still, found)


def _slope_together(
    model: AbstractDifferentiable, steps: Step, walk: _Walk, schedule: AbstractSchedule, counted: Array
) -> PyTree:
    """Sensitivities in the order of `arrange`, of one sequence, or of a batch as often as `counted` (B,) says."""
    often = counted if steps.t.ndim == 2 else None

    def attempt(model: AbstractDifferentiable, steps: Step, walk: _Walk, often: Any) -> tuple[Flag, Callable]:
        holds, sensitivities = model.slope_side_by_side(steps, schedule, walk.found, often)
        return walk.holds & holds, lambda: sensitivities

    def in_order(model: AbstractDifferentiable, steps: Step, walk: _Walk, often: Any) -> PyTree:
        def back(form: Form, saved: Saved) -> PyTree:
            return form.model.sensitivities(form.steps, saved.predicted, saved.filtered, Sequential())

        one = lambda steps: from_beliefs(back, model, steps, Sequential(), None)
        return model.arrange_sensitivities(each_sequence(one, steps), steps, schedule, often)

    return where_it_holds(attempt, in_order, (model, steps, walk, often))


def smooth_together(
    model: AbstractReversibleRecursion, steps: Step, schedule: AbstractSchedule
) -> tuple[Any, Float[Array, "*B T"]]:
    """Smoothed beliefs and log p(y_t | y_<t), of one sequence or a batch, where the schedule takes it together."""

    def attempt(model: AbstractReversibleRecursion, steps: Step) -> tuple[Flag, Callable]:
        holds, smoothed, log_evidence = model.smooth_side_by_side(steps, schedule)
        return holds, lambda: (smoothed, log_evidence)

    def in_order(model: AbstractReversibleRecursion, steps: Step) -> tuple[Any, Array]:
        return each_sequence(lambda steps: smooth_one(model, steps, Sequential(), None), steps)

    return where_it_holds(attempt, in_order, (model, steps))
