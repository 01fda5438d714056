"""Quasi-Newton ascent: the last stretch to a maximum, in few iterations."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ssm.fitting.checks import check_possible
from ssm.fitting.lbfgs_steps import Plan, run_iterations, start
from ssm.fitting.loop import Course, Job, run
from ssm.fitting.result import Fit, finished
from ssm.fitting.starts import starting_points, together
from ssm.numeric.checks import non_negative, positive_int
from ssm.numeric.trees import float_dtype, index
from ssm.parameters.freezing import Held, combine, partition
from ssm.schedules import resolve


class LBFGS(eqx.Module):
    """Fit by L-BFGS on all the data, with a line search (Nocedal & Wright 2006, chapters 3 and 7).

    Stops when the log-evidence per observation gains less than `tol` in an iteration, or after `max_iters`. `memory`:
    how many past steps its curvature is made of. `line_search`: evaluations that one iteration may take. `restarts` as
    in `ssm.EM`: that many starting points at once, under one vmap, and the best is kept. Models that draw need a key
    and use the same draws in every iteration.

    EM is quick at first and slow at the end; near a maximum this converges faster than linearly. So one after the
    other: `ssm.fit(ssm.fit(model, ys, ssm.EM(20)).model, ys, ssm.LBFGS())`, for instance before
    `ssm.standard_errors`, which needs a maximum.
    """

    max_iters: int = eqx.field(static=True, default=100)
    tol: float = eqx.field(static=True, default=1e-6)
    memory: int = eqx.field(static=True, default=10)
    line_search: int = eqx.field(static=True, default=20)
    restarts: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        for name in ("max_iters", "memory", "line_search", "restarts"):
            positive_int(name, getattr(self, name))
        non_negative("tol", self.tol)

    def fit(self, job: Job) -> Fit:
        """Run on checked arguments; called by `ssm.fit`."""
        model, sequences, validation, key = job.model, job.sequences, job.validation, job.key
        _, fixed = partition(model, job.frozen)
        models = starting_points(model, sequences, self.restarts, job.frozen, key)
        starts = together([partition(each, job.frozen)[0] for each in models])
        shape = sequences.steps.t.shape if self.restarts == 1 else None
        plan = Plan(self.memory, self.line_search, resolve("auto", model, shape))
        dtype = float_dtype(model)
        count, tolerance = (jnp.asarray(number, dtype) for number in (job.observations, self.tol * job.observations))

        def advance(state, limit):
            return run_iterations(state, fixed, sequences, validation, plan, limit, count, tolerance, key)

        def check(before, history: np.ndarray, count: int) -> None:
            recent = history[0, :, -count:]
            worst = index(before.free, int(np.argmax(np.isneginf(recent).any(axis=1))))
            check_possible(combine(worst, fixed), sequences, recent)

        # The first iteration finds where the starts stand.
        state = start(starts, plan, dtype)
        settings = {name: getattr(self, name) for name in ("tol", "memory", "line_search", "restarts")}
        total, shape = self.max_iters + 1, (2, self.restarts)
        course = run("L-BFGS", job, settings, total, state, shape, advance, check, lambda state: None)
        return _result(job, course, fixed)


def _result(job: Job, course: Course, fixed: Held) -> Fit:
    log_probs, held_out = course.history
    best = int(np.nanargmin(np.asarray(course.state.loss)))
    count = int((~np.isnan(log_probs[best])).sum())  # the start, and the iterations that it took
    return finished(
        job,
        course,
        combine(index(course.state.free, best), fixed),
        objective=log_probs[best, count - 1],
        log_probs=log_probs[best, 1:count],
        start_log_prob=float(log_probs[best, 0]),
        converged=bool(course.state.finished[best]),
        times=course.times[1:count],
        validation_log_probs=held_out[best, 1:count] if job.validation is not None else None,
        restarts=log_probs[:, 1:] if len(log_probs) > 1 else None,
    )
