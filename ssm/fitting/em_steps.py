"""Iterations of EM over all restarts at once, compiled once per model structure and data shape."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssm.data import Sequences
from ssm.fitting.scores import Scores
from ssm.fitting.starts import for_each, keep
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import float_dtype, index, length, stack
from ssm.numeric.trial import claim, heard, on_trial, tried
from ssm.parameters import constrain
from ssm.parameters.freezing import moved
from ssm.passes.base import AbstractPass, Answer
from ssm.passes.door import ask
from ssm.passes.evidence import evidence_of
from ssm.schedules import resolve
from ssm.shapes import Array, Bool, Float, Int, PyTree


class State(NamedTuple):
    """Carried from iteration to iteration, with a leading axis R of restarts."""

    models: PyTree
    log_probs: Float[Array, "R"]
    finished: Bool[Array, "R"]


@compiled
def start(models: list[PyTree]) -> State:
    """Before the first iteration, from R models."""
    restarts = len(models)
    return State(stack(models), jnp.full(restarts, -jnp.inf, float_dtype(models)), jnp.zeros(restarts, bool))


@tried
def iterate(
    state: State,
    sequences: Sequences,
    validation: Sequences | None,
    limit: Int[Array, ""] | np.ndarray,
    tolerance: Float[Array, ""] | np.ndarray,
    frozen: tuple[str, ...],
) -> tuple[State, Scores, Int[Array, ""]]:
    """Up to `limit` iterations, fewer if all restarts converge.

    Also the training and validation evidence of the models that entered each (none once converged), the sum of the
    absolute values that the first is a sum of, and how many iterations ran.
    """
    restarts = state.finished.shape[0]

    def unfinished(carry: tuple) -> Array:
        state, _, count, held = carry
        return (count < limit) & ~jnp.all(state.finished) & jnp.all(held)

    def explore(models: PyTree) -> tuple:
        improve = lambda model: _improve(model, sequences, frozen, restarts == 1)
        held_out = None if validation is None else total_evidence(models, validation)
        return *for_each(improve, models), held_out

    def one(carry: tuple) -> tuple:
        state, scores, count, held = carry
        (stepped, (log_probs, sizes), held_out), holds = heard(explore)(state.models)
        # An iteration that finds a gain below the tolerance is the last one; its M-step is still taken.
        finished = state.finished | (log_probs - state.log_probs < tolerance)
        models = keep(state.finished, state.models, stepped)
        scores = scores.with_next(count, log_probs, held_out, sizes, known=~state.finished)
        held = held if holds is None else held & holds
        return State(models, log_probs, finished), scores, count + 1, held

    none = Scores.none((3, restarts), state.log_probs.dtype)
    begin = (state, none, jnp.zeros((), int), jnp.ones(2, bool))
    *found, held = jax.lax.while_loop(unfinished, one, begin)
    if on_trial():  # iterations in which a fast program did not hold are taken once more, from where they began
        claim(held)
    return tuple(found)  # pyright: ignore[reportReturnType]


def _improve(model: PyTree, sequences: Sequences, frozen: tuple[str, ...], alone: bool) -> tuple[PyTree, Any]:
    """One E-step and one M-step: the next model, the evidence of this one, and the sum of its terms' sizes."""
    plain = constrain(model)
    schedule = resolve("auto", plain, sequences.steps.t.shape if alone else None)

    def improved(way: AbstractPass) -> Answer:
        holds, best = way.maximised(frozenset(frozen))
        return Answer(holds, (best, way.log_evidence))

    best, log_evidence = ask(improved, plain, sequences.steps, schedule)
    prior = plain.log_prior().astype(log_evidence.dtype)
    sums = jnp.sum(log_evidence) + prior, jnp.sum(jnp.abs(log_evidence)) + jnp.abs(prior)
    return moved(model, best, frozen), sums


@tried
def total_evidence(models: PyTree, sequences: Sequences, *, with_prior: bool = False) -> Float[Array, "R"]:
    """Log-evidence of all sequences under each restart's model, and its log-prior if that is asked for."""
    alone = length(models) == 1

    def one(model: PyTree) -> Array:
        plain = constrain(model)
        schedule = resolve("auto", plain, sequences.steps.t.shape if alone else None)
        log_evidence = jnp.sum(evidence_of(plain, sequences.steps, schedule))
        return log_evidence + plain.log_prior().astype(log_evidence.dtype) if with_prior else log_evidence

    return for_each(one, models)


@tried
def finish(
    models: PyTree, sequences: Sequences, validation: Sequences | None
) -> tuple[Float[Array, "R"], Float[Array, "R"] | None, Int[Array, ""], PyTree]:
    """Training evidence (with prior) and validation evidence of the last models, which is best, and that model."""
    reached = total_evidence(models, sequences, with_prior=True)
    held_out = None if validation is None else total_evidence(models, validation)
    best = jnp.argmax(jnp.where(jnp.isnan(reached), -jnp.inf, reached))
    return reached, held_out, best, index(models, best)
