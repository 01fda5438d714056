"""What every method of learning is given, and the loop that all of them run in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssm.data import Sequences
from ssm.fitting import checkpoint as checkpoints
from ssm.fitting.clock import Clock
from ssm.fitting.progress import Progress
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Key, PyTree

# Iterations between two looks from Python: enough to hide the dispatch, few enough for a live progress bar.
CHUNK = 10


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


class Course(NamedTuple):
    """How the iterations went: `history` (2, ..., num_iters) is the training and validation evidence of each."""

    state: Any
    history: np.ndarray
    reached: Any  # what `reached` said of the last state
    times: np.ndarray
    seconds: float
    compile_seconds: float


def run(
    name: str,
    job: Job,
    total: int,
    state: Any,
    shape: tuple[int, ...],
    advance: Callable[[Any, Array], tuple[Any, Array, Array]],
    check: Callable[[Any, np.ndarray, int], None],
    reached: Callable[[Any], PyTree],
) -> Course:
    """At most `total` iterations in compiled chunks, until `state.finished` says otherwise of every start.

    `advance(state, limit)` runs up to `limit` iterations: the next state, their scores (2, *shape, CHUNK), and how
    many they were. `check(state, history, count)` sees the state before the last `count` iterations, and raises.
    """
    history = np.zeros((2, *shape, 0))
    restored = checkpoints.restore(job.checkpoint, state)
    if restored is not None:
        state, history = restored
    times = [0.0] * history.shape[-1]
    with Clock() as clock, Progress(name, total, job.observations, job.progress) as bar:
        while history.shape[-1] < total and not np.asarray(state.finished).all():
            before, began = state, clock.running
            limit = np.asarray(min(CHUNK, total - history.shape[-1]))
            state, scores, done = clock.call(advance, state, limit)
            count = int(done)
            history = np.concatenate([history, np.asarray(scores)[..., :count]], axis=-1)
            times += clock.shares(began, count)
            check(before, history, count)
            last = history[0, ..., -1]
            bar.advance(count, float(np.max(last, initial=-np.inf, where=~np.isnan(last))))  # NaN: a start that is done
            if job.checkpoint is not None:
                checkpoints.save(job.checkpoint, state, history)
        final = clock.call(reached, state)
    return Course(state, history, final, np.asarray(times), clock.running, clock.compile_seconds)
