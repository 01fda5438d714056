"""What a linear-Gaussian model did not expect, in standard deviations: prediction errors and smoothed noises."""

from typing import Any

import equinox as eqx

from ssm.data import Sequences, check_recursion, observe
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.base import Walked
from ssm.passes.capabilities import AbstractDisturbed
from ssm.passes.door import ask, where_missing
from ssm.schedules import AbstractSchedule, resolve
from ssm.shapes import Array, Float, PyTree


class AuxiliaryResiduals(eqx.Module):
    """Smoothed noises in standard deviations; a leading B for batches.

    `emission[t]` is large at an outlier, an observation unlike its neighbours; `transition[t]`, of the noise that leads
    into t, at a break of the state, so that from t on all are different.
    """

    emission: Float[Array, "*B T N"]
    transition: Float[Array, "*B T D"]


def innovations(
    model: Any,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
) -> Float[Array, "*B T N"]:
    """Standardised one-step prediction errors S_t^-½ (y_t - E[y_t | y_<t]): independent N(0, 1) if the model is true.

    S_t is the covariance of y_t given y_<t and S_t^½ its lower-triangular root, so that component n is the error of
    predicting it from the past and from components 1 .. n-1. NaN where nothing was observed, and where that error has
    infinite variance, as components have that resolve a direction of an exactly diffuse start, or none. Arguments and
    errors as in `ssm.filter`; TypeError unless the model is an `ssm.LinearGaussian`: `ssm.residuals` are for all.
    Source: Durbin & Koopman 2012, section 2.12 and equation 7.5.
    """
    sequences, schedule = _checked(model, "innovations", ys, inputs, schedule, mask, lengths, starts, missing)
    return _innovations(model, sequences, schedule)


def auxiliary_residuals(
    model: Any,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
) -> AuxiliaryResiduals:
    """Smoothed noises of observations and of states over their standard deviations: E[ε_t | y] / √Var(E[ε_t | y]).

    Each is N(0, 1) if the model is true, but they are not independent of each other: look for values beyond 2 or 3 that
    stand alone. NaN where nothing was observed, where a sequence begins (no transition leads there), and for noises
    that do not exist or of which the observations say nothing. Beside a `cross_covariance` both noises are of the
    transition, first those of the state, then those of observations, and `emission` is NaN. Arguments and errors as in
    `ssm.filter`; TypeError unless the model is an `ssm.LinearGaussian`. Source: Harvey & Koopman 1992; Durbin & Koopman
    2012, section 7.5.
    """
    sequences, schedule = _checked(model, "auxiliary_residuals", ys, inputs, schedule, mask, lengths, starts, missing)
    return _auxiliary_residuals(model, sequences, schedule)


def _checked(
    model: Any, verb: str, ys: Any, inputs: PyTree, schedule: Any, mask: Any, lengths: Any, starts: Any, missing: Any
) -> tuple[Sequences, AbstractSchedule]:
    check_recursion(model)
    if not isinstance(model, AbstractDisturbed):
        raise TypeError(
            f"model: {verb} are of an ssm.LinearGaussian, got {type(model).__name__}; ssm.residuals are for all models"
        )
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return sequences, resolve(schedule, model, sequences.steps.t.shape)


@tried
@where_missing
def _innovations(model: Any, sequences: Sequences, schedule: AbstractSchedule) -> Array:
    question = lambda way: way.each(lambda walked: walked.model.innovations(walked.steps, walked.predicted))
    return ask(question, constrain(model), sequences.steps, schedule)


@tried
@where_missing
def _auxiliary_residuals(model: Any, sequences: Sequences, schedule: AbstractSchedule) -> AuxiliaryResiduals:
    def noises(walked: Walked) -> AuxiliaryResiduals:
        found = walked.model.disturbances(walked.steps, walked.predicted, walked.schedule)
        return AuxiliaryResiduals(*found)

    return ask(lambda way: way.each(noises), constrain(model), sequences.steps, schedule)
