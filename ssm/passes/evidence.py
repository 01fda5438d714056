"""The evidence, whose gradient is an expectation of statistics (Fisher's identity).

    ∇ log p(y; θ) = E_{p(x|y)} [∇ log p(x, y; θ)] = ∇_θ Q(θ, statistics)     at θ = the current parameters

EM maximises Q, gradient methods take a step up ∇Q, and both get the statistics from one forward and one
backward pass. Because the backward pass of `evidence` *is* that identity, reverse mode keeps (T, K) beliefs
where differentiating through the scan would keep what every operation of every step needs.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.numeric.protocols import offers
from ssm.numeric.transposing import linear
from ssm.numeric.trial import on_trial
from ssm.passes.base import AbstractPass, Answer
from ssm.passes.door import answered, ask, either, ways
from ssm.passes.expectation import AbstractDifferentiable
from ssm.recursion import AbstractRecursion
from ssm.schedules import AbstractSchedule, Sequential
from ssm.shapes import Array, Float, Keys, PyTree
from ssm.steps import Step


def evidence_of(
    model: AbstractRecursion, steps: Step, schedule: AbstractSchedule, key: Keys | None = None
) -> Float[Array, "*B"]:
    """log p(y_{1:T}) of steps (T,) or (B, T) as observed, for a constrained model; `key` (B,) for a batch."""
    if offers(model, AbstractDifferentiable) and not on_trial():  # where nothing is differentiated
        return _evidence((model, steps), schedule)
    return ask(_total, model, steps, schedule, key)


def _total(way: AbstractPass) -> Answer:
    return Answer(way.holds, jnp.sum(way.log_evidence, axis=-1))


@eqx.filter_custom_jvp
def _evidence(both, schedule):
    return ask(_total, *both, schedule)


@_evidence.def_jvp
def _evidence_jvp(primals, tangents):
    """Backwards: one walk back for all sequences together. Forwards: what moves, times the slope of each sequence."""
    both, schedule = primals
    moves = tangents[0]
    value, way = _there(both, schedule)

    def back(held: tuple, cotangent: Array) -> PyTree:
        both, way = held
        return _slope(moves, both, way, cotangent, schedule)

    def ahead(held: tuple, moves: PyTree) -> Array:
        if not value.ndim:
            return _product(back(held, jnp.ones_like(value)), moves, value)
        model, steps = held[0]
        each = lambda steps, moved: _one_ahead(model, steps, (moves[0], moved), value)
        return jax.vmap(each)(steps, moves[1])

    return value, linear(ahead, back, (both, way), moves, like=value)


def _there(both: tuple[Any, Step], schedule: AbstractSchedule) -> tuple[Float[Array, "*B"], AbstractPass]:
    """log p(y_{1:T}), and the first way there, for the way back."""
    model, steps = both
    first, *behind = ways(model, steps, schedule)
    way: Any = first.of(model, steps, schedule) if first.differentiable else _walked(both, first, schedule)

    def fast(way: AbstractPass, model: Any, steps: Step) -> Answer:
        return _total(way)

    def safe(way: AbstractPass, model: Any, steps: Step) -> Array:
        return answered(_total, behind, schedule, (model, steps, None, ()))

    value = either(fast, safe if behind else None, (way, model, steps), first.differentiable)
    # What was found goes past the choice, which would copy it: where it does not hold, it is not read.
    return value, way.kept()


@eqx.filter_custom_jvp
def _walked(both, way, schedule):
    return way.of(*both, schedule)


@_walked.def_jvp
def _walked_jvp(primals, tangents):
    """Nothing: derivatives are those of the ways behind it."""
    found = _walked(*primals)
    still = lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else None
    return found, jax.tree.map(still, found)


def _slope(
    moves: PyTree, both: tuple[Any, Step], way: AbstractPass, counted: Array, schedule: AbstractSchedule
) -> PyTree:
    """The gradient of the evidence, each sequence as often as `counted`, by what moves: the leaves that `moves` has."""
    moving = jax.tree.map(lambda move: move is not None, moves, is_leaf=lambda move: move is None)
    first, *behind = ways(*both, schedule)

    def fast(way: AbstractPass, model: Any, steps: Step, counted: Array) -> Answer:
        return way.slope(moving, counted)

    def safe(way: AbstractPass, model: Any, steps: Step, counted: Array) -> PyTree:
        question = lambda way, counted: way.slope(moving, counted)
        return answered(question, behind, schedule, (model, steps, None, (counted,)))

    return either(fast, safe if behind else None, (way, *both, counted), first.differentiable)


def _one_ahead(model: AbstractRecursion, steps: Step, moves: PyTree, like: Array) -> Array:
    """How the evidence of one sequence of a batch changes."""
    _, way = _there((model, steps), Sequential())
    return _product(_slope(moves, (model, steps), way, jnp.ones((), like.dtype), Sequential()), moves, like)


def _product(slope: PyTree, moves: PyTree, like: Array) -> Array:
    """A scalar of the kind of `like`."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b).astype(like.dtype), slope, moves)
    return sum(jax.tree.leaves(products), start=jnp.zeros((), like.dtype))
