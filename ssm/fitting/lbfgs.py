"""Quasi-Newton ascent: the last stretch to a maximum, in few iterations."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ssm.checks import non_negative, positive_int
from ssm.fitting.checks import check_possible
from ssm.fitting.climb import Plan, run_iterations, start
from ssm.fitting.job import Job, run
from ssm.fitting.result import Fit, finished
from ssm.parameters import trainable
from ssm.schedules import resolve
from ssm.trees import float_dtype


class LBFGS(eqx.Module):
    """Fit by L-BFGS on all the data, with a line search (Nocedal & Wright 2006, chapters 3 and 7).

    Stops when the log-evidence per observation gains less than `tol` in an iteration, or after `max_iters`. `memory`:
    how many past steps its curvature is made of. `line_search`: evaluations that one iteration may take. Models that
    draw need a key and use the same draws in every iteration.

    EM is quick at first and slow at the end; near a maximum this converges faster than linearly. So one after the
    other: `ssm.fit(ssm.fit(model, ys, ssm.EM(20)).model, ys, ssm.LBFGS())`, for instance before
    `ssm.standard_errors`, which needs a maximum.
    """

    max_iters: int = eqx.field(static=True, default=100)
    tol: float = eqx.field(static=True, default=1e-6)
    memory: int = eqx.field(static=True, default=10)
    line_search: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        for name in ("max_iters", "memory", "line_search"):
            positive_int(name, getattr(self, name))
        non_negative("tol", self.tol)

    def fit(self, job: Job) -> Fit:
        """Run on checked arguments; called by `ssm.fit`."""
        model, sequences, validation, key = job.model, job.sequences, job.validation, job.key
        free, fixed = eqx.partition(model, trainable(model, job.frozen))
        plan = Plan(self.memory, self.line_search, resolve("auto", model, sequences.steps.t.shape))
        dtype = float_dtype(model)
        count, tolerance = (jnp.asarray(number, dtype) for number in (job.observations, self.tol * job.observations))

        def advance(state, limit):
            return run_iterations(state, fixed, sequences, validation, plan, limit, count, tolerance, key)

        def check(before, history: np.ndarray, count: int) -> None:
            check_possible(eqx.combine(before.free, fixed), sequences, history[:1, -count:])

        # The first iteration finds where the start stands.
        course = run(
            "L-BFGS", job, self.max_iters + 1, start(free, plan, dtype), (), advance, check, lambda state: None
        )
        log_probs, held_out = course.history
        return finished(
            job,
            course,
            eqx.combine(course.state.free, fixed),
            objective=log_probs[-1],
            log_probs=log_probs[1:],
            start_log_prob=float(log_probs[0]),
            converged=bool(course.state.finished),
            times=course.times[1:],
            validation_log_probs=held_out[1:] if validation is not None else None,
        )
