"""Expectation maximisation: the statistics of the evidence, and the parameters that fit them best."""

import equinox as eqx
import numpy as np

from ssm.fitting.checks import check_frozen, check_possible
from ssm.fitting.em_steps import finish, iterate, start
from ssm.fitting.loop import Course, Job, run
from ssm.fitting.result import Fit, finished
from ssm.fitting.starts import starting_points
from ssm.numeric.checks import positive_int
from ssm.numeric.protocols import offers
from ssm.numeric.trees import float_dtype
from ssm.passes.expectation import AbstractExpectation

# Rounding of the evidence, in epsilons of the sum of its terms' absolute values and of one for each number observed,
# since the logarithm of a number near one errs by an epsilon of one. It is below one where nothing is special, and
# grows with the condition of covariances; what falls by more is seen long before `tol` is reached.
WOBBLE = 200


class EM(eqx.Module):
    """Fit by expectation maximisation (Dempster, Laird & Rubin 1977).

    Stops when the log-evidence per observation gains less than `tol` in an iteration, or after `max_iters`.
    `restarts` > 1 fits that many starting points at once, under one vmap: the given model and random ones made
    from the data (which need a key; what is frozen they share), and keeps the best. Raises RuntimeError if the
    evidence ever falls by more than rounding, which EM cannot do.
    """

    max_iters: int = eqx.field(static=True, default=100)
    tol: float = eqx.field(static=True, default=1e-4)
    restarts: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        positive_int("max_iters", self.max_iters)
        positive_int("restarts", self.restarts)
        if not self.tol >= 0:
            raise ValueError(f"tol: expected a number of at least 0, got {self.tol}")

    def fit(self, job: Job) -> Fit:
        """Run on checked arguments; called by `ssm.fit`."""
        model, sequences, validation, frozen = job.model, job.sequences, job.validation, job.frozen
        if not offers(model, AbstractExpectation):
            raise TypeError(
                f"method: EM needs tractable expected statistics, which {model.described} has not; use ssm.SGD"
            )
        check_frozen(model, frozen)
        tolerance = np.asarray(self.tol * job.observations, float_dtype(model))

        def advance(state, limit):
            return iterate(state, sequences, validation, limit, tolerance, frozen)

        def check(before, history: np.ndarray, count: int) -> None:
            check_possible(model, sequences, history[0, :, -count:], by_slopes=False)
            _check_monotone(job, history[0], history[2])

        def reached(state) -> tuple:
            """Training (with prior) and validation evidence of the last models (R,), which is best, and that one."""
            return finish(state.models, sequences, validation)

        state = start(starting_points(model, sequences, self.restarts, frozen, job.key))
        shape = (3, self.restarts)
        settings = {"tol": self.tol, "restarts": self.restarts}
        return _result(job, run("EM", job, settings, self.max_iters, state, shape, advance, check, reached))


def _check_monotone(job: Job, log_probs: np.ndarray, sizes: np.ndarray) -> None:
    """EM never lowers the evidence (R, num_iters) by more than rounding of its terms, of the absolute sum `sizes`."""
    numbers = job.observations * max(int(np.prod(job.model.event_shape)), 1)
    rounding = WOBBLE * np.finfo(float_dtype(job.model)).eps * (sizes[:, : log_probs.shape[1] - 1] + numbers)
    fallen = np.argwhere(log_probs[:, 1:] < log_probs[:, :-1] - rounding)
    if len(fallen):
        restart, i = fallen[0]
        raise RuntimeError(
            f"EM lowered the log-evidence from {log_probs[restart, i]:.6g} to {log_probs[restart, i + 1]:.6g} in "
            f"iteration {i + 1} of start {restart}; the M-step of this model does not maximise Q"
        )


def _result(job: Job, course: Course) -> Fit:
    history, (reached, held_out, best, model) = course.history, course.reached
    held_out = np.full_like(reached, np.nan) if held_out is None else held_out
    final, best = np.stack([reached, held_out]), int(best)
    if np.isnan(final[0]).all():
        raise ValueError(
            "EM: the expected statistics are not finite, as of numbers whose squares are too large for the precision "
            "(scale the data, or use float64), or of a state with a diffuse start that the data never resolve (give it "
            "an initial variance, or use ssm.LBFGS())"
        )
    after = np.concatenate([history[:2, :, 1:], final[..., None]], axis=-1)  # what an iteration reached enters the next
    for row, entered in zip(after[0], history[0], strict=True):
        count = (~np.isnan(entered)).sum()  # iterations that this start took; after them its evidence stays
        row[count - 1] = row[-1]
        row[count:] = np.nan
    _check_monotone(job, np.concatenate([history[0, :, :1], after[0]], axis=-1), history[2])
    count = int((~np.isnan(after[0, best])).sum())
    if job.validation is not None:
        after[1, best, count - 1] = final[1, best]
    return finished(
        job,
        course,
        model,
        objective=final[0, best],
        log_probs=after[0, best, :count],
        start_log_prob=float(history[0, best, 0]),
        converged=bool(np.asarray(course.state.finished)[best]),
        times=course.times[:count],
        validation_log_probs=after[1, best, :count] if job.validation is not None else None,
        restarts=after[0] if after.shape[1] > 1 else None,
    )
