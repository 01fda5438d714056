"""Gradient descent on the negative log-evidence per observation, with any optax optimiser."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax

from ssm.data import Sequences
from ssm.fitting.checks import check_possible, diverged
from ssm.fitting.loop import Course, Job, run
from ssm.fitting.optimiser import Optimiser, transformation
from ssm.fitting.result import Fit, finished
from ssm.fitting.sgd_steps import Plan, objective, run_epochs, start
from ssm.numeric.checks import positive_int
from ssm.numeric.protocols import offers
from ssm.numeric.trees import float_dtype
from ssm.parameters.freezing import Held, combine, partition
from ssm.passes.expectation import AbstractDifferentiable
from ssm.recursion import AbstractRecursion
from ssm.schedules import Truncated, resolve
from ssm.shapes import Key

# Epochs without a better evidence of the validation set, after which an epoch rarely brings one.
PATIENCE = 10


class SGD(eqx.Module):
    """Fit by (stochastic) gradient ascent on the evidence.

    `optimizer`: an optax gradient transformation, Adam with learning rate 1e-2 by default. `batch_size`: sequences
    per step, shuffled anew every epoch (needs a key); all at once by default. `max_grad_norm`: bound on the
    global norm of a gradient (Pascanu, Mikolov & Bengio 2013). `truncate`: length after which backpropagation
    through time is cut, for recurrent networks. `patience`: with a validation set, stop after this many epochs
    without a better one (10 by default; None: never); the model of the best epoch is returned. `tol`: stop when the
    log-evidence per observation changed by less
    than this in an epoch; by default all epochs are run.

    The gradient of an HMM's evidence is its expected statistics (Fisher's identity); see `ssm.passes.evidence`.
    """

    optimizer: optax.GradientTransformation | None = eqx.field(static=True, default=None)
    num_epochs: int = eqx.field(static=True, default=100)
    batch_size: int | None = eqx.field(static=True, default=None)
    max_grad_norm: float | None = eqx.field(static=True, default=None)
    truncate: int | None = eqx.field(static=True, default=None)
    patience: int | None | Literal["auto"] = eqx.field(static=True, default="auto")
    tol: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if self.optimizer is not None and not isinstance(self.optimizer, optax.GradientTransformation):
            raise TypeError(f"optimizer: expected an optax gradient transformation, got {self.optimizer!r}")
        for name in ("num_epochs", "batch_size", "truncate", "patience"):
            if getattr(self, name) is not None and (name, getattr(self, name)) != ("patience", "auto"):
                positive_int(name, getattr(self, name))
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm: expected a positive number, got {self.max_grad_norm}")
        if not self.tol >= 0:
            raise ValueError(f"tol: expected a number of at least 0, got {self.tol}")

    def fit(self, job: Job) -> Fit:
        """Run on checked arguments; called by `ssm.fit`."""
        model, sequences, validation, key = job.model, job.sequences, job.validation, job.key
        self._check_data(model, sequences, key)
        patience = self._patience(validation)
        free, fixed = partition(model, job.frozen)
        optimiser = Optimiser(transformation(self.optimizer, self.max_grad_norm), free)
        schedule = (
            resolve("auto", model, sequences.steps.t.shape) if self.truncate is None else Truncated(self.truncate)
        )
        # One sequence is one batch; only a batch of them can be cut into smaller ones.
        plan = Plan(optimiser, schedule, self.batch_size if sequences.batched else None, patience)
        tolerance = jnp.asarray(self.tol * job.observations, float_dtype(model))

        def advance(state, limit):
            return run_epochs(state, fixed, sequences, validation, plan, limit, tolerance, key)

        def check(before, history: np.ndarray, count: int) -> None:
            check_possible(combine(before.free, fixed), sequences, history[:1, -count:])

        def reached(state) -> np.ndarray:
            """The objective at the last parameters, and at those that are returned."""
            at = lambda free: float(objective(free, fixed, sequences, schedule, key))
            last = at(state.free)
            return np.array([last, last if validation is None else at(state.best)])

        state = start(free, optimiser, float_dtype(model))
        settings = {"optimizer": optimiser.description, "max_grad_norm": self.max_grad_norm}
        settings |= {name: getattr(self, name) for name in ("batch_size", "truncate", "patience", "tol")}
        course = run("SGD", job, settings, self.num_epochs, state, (2,), advance, check, reached)
        return _result(job, course, fixed, plan.batch_size is None)

    def _patience(self, validation: Sequences | None) -> int | None:
        """How many epochs without a better one are too many; None where nothing stops early."""
        if self.patience == "auto":
            return None if validation is None else PATIENCE
        if self.patience is not None and validation is None:
            raise ValueError(
                f"patience: {self.patience} epochs without a better evidence of held-out data, but there are none; "
                "pass validation=ys_held_out to ssm.fit, or stop by tol="
            )
        return self.patience

    def _check_data(self, model: AbstractRecursion, sequences: Sequences, key: Key | None) -> None:
        if self.truncate is not None and offers(model, AbstractDifferentiable):
            raise ValueError(
                f"truncate: the gradient of a {type(model).__name__} is its expected statistics, "
                "with nothing to truncate"
            )
        if self.batch_size is None:
            return
        count = sequences.steps.t.shape[0] if sequences.batched else 1
        if self.batch_size > count:
            raise ValueError(f"batch_size: at most the {count} sequences of ys, got {self.batch_size}")
        if key is None:
            raise ValueError("key: mini-batches are shuffled; pass key=jax.random.key(seed)")


def _result(job: Job, course: Course, fixed: Held, full_batch: bool) -> Fit:
    history, validated, epochs = course.history, job.validation is not None, len(course.times)
    if np.isnan(course.reached).any():
        raise diverged()
    if full_batch:  # what entered the next epoch is what this one reached
        history = np.concatenate([history, [[course.reached[0]], [np.nan]]], axis=1)
    return finished(
        job,
        course,
        combine(course.state.best if validated else course.state.free, fixed),
        objective=course.reached[1],
        log_probs=history[0, -epochs:],
        start_log_prob=float(history[0, 0]),
        converged=bool(course.state.finished),
        times=course.times,
        validation_log_probs=history[1, :epochs] if validated else None,
    )
