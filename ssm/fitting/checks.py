"""When a fit cannot go on, say where."""

import numpy as np

from ssm.data import Sequences
from ssm.inference.filtering import filter_sequences
from ssm.parameters.freezing import held_entries, trainable
from ssm.passes.expectation import AbstractExpectation
from ssm.recursion import AbstractRecursion
from ssm.schedules import Sequential
from ssm.steps import seen_steps


def count_observations(sequences: Sequences) -> int:
    """How many time steps have something observed; ValueError if none has."""
    steps = sequences.steps
    if steps.observed is None and steps.padding is None:
        return steps.t.size
    seen = np.asarray(seen_steps(steps))
    if not seen.any():
        raise ValueError(f"ys: nothing is observed in any of the {seen.size} steps, so there is nothing to fit")
    return int(seen.sum())


def check_frozen(model: AbstractExpectation, frozen: tuple[str, ...]) -> None:
    """Raise, before anything runs, for names that the model does not have, and entries that its M-step cannot hold."""
    if held_entries(model, frozen) and not model.holds_entries:
        raise TypeError(
            f"frozen: the M-step of a {type(model).__name__} holds whole parameters, not entries of them; freeze whole "
            "ones, or use ssm.LBFGS or ssm.SGD"
        )
    trainable(model, frozen)


def check_possible(
    model: AbstractRecursion, sequences: Sequences, log_probs: np.ndarray, *, by_slopes: bool = True
) -> None:
    """Raise for an evidence of -inf, naming the first observation that the model rules out, or NaN.

    What to do about the latter depends on whether the fit goes `by_slopes` or by M-steps.
    """
    started = log_probs[:, 0]
    if np.isnan(started).all():
        raise diverged(by_slopes)
    if not np.isneginf(log_probs).any():
        return
    sequence, time = first_impossible(model, sequences)
    where = f"time step {time}" + (f" of sequence {sequence}" if sequences.batched else "")
    raise ValueError(
        f"ys: the observation at {where} is impossible under the starting model (log-evidence -inf); "
        "give it a positive probability there"
    )


def diverged(by_slopes: bool = True) -> FloatingPointError:
    """What is raised where the evidence became NaN, in a fit that goes by slopes, or by M-steps."""
    remedy = (
        "lower the learning rate (ssm.SGD(max_grad_norm=1.0) bounds a step)"
        if by_slopes
        else "use float64 (jax.config.update('jax_enable_x64', True)): an M-step ran out of digits"
    )
    return FloatingPointError(f"the log-evidence became NaN; scale the data to unit variance, or {remedy}")


def first_impossible(model: AbstractRecursion, sequences: Sequences) -> tuple[int, int]:
    """(sequence, time) of the first impossible observation."""
    times = np.atleast_1d(np.asarray(filter_sequences(model, sequences, Sequential(), None).first_impossible))
    sequence = int(np.argmax(times >= 0))
    return sequence, int(times[sequence])
