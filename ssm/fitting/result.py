"""What a fit gives back."""

from typing import Any

import equinox as eqx
import numpy as np

from ssm.fitting.loop import Course, Job
from ssm.parameters import constrain
from ssm.parameters.freezing import num_parameters
from ssm.recursion import AbstractRecursion


class Fit(eqx.Module):
    """A fitted model and how it was reached.

    `log_probs` (num_iters,): log-evidence of the training data (plus the log-prior, for a model that has one) after
    each iteration (EM, L-BFGS) or epoch (SGD), so that the last one belongs to the last model; with mini-batches, the
    sum over an epoch's batches, each at the parameters of its moment. `start_log_prob`: before the first. `times`
    (num_iters,): seconds since the start, without compilation. `seconds`, `compile_seconds`: running and compiling.
    `validation_log_probs` (num_iters,): evidence alone, or None.
    `restarts` (restarts, num_iters): the same as `log_probs` for every start, NaN after it stopped; or None.
    `objective`: log-evidence (plus log-prior) of the training data under `model`; `observations`: their observed time
    steps; `frozen`: the parameters that were not free.
    """

    model: AbstractRecursion
    log_probs: np.ndarray
    start_log_prob: float
    converged: bool = eqx.field(static=True)
    times: np.ndarray
    seconds: float
    compile_seconds: float
    objective: float
    observations: int
    frozen: tuple[str, ...] = eqx.field(static=True)
    validation_log_probs: np.ndarray | None = None
    restarts: np.ndarray | None = None

    @property
    def num_iters(self) -> int:
        """How many iterations or epochs ran."""
        return len(self.log_probs)

    @property
    def log_prob(self) -> float:
        """Log-evidence alone of the training data under `model`."""
        return self.objective - float(constrain(self.model).log_prior())

    @property
    def num_parameters(self) -> int:
        """How many numbers were free (`ssm.num_parameters`)."""
        return num_parameters(self.model, self.frozen)

    @property
    def aic(self) -> float:
        """2 P - 2 log p(ys), with P free parameters (Akaike 1974); the lower, the better."""
        return 2 * self.num_parameters - 2 * self.log_prob

    @property
    def bic(self) -> float:
        """P log n - 2 log p(ys), with n observed time steps (Schwarz 1978); the lower, the better."""
        return self.num_parameters * float(np.log(self.observations)) - 2 * self.log_prob


def finished(job: Job, course: Course, model: AbstractRecursion, objective: float, **history: Any) -> Fit:
    """The result of a course that ended at `model`, where `objective` (evidence and prior) was reached."""
    return Fit(
        model=model,
        seconds=course.seconds,
        compile_seconds=course.compile_seconds,
        objective=float(objective),
        observations=job.observations,
        frozen=job.frozen,
        **history,
    )
