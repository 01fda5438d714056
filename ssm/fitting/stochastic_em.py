"""EM over mini-batches: one M-step after each of them."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.data import Sequences
from ssm.fitting.checks import check_frozen, check_possible
from ssm.fitting.loop import Job, run
from ssm.fitting.result import Fit, finished
from ssm.fitting.stochastic_em_steps import Whole, run_epochs, start, total_evidence
from ssm.numeric.checks import positive_int
from ssm.numeric.protocols import offers
from ssm.numeric.trees import float_dtype
from ssm.parameters import constrain
from ssm.passes.expectation import AbstractExpectation


def decreasing(step: int) -> float:
    """(step + 1)^-0.6, as Cappé & Moulines (2009, section 3.1) advise: it forgets the start, and settles."""
    return (step + 1) ** -0.6


class StochasticEM(eqx.Module):
    """Fit by stochastic (online) EM over mini-batches of sequences (Cappé & Moulines 2009).

    After each batch, running sufficient statistics s <- (1 - rate) s + rate s(batch), and an M-step from them: many
    M-steps in one pass over the data, where EM takes one. `batch_size`: sequences per batch, shuffled anew every
    epoch (needs a key). `step_size`: a number, or a function of the number of the batch, 0, 1, ..., such as an optax
    schedule; rates lie in (0, 1] and the first batch counts fully whatever its rate. Rates that stay above zero end
    in noise around a maximum; (n + 1)^-0.6 by default. Runs all `num_epochs`.

    For models and families whose statistics have a fixed size; TypeError for others. One long sequence can be cut
    into blocks, `ys.reshape(blocks, -1)`, as if each started anew: the moves between blocks are then not counted.
    """

    num_epochs: int = eqx.field(static=True, default=10)
    batch_size: int = eqx.field(static=True, default=1)
    step_size: float | Callable[[int], Any] = eqx.field(static=True, default=decreasing)

    def __check_init__(self):
        positive_int("num_epochs", self.num_epochs)
        positive_int("batch_size", self.batch_size)
        if not callable(self.step_size) and not 0 < self.step_size <= 1:
            raise ValueError(f"step_size: expected a number in (0, 1] or a function of the step, got {self.step_size}")

    def fit(self, job: Job) -> Fit:
        """Run on checked arguments; called by `ssm.fit`."""
        model, sequences, validation, key = job.model, job.sequences, job.validation, job.key
        if not offers(model, AbstractExpectation):
            raise TypeError(
                f"method: stochastic EM needs tractable expected statistics, which {model.described} has not; "
                "use ssm.SGD"
            )
        check_frozen(model, job.frozen)
        whole = Whole(self._batchable(sequences), self.batch_size, job.frozen)
        if key is None:
            raise ValueError("key: mini-batches are shuffled; pass key=jax.random.key(seed)")
        try:
            state = start(model, whole)
        except NotImplementedError as error:
            raise TypeError(f"method: {error}; use ssm.EM or ssm.SGD(batch_size=...)") from error
        rates = self._rates(-(-whole.sequences.steps.t.shape[0] // self.batch_size), float_dtype(model))

        def advance(state, limit):
            return run_epochs(state, whole, validation, rates, limit, key)

        def check(before, history: np.ndarray, count: int) -> None:
            check_possible(before.model, sequences, history[:1, -count:], by_slopes=False)

        def reached(state) -> float:
            return float(total_evidence(state.model, sequences)) + float(constrain(state.model).log_prior())

        settings = {"batch_size": self.batch_size, "step_size": self.step_size}
        course = run("stochastic EM", job, settings, self.num_epochs, state, (2,), advance, check, reached)
        return finished(
            job,
            course,
            course.state.model,
            objective=course.reached,
            log_probs=course.history[0],
            start_log_prob=float(course.history[0, 0]),
            converged=False,
            times=course.times,
            validation_log_probs=course.history[1] if validation is not None else None,
        )

    def _batchable(self, sequences: Sequences) -> Sequences:
        """Sequences with a leading axis; one sequence is one batch."""
        if not sequences.batched:
            sequences = Sequences(jax.tree.map(lambda leaf: leaf[None], sequences.steps), True)
        count = sequences.steps.t.shape[0]
        if self.batch_size > count:
            raise ValueError(f"batch_size: at most the {count} sequences of ys, got {self.batch_size}")
        return sequences

    def _rates(self, batches: int, dtype: Any) -> jax.Array:
        """The rate of every batch, (num_epochs, batches)."""
        step_size, total = self.step_size, self.num_epochs * batches
        with jax.numpy_dtype_promotion("standard"):  # schedules mix counts and floats
            values = [float(step_size(n)) if callable(step_size) else float(step_size) for n in range(total)]
        rates = np.array(values)
        if not ((rates > 0) & (rates <= 1)).all():
            wrong = int(np.argmin((rates > 0) & (rates <= 1)))
            raise ValueError(f"step_size: expected rates in (0, 1], got {rates[wrong]} at step {wrong}")
        rates[0] = 1
        return jnp.asarray(rates.reshape(self.num_epochs, batches), dtype)
