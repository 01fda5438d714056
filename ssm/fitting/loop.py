"""What every method of learning is given, and the loop that all of them run in."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssm.data import Sequences
from ssm.fitting.checkpoint import restore, save
from ssm.fitting.clock import Clock
from ssm.fitting.fingerprint import Fingerprint, fingerprint
from ssm.fitting.progress import Progress
from ssm.fitting.scores import CHUNK, Scores
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Key, PyTree


class Job(NamedTuple):
    """The checked arguments of `ssm.fit`."""

    model: AbstractRecursion
    sequences: Sequences
    observations: int  # time steps with something observed
    validation: Sequences | None
    frozen: tuple[str, ...]
    key: Key | None
    progress: bool
    checkpoint: str | Path | None

    def identity(self, method: str, settings: Mapping[str, Any]) -> Fingerprint:
        """What a checkpoint must agree with: all but how many iterations the method may take."""
        held_out = None if self.validation is None else _arguments(self.validation)
        others = {"validation": held_out, "frozen": sorted(self.frozen), "key": self.key, "model": self.model}
        return fingerprint({"method": {"name": method, **settings}, **_arguments(self.sequences), **others})


def _arguments(sequences: Sequences) -> dict[str, Any]:
    """What steps were made of, by the names of `ssm.fit`."""
    steps = sequences.steps
    return {"ys": steps.y, "inputs": steps.u, "mask": steps.observed, "lengths": steps.padding, "starts": steps.first}


class Course(NamedTuple):
    """How the iterations went: `history` (rows, ..., num_iters) has the training and validation evidence of each."""

    state: Any
    history: np.ndarray
    reached: Any  # what `reached` said of the last state
    times: np.ndarray
    seconds: float
    compile_seconds: float


def run(
    name: str,
    job: Job,
    settings: Mapping[str, Any],
    total: int,
    state: Any,
    shape: tuple[int, ...],
    advance: Callable[[Any, Array], tuple[Any, Scores, Array]],
    check: Callable[[Any, np.ndarray, int], None],
    reached: Callable[[Any], PyTree],
) -> Course:
    """At most `total` iterations in compiled chunks, until `state.finished` says otherwise of every start.

    `shape` (rows, ...): that of the scores of an iteration. `advance(state, limit)` runs up to `limit` iterations: the
    next state, their `Scores`, and how many they were. `settings`: those of the method that its course depends on, for
    checkpoints: `total` may grow from one to the next. `check(state, history, count)` sees the state before the last
    `count` iterations, and raises.
    """
    history = np.zeros((*shape, 0))
    identity = {} if job.checkpoint is None else job.identity(name, settings)
    restored = restore(job.checkpoint, state, identity)
    if restored is not None:
        state, history = restored
    times = [0.0] * history.shape[-1]
    with Clock() as clock, Progress(name, total, job.observations, job.progress) as bar:
        while history.shape[-1] < total and not np.asarray(state.finished).all():
            before, began = state, clock.running
            limit = np.asarray(min(CHUNK, total - history.shape[-1]))
            state, scores, done = clock.call(advance, state, limit)
            count = int(done)
            history = np.concatenate([history, scores.history(count)], axis=-1)
            times += clock.shares(began, count)
            check(before, history, count)
            last = history[0, ..., -1]
            bar.advance(count, float(np.max(last, initial=-np.inf, where=~np.isnan(last))))  # NaN: a start that is done
            if job.checkpoint is not None:
                save(job.checkpoint, state, history, identity)
        final = clock.call(reached, state)
    return Course(state, history, final, np.asarray(times), clock.running, clock.compile_seconds)
