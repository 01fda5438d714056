"""Epochs of stochastic EM, compiled once per model structure and data shape."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssm.data import Sequences
from ssm.fitting.scores import Scores
from ssm.fitting.sgd_steps import shuffled_batches
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import index, times
from ssm.parameters import constrain
from ssm.parameters.freezing import moved
from ssm.passes.base import AbstractPass, Answer
from ssm.passes.door import ask
from ssm.passes.evidence import evidence_of
from ssm.passes.expectation import AbstractExpectation
from ssm.schedules import resolve
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


class State(NamedTuple):
    """Carried from epoch to epoch."""

    model: PyTree
    sums: PyTree  # running sufficient statistics, of the size of all the data
    epoch: Int[Array, ""]
    finished: Bool[Array, ""]


class Whole(NamedTuple):
    """All sequences, and how they are taken."""

    sequences: Sequences
    batch_size: int
    frozen: tuple[str, ...]


@compiled
def start(model: AbstractExpectation, whole: Whole) -> State:
    """Before the first epoch: no sums yet, and the first batch takes their place.

    Raises NotImplementedError for a model whose statistics grow with the data.
    """
    order = jnp.arange(whole.batch_size)
    like = jax.eval_shape(lambda: _expect(constrain(model), whole, order, order >= 0)[0])
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    return State(model, empty, jnp.zeros((), int), jnp.zeros((), bool))


@compiled
def run_epochs(
    state: State,
    whole: Whole,
    validation: Sequences | None,
    rates: Float[Array, "epochs batches"],
    limit: Int[Array, ""],
    key: Key,
) -> tuple[State, Scores, Int[Array, ""]]:
    """`limit` epochs; of each, the evidence summed over its batches, each at the parameters of its moment."""

    def epoch(carry: tuple) -> tuple:
        state, scores, done = carry
        count = whole.sequences.steps.t.shape[0]
        order, weights = shuffled_batches(jax.random.fold_in(key, state.epoch), count, whole.batch_size)
        batches = (order, weights, rates[state.epoch])
        step = lambda carry, batch: _one_batch(carry, whole, batch)
        (model, sums), log_probs = jax.lax.scan(step, (state.model, state.sums), batches)
        held_out = None if validation is None else total_evidence(model, validation)
        scores = scores.with_next(done, jnp.sum(log_probs), held_out)
        return State(model, sums, state.epoch + 1, state.finished), scores, done + 1

    none = Scores.none((2,), rates.dtype)
    return jax.lax.while_loop(lambda carry: carry[2] < limit, epoch, (state, none, jnp.zeros((), int)))


def _one_batch(carry: tuple, whole: Whole, batch: tuple[Array, Array, Array]) -> tuple[tuple[PyTree, PyTree], Array]:
    """s <- (1 - rate) s + rate s(batch), and the parameters that fit s best (Cappé & Moulines 2009, eq. 8)."""
    (model, sums), (order, weights, rate) = carry, batch
    plain = constrain(model)
    new, log_prob = _expect(plain, whole, order, weights)
    sums = plain.blend(sums, new, rate)
    best = plain.fitted(sums, frozenset(whole.frozen))
    return (moved(model, best, whole.frozen), sums), log_prob


def _expect(plain: AbstractExpectation, whole: Whole, order: Array, weights: Array) -> tuple[PyTree, Array]:
    """The sufficient statistics of a batch, as if all the data were like it, and its log-evidence."""
    batch = Sequences(index(whole.sequences.steps, order), True)

    def expected(way: AbstractPass) -> Answer:
        holds, statistics = way.statistics()
        return Answer(holds, (statistics, way.log_evidence))

    statistics, log_evidence = ask(expected, plain, batch.steps, resolve("auto", plain))
    dtype = log_evidence.dtype
    share = weights.astype(dtype) * whole.sequences.steps.t.shape[0] / jnp.sum(weights).astype(dtype)
    scaled = times(statistics, share)
    return plain.sums(scaled, batch.steps), jnp.sum(jnp.where(weights[:, None], log_evidence, 0))


@compiled
def total_evidence(model: PyTree, sequences: Sequences) -> Array:
    """Log-evidence of all sequences."""
    plain = constrain(model)
    return jnp.sum(evidence_of(plain, sequences.steps, resolve("auto", plain, sequences.steps.t.shape)))
