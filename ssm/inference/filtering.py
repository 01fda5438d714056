"""The present: filtering, evidence, and streaming one observation at a time."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.data import Sequences, each_key, needs_key, observe
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import index, widen
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.base import AbstractPass, Answer
from ssm.passes.door import ask, where_missing
from ssm.passes.evidence import evidence_of
from ssm.recursion import AbstractRecursion
from ssm.scan import evidence_only, scan
from ssm.schedules import AbstractSchedule, resolve
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.steps import Step


class Filtered(eqx.Module):
    """What the past says about the present.

    `predicted` and `filtered` are stacked beliefs p(x_t | y_<t) and p(x_t | y_<=t); `log_evidence` (T,) is
    log p(y_t | y_<t), 0 where nothing was observed; `log_prob` its sum. A leading B for batches.
    """

    predicted: Any
    filtered: Any
    log_evidence: Float[Array, "*B T"]

    @property
    def log_prob(self) -> Float[Array, "*B"]:
        """log p(y_{1:T})."""
        return jnp.sum(self.log_evidence, axis=-1)

    @property
    def first_impossible(self) -> Int[Array, "*B"]:
        """Index of the first observation that cannot happen under the model; -1 if all can."""
        impossible = self.log_evidence == -jnp.inf
        return jnp.where(jnp.any(impossible, axis=-1), jnp.argmax(impossible, axis=-1), -1)


def log_prob(
    model: AbstractRecursion,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
    key: Key | None = None,
) -> Float[Array, "*B"]:
    """log p(ys | model): how likely the observations are, () or (B,).

    For particle filters the log of an unbiased estimate, for variational models a lower bound (both need a
    key). -inf for impossible observations; `ssm.filter(...).first_impossible` names the first one.
    Arguments and errors as in `ssm.filter`.
    """
    needs_key(model, key, "log_prob")
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return _log_prob(model, sequences, resolve(schedule, model, sequences.steps.t.shape), key)


def filter(
    model: AbstractRecursion,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
    key: Key | None = None,
) -> Filtered:
    """Beliefs about each present, from the past alone; never from the future.

    Shapes: `ys` (T, *event) or (B, T, *event), NaN where missing; `inputs` (T, U); `mask` True where observed,
    (T,) or (T, N); `lengths` how many leading steps are real, () or (B,); `starts` (T,) True where a new
    sequence begins in a packed one; all with a leading B for a batch. `schedule` "auto", "sequential",
    "associative", "blocked", "fixed_point" or an object of `ssm.schedules`.

    NaN means missing under `jit`, `vmap` and `grad`, too, where what is missing is looked for as the program runs: one
    flag per step or component, which costs next to nothing; a `LinearGaussian`, for which flags are dear, is compiled
    both ways and takes the fast one where nothing is missing. `missing=False` says that nothing is (except by `mask`
    and `lengths`), and compiles one way alone. Under `jit` what would be an error elsewhere (a NaN then, an infinite
    number, a gap in an `ARHMM`) ends in NaN: the evidence, beliefs from there on, and -1 for states that are decided or
    drawn. What a family cannot emit has an evidence of -inf, or NaN.

    Raises ValueError or TypeError that names the argument when shapes, dtypes or values do not fit the model,
    and TypeError for a schedule that the model does not support.
    """
    needs_key(model, key, "filter")
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return filter_sequences(model, sequences, resolve(schedule, model, sequences.steps.t.shape), key)


@tried
@where_missing
def _log_prob(model, sequences, schedule, key):
    return evidence_of(constrain(model), sequences.steps, schedule, each_key(sequences, key))


@tried
@where_missing
def filter_sequences(model, sequences, schedule, key) -> Filtered:
    """`ssm.filter` on checked sequences."""
    return ask(_filtered, constrain(model), sequences.steps, schedule, each_key(sequences, key))


def _filtered(way: AbstractPass) -> Answer:
    holds, (predicted, filtered) = way.beliefs()
    return Answer(holds, Filtered(predicted, filtered, way.log_evidence))


# -- streaming ------------------------------------------------------------------------------------------------


class State(eqx.Module):
    """Where a stream stands: the filtered belief, and how many steps went into it."""

    belief: Any
    t: Int[Array, ""]


def init(model: AbstractRecursion, u: PyTree = None, *, key: Key | None = None) -> State:
    """The state of a stream before its first observation.

    `u` is the first input, for models whose initial distribution reads it.
    """
    needs_key(model, key, "init")
    belief, _ = before_first(model, u, key)
    return State(belief, jnp.zeros((), int))


def before_first(model: AbstractRecursion, u: PyTree, key: Key | None) -> tuple[Any, Step]:
    """The initial belief of a stream, and what the model makes of a first step of which only the input is known."""
    if u is None and model.num_inputs:
        u = np.zeros(model.num_inputs)  # an initial distribution that reads u is replaced at the first step
    plain = constrain(model)
    first = index(plain.prepare(at(one_step(model, None, u, by_parts=True).steps, jnp.zeros((), int))), 0)
    return plain.init(first.u, key=key), first


def step(
    model: AbstractRecursion, state: State, y: Array | None, u: PyTree = None, *, key: Key | None = None
) -> tuple[State, Scalar]:
    """Take one more observation into a stream: the new state, and log p(y_t | y_<t).

    `y` is one event, None (or NaN) if it is missing; `u` is the input of this step. The states and evidence
    are those of `ssm.filter` on the whole sequence; pass the same `key` at every step.
    """
    needs_key(model, key, "step")
    if not isinstance(state, State):
        raise TypeError(f"state: expected the state of ssm.init or ssm.step, got {type(state).__name__}")
    return _step(model, one_step(model, y, u), state, key)


def one_step(model: AbstractRecursion, y: Any, u: PyTree, *, by_parts: bool = False) -> Sequences:
    """One checked observation as a sequence with T = 1, always with flags, so that a stream has one trace.

    `by_parts`: one flag for every component wherever single ones may be missing, so that what is kept is alike, too.
    """
    missing = y is None
    y = np.zeros(model.event_shape, int if model.event_kind == "symbol" else float) if missing else y
    y = y if eqx.is_array(y) else np.asarray(y)
    if tuple(y.shape) != model.event_shape:
        raise ValueError(f"y: expected one event of shape {model.event_shape}, got {tuple(y.shape)}")
    stacked = lambda leaf: (leaf if eqx.is_array(leaf) else np.asarray(leaf))[None]
    one = observe(model, y[None], jax.tree.map(stacked, u))
    flags = jnp.asarray(np.full((1,), not missing)) if one.steps.observed is None else one.steps.observed
    steps = dataclasses.replace(one.steps, observed=flags)
    if by_parts and model.event_shape and flags.ndim == 1:
        wide = dataclasses.replace(steps, observed=jnp.broadcast_to(widen(flags, y.ndim + 1), (1, *y.shape)))
        steps = wide if model.misses_parts(wide) else steps
    return dataclasses.replace(one, steps=steps)


def at(steps: Step, t: Array) -> Step:
    """That one step as the one at time t of a stream."""
    return dataclasses.replace(steps, first=(t == 0)[None], t=t[None])


@compiled
@where_missing
def _step(model, sequences, state, key):
    model, steps = constrain(model), at(sequences.steps, state.t)
    belief, log_evidence = scan(model, model.prepare(steps), belief=state.belief, key=key, save=evidence_only)
    return State(belief, state.t + 1), log_evidence[0]
