"""What a fit gives back."""

import equinox as eqx
import numpy as np

from ssm.recursion import AbstractRecursion


class Fit(eqx.Module):
    """A fitted model and how it was reached.

    `log_probs` (num_iters,): log-evidence of the training data (plus the log-prior, for a model that has one) after
    each iteration (EM) or epoch (SGD), so that the last one belongs to `model`; with mini-batches, the sum over an
    epoch's batches, each at the parameters of its moment. `start_log_prob`: before the first. `times` (num_iters,):
    seconds since the start, without compilation. `seconds`, `compile_seconds`: running and compiling.
    `validation_log_probs` (num_iters,): evidence alone, or None.
    `restarts` (restarts, num_iters): the same as `log_probs` for every start, NaN after it stopped; or None.
    """

    model: AbstractRecursion
    log_probs: np.ndarray
    start_log_prob: float
    converged: bool = eqx.field(static=True)
    times: np.ndarray
    seconds: float
    compile_seconds: float
    validation_log_probs: np.ndarray | None = None
    restarts: np.ndarray | None = None

    @property
    def num_iters(self) -> int:
        """How many iterations or epochs ran."""
        return len(self.log_probs)
