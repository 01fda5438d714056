"""Expectation maximisation: the statistics of the evidence, and the parameters that fit them best."""

from functools import partial
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ssm.checks import positive_int
from ssm.data import Sequences
from ssm.fitting import checkpoint as checkpoints
from ssm.fitting.checks import check_possible
from ssm.fitting.clock import Clock
from ssm.fitting.iteration import CHUNK, State, iterate, pick, start, total_evidence
from ssm.fitting.progress import Progress
from ssm.fitting.result import Fit
from ssm.parameters import trainable
from ssm.recursion import AbstractExpectation, AbstractRecursion
from ssm.shapes import Key
from ssm.trees import float_dtype


class EM(eqx.Module):
    """Fit by expectation maximisation (Dempster, Laird & Rubin 1977).

    Stops when the log-evidence per observation gains less than `tol` in an iteration, or after `max_iters`.
    `restarts` > 1 fits that many starting points at once, under one vmap: the given model and random ones made
    from the data (which need a key), and keeps the best. Raises RuntimeError if the evidence ever falls by
    more than rounding, which EM cannot do.
    """

    max_iters: int = eqx.field(static=True, default=100)
    tol: float = eqx.field(static=True, default=1e-4)
    restarts: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        positive_int("max_iters", self.max_iters)
        positive_int("restarts", self.restarts)
        if not self.tol >= 0:
            raise ValueError(f"tol: expected a number of at least 0, got {self.tol}")

    def fit(
        self,
        model: AbstractRecursion,
        sequences: Sequences,
        *,
        observations: int,
        validation: Sequences | None,
        frozen: tuple[str, ...],
        key: Key | None,
        progress: bool,
        checkpoint: str | Path | None,
    ) -> Fit:
        """Run on checked sequences; called by `ssm.fit`."""
        if not isinstance(model, AbstractExpectation):
            raise TypeError(
                f"method: EM needs tractable expected statistics, which {type(model).__name__} has not; use ssm.SGD"
            )
        trainable(model, frozen)  # raises here, before anything runs, for names that the model does not have
        state = start(model, sequences, self.restarts, key)
        tolerance = jnp.asarray(self.tol * observations, float_dtype(model))
        history = np.zeros((2, self.restarts, 0))  # training and validation evidence that entered each iteration
        restored = checkpoints.restore(checkpoint, state)
        if restored is not None:
            state, history = restored
        times = [0.0] * history.shape[-1]
        with Clock() as clock, Progress("EM", self.max_iters, observations, progress) as bar:
            while history.shape[-1] < self.max_iters and not bool(state.converged.all()):
                limit, began = jnp.asarray(min(CHUNK, self.max_iters - history.shape[-1])), clock.running
                state, scores, done = clock.call(iterate, state, sequences, validation, limit, tolerance, frozen)
                count = int(done)
                history = np.concatenate([history, np.asarray(scores)[..., :count]], axis=-1)
                times += clock.shares(began, count)
                check_possible(model, sequences, history[0, :, -count:])
                _check_monotone(history[0], np.finfo(float_dtype(model)).eps)
                bar.advance(count, float(np.nanmax(history[0, :, -1])))
                if checkpoint is not None:
                    checkpoints.save(checkpoint, state, history)
            reached = partial(total_evidence, with_prior=True)
            final = [np.asarray(clock.call(reached, state.models, sequences))]
            final.append(
                np.full_like(final[0], np.nan)
                if validation is None
                else np.asarray(total_evidence(state.models, validation))
            )
        return _result(state, history, np.stack(final), times, clock, validation is not None)


def _check_monotone(history: np.ndarray, epsilon: float) -> None:
    """EM never lowers the evidence; a sum of T terms of both signs wobbles by some hundred epsilons of its size."""
    fallen = np.argwhere(history[:, 1:] < history[:, :-1] - 200 * epsilon * np.abs(history[:, :-1]))
    if len(fallen):
        restart, i = fallen[0]
        raise RuntimeError(
            f"EM lowered the log-evidence from {history[restart, i]:.6g} to {history[restart, i + 1]:.6g} in iteration "
            f"{i + 1} of start {restart}; the M-step of this model does not maximise Q"
        )


def _result(
    state: State, history: np.ndarray, final: np.ndarray, times: list[float], clock: Clock, validated: bool
) -> Fit:
    after = np.concatenate([history[..., 1:], final[..., None]], axis=-1)  # what an iteration reached enters the next
    for row, entered in zip(after[0], history[0], strict=True):
        count = (~np.isnan(entered)).sum()  # iterations that this start took; after them its evidence stays
        row[count - 1] = row[-1]
        row[count:] = np.nan
    best = int(np.nanargmax(final[0]))
    count = int((~np.isnan(after[0, best])).sum())
    if validated:
        after[1, best, count - 1] = final[1, best]
    return Fit(
        model=pick(state.models, jnp.asarray(best)),
        log_probs=after[0, best, :count],
        start_log_prob=float(history[0, best, 0]),
        converged=bool(state.converged[best]),
        times=np.asarray(times[:count]),
        seconds=clock.running,
        compile_seconds=clock.compile_seconds,
        validation_log_probs=after[1, best, :count] if validated else None,
        restarts=after[0] if after.shape[1] > 1 else None,
    )
