"""More of it: drawing states and observations from a model."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ssm.data import check_key, future_steps
from ssm.model import AbstractModel, AbstractStateSpace
from ssm.numeric.checks import positive_int
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import index, select
from ssm.parameters import constrain
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Key, PyTree
from ssm.steps import Step


def simulate(
    model: AbstractRecursion | AbstractStateSpace, key: Key, steps: int, inputs: PyTree = None
) -> tuple[PyTree, Array]:
    """Draw one sequence: its states (steps, ...) and observations (steps, *event).

    Shapes: `inputs` (steps, U). The states are discrete (steps,) for an HMM, vectors (steps, D) for a
    LinearGaussian, hidden states for an RNN, the predicted beliefs of a member that has no other state. Draws do not
    depend on `steps`: a longer run begins with the shorter one. Raises ValueError for missing inputs, TypeError for an
    untyped key, no model, or a member that could not read what is drawn.
    """
    if not isinstance(model, AbstractModel):
        raise TypeError(f"model: expected a model of this library, such as ssm.HMM, got {type(model).__name__}")
    check_key(key)
    ahead = future_steps(model, (positive_int("steps", steps),), inputs)
    return _simulate(model, ahead, key)


@compiled
def _simulate(model, steps, key):
    model = constrain(model)
    return draw_path(model, None, prepare_to_draw(model, steps), key)


def draw_path(model: Any, belief: Any, steps: Step, key: Key) -> tuple[PyTree, Array]:
    """States and observations drawn one after the other, from the start or from after the filtered `belief`.

    For a constrained model and prepared steps (T, ...) whose y is not read.
    """
    for_start, for_steps = jax.random.split(key)
    draw: Any = _draw_state if isinstance(model, AbstractStateSpace) else _draw_belief

    def body(carry: tuple[Any, Array | None], step: Step) -> tuple[Any, tuple[PyTree, Array]]:
        state, started = carry
        state, seen, y = draw(model, state, started, step.u, jax.random.fold_in(for_steps, step.t))
        return (state, None if started is None else jnp.ones((), bool)), (seen, y)

    first = index(steps.u, 0)
    if belief is not None:
        start = belief.sample(for_start) if isinstance(model, AbstractStateSpace) else belief
    elif isinstance(model, AbstractStateSpace):
        start = model.initial_state(first).sample(seed=for_start)
    else:
        start = model.init(first, key=for_start)
    carry = (start, jnp.zeros((), bool) if belief is None else None)  # None: no start is ever drawn
    return jax.lax.scan(body, carry, steps)[1]


def _draw_state(model: AbstractStateSpace, state: PyTree, started: Array | None, u: PyTree, key: Key):
    """x_t from x_{t-1} (or from the initial distribution), then y_t from x_t."""
    for_state, for_y = jax.random.split(key)
    after = model.next_state(state, u).sample(seed=for_state)
    state = after if started is None else select(started, after, model.initial_state(u).sample(seed=for_state))
    return state, state, model.observation(state, u).sample(seed=for_y)


def _draw_belief(model: AbstractRecursion, belief: Any, started: Array | None, u: PyTree, key: Key):
    """Move the belief, make it certain of a state, draw y_t from what it predicts, and correct it by that very draw."""
    for_move, for_y, for_update = jax.random.split(key, 3)
    prior = model.predict(belief, u, key=for_move)
    prior = prior if started is None else select(started, prior, model.init(u, key=for_move))
    prior = model.draw_state(prior, jax.random.fold_in(for_move, 1))
    y = model.emit(prior, u).sample(seed=for_y)
    return model.absorb(prior, u, y, key=for_update), getattr(prior, "state", prior), y


def prepare_to_draw(model: Any, steps: Step) -> Step:
    """Prepared steps for `draw_path`; TypeError for a member that could not read what is drawn."""
    prepared = model.prepare(steps)
    own = lambda method, base: getattr(type(model), method) is not getattr(base, method)
    if isinstance(model, AbstractStateSpace) or not own("prepare", AbstractModel) or own("absorb", AbstractRecursion):
        return prepared
    traced = jax.make_jaxpr(lambda y: model.prepare(dataclasses.replace(steps, y=y)).y)(steps.y).jaxpr
    if traced.outvars != traced.invars:
        raise TypeError(
            f"{type(model).__name__}.absorb: `prepare` changes y, and what is drawn from `emit` is not prepared; say "
            "in `absorb` how the belief takes in such a y"
        )
    return prepared
