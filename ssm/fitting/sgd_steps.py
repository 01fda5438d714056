"""Epochs of gradient steps, compiled once per model structure, data shape and optimiser."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.data import Sequences, each_key
from ssm.fitting.optimiser import Optimiser
from ssm.fitting.scores import Scores
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import index, select
from ssm.parameters import constrain
from ssm.parameters.freezing import Held, combine
from ssm.passes.evidence import evidence_of
from ssm.schedules import AbstractSchedule
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree
from ssm.steps import seen_steps


class Plan(eqx.Module):
    """What does not change from epoch to epoch and is known before compiling."""

    optimiser: Optimiser = eqx.field(static=True)
    schedule: AbstractSchedule = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    patience: int | None = eqx.field(static=True)


class State(NamedTuple):
    """Carried from epoch to epoch."""

    free: PyTree  # the parameters that move
    optimiser: PyTree
    best: PyTree  # the parameters of the best validation evidence
    best_score: Float[Array, ""]
    since_best: Int[Array, ""]
    log_prob: Float[Array, ""]  # training evidence of the last epoch
    epoch: Int[Array, ""]
    finished: Bool[Array, ""]


def start(free: PyTree, optimiser: Optimiser, dtype: jnp.dtype) -> State:
    """Before the first epoch."""
    nothing, zero = jnp.asarray(-jnp.inf, dtype), jnp.zeros((), int)
    return State(free, optimiser.init(free), free, nothing, zero, nothing, zero, jnp.zeros((), bool))


@compiled
def run_epochs(
    state: State,
    fixed: Held,
    sequences: Sequences,
    validation: Sequences | None,
    plan: Plan,
    limit: Int[Array, ""],
    tolerance: Float[Array, ""],
    key: Key | None,
) -> tuple[State, Scores, Int[Array, ""]]:
    """Up to `limit` epochs: training and validation evidence of each, and how many ran."""

    def unfinished(carry: tuple) -> Array:
        state, _, count = carry
        return (count < limit) & ~state.finished

    def epoch(carry: tuple) -> tuple:
        state, scores, count = carry
        epoch_key = None if key is None else jax.random.fold_in(key, state.epoch)
        free, memory, log_prob = _one_epoch(state, fixed, sequences, plan, epoch_key)
        finished = jnp.abs(log_prob - state.log_prob) < tolerance
        score = None
        best, best_score, since = free, state.best_score, state.since_best
        if validation is not None:
            score = total_evidence(free, fixed, validation, plan.schedule, epoch_key)
            better = score > state.best_score
            best, best_score = select(better, free, state.best), jnp.where(better, score, state.best_score)
            since = jnp.where(better, 0, state.since_best + 1)
            if plan.patience is not None:
                finished = finished | (since >= plan.patience)
        scores = scores.with_next(count, log_prob, score)
        return State(free, memory, best, best_score, since, log_prob, state.epoch + 1, finished), scores, count + 1

    none = Scores.none((2,), state.log_prob.dtype)
    return jax.lax.while_loop(unfinished, epoch, (state, none, jnp.zeros((), int)))


def _one_epoch(
    state: State, fixed: Held, sequences: Sequences, plan: Plan, key: Key | None
) -> tuple[PyTree, PyTree, Array]:
    """One pass over the data: new parameters and optimiser memory, and the evidence of the pass."""

    whole = _count(sequences, None)

    def step(carry: tuple, batch: tuple) -> tuple:
        free, memory = carry
        these, weights, batch_key = batch
        loss, gradient = jax.value_and_grad(_loss)(free, fixed, these, weights, whole, plan.schedule, batch_key)
        free, memory = plan.optimiser.update(gradient, memory, free)
        return (free, memory), -loss * _count(these, weights)

    if plan.batch_size is None or key is None:  # mini-batches have a key: `SGD.fit` asks for it
        carry, log_prob = step((state.free, state.optimiser), (sequences, None, key))
        return *carry, log_prob
    for_order, for_steps = jax.random.split(key)
    order, weights = shuffled_batches(for_order, sequences.steps.t.shape[0], plan.batch_size)
    keys = jax.random.split(for_steps, len(order))

    def batch_step(carry: tuple, inputs: tuple) -> tuple:
        rows, weights, batch_key = inputs
        return step(carry, (Sequences(index(sequences.steps, rows), True), weights, batch_key))

    carry, log_probs = jax.lax.scan(batch_step, (state.free, state.optimiser), (order, weights, keys))
    return *carry, jnp.sum(log_probs)


def shuffled_batches(key: Key, count: int, size: int) -> tuple[Int[Array, "M size"], Float[Array, "M size"]]:
    """A random order of all sequences in batches of `size`; the last one is filled up with weight zero."""
    batches = -(-count // size)
    order = jnp.resize(jax.random.permutation(key, count), (batches, size))
    weights = (jnp.arange(batches * size) < count).reshape(batches, size)
    return order, weights


def _loss(
    free: PyTree,
    fixed: Held,
    sequences: Sequences,
    weights: Array | None,
    whole: Array,
    schedule: AbstractSchedule,
    key: Key | None,
) -> Array:
    """Negative log-evidence (and log-prior) per observation; `whole` observations are in all the data."""
    model = constrain(combine(free, fixed))
    log_probs = evidence_of(model, sequences.steps, schedule, each_key(sequences, key))
    total = jnp.sum(log_probs if weights is None else jnp.where(weights, log_probs, 0))
    count = _count(sequences, weights)
    # A mini-batch bears its share of the prior, so that an epoch counts it once.
    prior = model.log_prior().astype(total.dtype)
    return -(total + prior * count / whole) / count


def total_evidence(
    free: PyTree, fixed: Held, sequences: Sequences, schedule: AbstractSchedule, key: Key | None
) -> Array:
    """Log-evidence of all sequences."""
    model = constrain(combine(free, fixed))
    return jnp.sum(evidence_of(model, sequences.steps, schedule, each_key(sequences, key)))


@compiled
def objective(free: PyTree, fixed: Held, sequences: Sequences, schedule: AbstractSchedule, key: Key | None) -> Array:
    """What is climbed: log-evidence of all sequences plus log-prior."""
    model = constrain(combine(free, fixed))
    evidence = jnp.sum(evidence_of(model, sequences.steps, schedule, each_key(sequences, key)))
    return evidence + model.log_prior().astype(evidence.dtype)


def _count(sequences: Sequences, weights: Array | None) -> Array:
    """Number of observed time steps, as a float; at least one."""
    seen = seen_steps(sequences.steps)
    if weights is not None:
        seen = seen & weights[:, None]
    return jnp.maximum(jnp.sum(seen), 1).astype(jnp.zeros(()).dtype)
