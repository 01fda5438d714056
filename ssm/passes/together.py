"""The walk there and back of one long sequence in blocks, or of a batch, where it is taken as a whole."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.passes.expectation import AbstractDifferentiable
from ssm.passes.forms import Form
from ssm.passes.in_order import each_sequence, forward, from_beliefs, nothing, where_it_holds
from ssm.scan import Saved
from ssm.schedules import AbstractSchedule, Sequential
from ssm.shapes import Array, Flag, Float, PyTree
from ssm.steps import Step


class Walk(NamedTuple):
    """What the way there leaves for the way back."""

    holds: Flag
    found: PyTree


def walk_together(
    model: AbstractDifferentiable, steps: Step, schedule: AbstractSchedule
) -> tuple[Float[Array, "*B T"], Walk]:
    """log p(y_t | y_<t), and the walk there."""

    def attempt(model: AbstractDifferentiable, steps: Step, walk: Walk, log_evidence: Array) -> tuple[Flag, Callable]:
        return walk.holds, lambda: log_evidence

    def in_order(model: AbstractDifferentiable, steps: Step, walk: Walk, log_evidence: Array) -> Array:
        return each_sequence(lambda steps: forward(model, steps, Sequential(), None, nothing)[1], steps)

    # What was found goes past the choice, which would copy it: where it does not hold, it is not read.
    walk, log_evidence = _walked((model, steps), schedule)
    return where_it_holds(attempt, in_order, (model, steps, walk, log_evidence)), walk


@eqx.filter_custom_jvp
def _walked(model_and_steps, schedule):
    model, steps = model_and_steps
    holds, found, log_evidence = model.walk_side_by_side(steps, schedule)
    return Walk(holds, found), log_evidence


@_walked.def_jvp
def _walked_jvp(primals, tangents):
    """Nothing: derivatives are those of walking in order."""
    found = _walked(*primals)
    still = lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else None
    return found, jax.tree.map(still, found)


def slope_together(
    model: AbstractDifferentiable, steps: Step, walk: Walk, schedule: AbstractSchedule, counted: Array
) -> PyTree:
    """Sensitivities in the order of `arrange`, of one sequence, or of a batch as often as `counted` (B,) says."""
    often = counted if steps.t.ndim == 2 else None

    def attempt(model: AbstractDifferentiable, steps: Step, walk: Walk, often: Any) -> tuple[Flag, Callable]:
        holds, sensitivities = model.slope_side_by_side(steps, schedule, walk.found, often)
        return walk.holds & holds, lambda: sensitivities

    def in_order(model: AbstractDifferentiable, steps: Step, walk: Walk, often: Any) -> PyTree:
        def back(form: Form, saved: Saved) -> PyTree:
            return form.model.sensitivities(form.steps, saved.predicted, saved.filtered, Sequential())

        one = lambda steps: from_beliefs(back, model, steps, Sequential(), None)
        return model.arrange_sensitivities(each_sequence(one, steps), steps, schedule, often)

    return where_it_holds(attempt, in_order, (model, steps, walk, often))
