"""Iterations of L-BFGS on the whole data, compiled once per model structure and data shape.

Directions are optax's. The line search is our own, because of one thing: it holds the objective once, where
`optax.scale_by_zoom_linesearch` holds it several times, and compiling it is what a fit mostly waits for.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ssm.data import Sequences
from ssm.fitting.scores import Scores
from ssm.fitting.sgd_steps import objective, total_evidence
from ssm.fitting.starts import for_each, keep
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import length, select
from ssm.parameters.freezing import Held
from ssm.schedules import AbstractSchedule, under_vmap
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar

# What a step must do (Nocedal & Wright 2006, eq. 3.6): lower the loss by a share of what the slope promises, and
# leave less than a share of the slope.
DECREASE, CURVATURE = 1e-4, 0.9


class Plan(NamedTuple):
    """What is known before compiling."""

    memory: int
    line_search: int
    schedule: AbstractSchedule


class State(NamedTuple):
    """Carried from iteration to iteration, with a leading axis R of restarts."""

    free: PyTree  # the parameters that move
    loss: Scalar  # negative evidence and prior per observation, there
    direction: PyTree  # where the next step goes
    slope: Scalar  # of the loss in that direction
    memory: PyTree  # past steps and gradients
    finished: Bool[Array, ""]


class Trial(NamedTuple):
    """Where a line search stands: the last length tried, what was found there, and the bracket around a good one."""

    length: Scalar
    low: Scalar
    high: Scalar
    tried: Int[Array, ""]
    free: PyTree
    loss: Scalar
    gradient: PyTree
    good: Bool[Array, ""]


def start(free: PyTree, plan: Plan, dtype: jnp.dtype) -> State:
    """Before the first iteration, which goes nowhere: it finds the loss and the gradient at the starts (R, ...)."""
    restarts = length(free)
    nowhere, zero = jax.tree.map(jnp.zeros_like, free), jnp.zeros(restarts, dtype)
    return State(free, zero + jnp.inf, nowhere, zero, jax.vmap(_lbfgs(plan).init)(free), jnp.zeros(restarts, bool))


def _lbfgs(plan: Plan) -> optax.GradientTransformation:
    return optax.scale_by_lbfgs(memory_size=plan.memory)


@compiled
def run_iterations(
    state: State,
    fixed: Held,
    sequences: Sequences,
    validation: Sequences | None,
    plan: Plan,
    limit: Int[Array, ""],
    count: Float[Array, ""],
    tolerance: Float[Array, ""],
    key: Key | None,
) -> tuple[State, Scores, Int[Array, ""]]:
    """Up to `limit` iterations, fewer if all restarts converge.

    Also the objective and the validation evidence that each reached (none once converged), and how many iterations ran.
    The objective is climbed per observation (`count` of them), so that the first step has a sensible length.
    """
    restarts = state.finished.shape[0]
    shape = sequences.steps.t.shape
    schedule = plan.schedule if restarts == 1 else under_vmap(plan.schedule, shape)
    loss = lambda free: -objective(free, fixed, sequences, schedule, key) / count

    def unfinished(carry: tuple) -> Array:
        state, _, done = carry
        return (done < limit) & ~jnp.all(state.finished)

    def climb(state: State) -> tuple[State, tuple[Scalar, Scalar | None]]:
        trial = _search(jax.value_and_grad(loss), state, plan.line_search)
        first = state.loss == jnp.inf
        moved = trial.good | (trial.loss < state.loss)
        # As in EM, the iteration that finds a gain below the tolerance is the last one; so is one that finds none, and
        # the first where the start is impossible, or NaN.
        settled = ~moved | ((state.loss - trial.loss) * count < tolerance)
        finished = jnp.where(first, ~(trial.loss < jnp.inf), settled)
        free, reached = select(moved, (trial.free, trial.loss), (state.free, state.loss))
        direction, slope, memory = _direction(trial.gradient, state.memory, free, plan)
        held_out = None
        if validation is not None:
            held_out = total_evidence(free, fixed, validation, schedule, key)
        shown = -count * jnp.where(first, trial.loss, reached)
        return State(free, reached, direction, slope, memory, finished), (shown, held_out)

    def one(carry: tuple) -> tuple:
        state, scores, done = carry
        stepped, (shown, held_out) = for_each(climb, state)
        scores = scores.with_next(done, shown, held_out, known=~state.finished)
        return keep(state.finished, state, stepped), scores, done + 1

    none = Scores.none((2, restarts), state.loss.dtype)
    return jax.lax.while_loop(unfinished, one, (state, none, jnp.zeros((), int)))


def _search(value_and_gradient: Callable, state: State, evaluations: int) -> Trial:
    """A step length that meets both conditions, by doubling and halving (Lewis & Overton 2013, algorithm 4.6)."""

    def unfinished(trial: Trial) -> Array:
        return ~trial.good & (trial.tried < evaluations)

    def one(trial: Trial) -> Trial:
        length = jnp.where(
            trial.tried == 0, 1, jnp.where(trial.high == jnp.inf, 2 * trial.length, (trial.low + trial.high) / 2)
        )
        free = jax.tree.map(lambda leaf, move: leaf + length.astype(leaf.dtype) * move, state.free, state.direction)
        loss, gradient = value_and_gradient(free)
        # Comparisons with NaN are false: a length that leads to NaN or infinity is too long.
        lower = loss <= state.loss + DECREASE * length * state.slope
        flat = _dot(gradient, state.direction) >= CURVATURE * state.slope
        low, high = jnp.where(lower, length, trial.low), jnp.where(lower, trial.high, length)
        return Trial(length, low, high, trial.tried + 1, free, loss, gradient, lower & flat)

    zero = jnp.zeros_like(state.loss)
    nothing = jax.tree.map(jnp.zeros_like, state.free)
    # Beside other starts, one that is finished does not search.
    untried = Trial(zero + 1, zero, zero + jnp.inf, jnp.zeros((), int), state.free, state.loss, nothing, state.finished)
    return jax.lax.while_loop(unfinished, one, untried)


def _direction(gradient: PyTree, memory: PyTree, free: PyTree, plan: Plan) -> tuple[PyTree, Scalar, PyTree]:
    """The quasi-Newton step and its slope; down the gradient where that would not lead down."""
    with jax.numpy_dtype_promotion("standard"):  # optax counts in int32, also where integers are int64
        scaled, memory = _lbfgs(plan).update(gradient, memory, free)
    down = _dot(scaled, gradient) > 0
    direction = jax.tree.map(lambda step, plain: -jnp.where(down, step, plain), scaled, gradient)
    return direction, _dot(direction, gradient), memory


def _dot(a: PyTree, b: PyTree) -> Scalar:
    return jnp.asarray(optax.tree.vdot(a, b))
