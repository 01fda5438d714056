"""The past: smoothing, and drawing whole paths of the state."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ssm.data import check_key, each_key, each_pair, needs_key, observe
from ssm.numeric.checks import positive_int
from ssm.numeric.missing import unless_nan
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.base import AbstractPass, Answer
from ssm.passes.door import ask, where_missing
from ssm.recursion import AbstractRecursion, AbstractReversibleRecursion
from ssm.schedules import AbstractSchedule, resolve
from ssm.shapes import Array, Float, Key, Keys, PyTree


class Smoothed(eqx.Module):
    """What the whole sequence says about each time: stacked beliefs p(x_t | y_{1:T}), and log p(y_{1:T})."""

    smoothed: Any
    log_prob: Float[Array, "*B"]


def smooth(
    model: AbstractReversibleRecursion,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
    key: Key | None = None,
) -> Smoothed:
    """Beliefs about each time, from the past and the future.

    Arguments and errors as in `ssm.filter`; TypeError for a model that cannot be walked backwards.
    Source: Rauch, Tung & Striebel 1965 for Gaussians, the backward pass of Rabiner 1989 for Markov chains,
    both as one recursion over the reversed kernels p(x_t | x_{t+1}, y_<=t).
    """
    check_reversible(model, "smooth")
    needs_key(model, key, "smooth")
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return _smooth(model, sequences, resolve(schedule, model, sequences.steps.t.shape), key)


def posterior_sample(
    model: AbstractReversibleRecursion,
    key: Key,
    ys: Array,
    num_samples: int,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
) -> PyTree:
    """Paths drawn from p(x_{1:T} | y_{1:T}): (num_samples, T, ...), with a leading B for a batch.

    Forward filtering, backward sampling (Frühwirth-Schnatter 1994; for particles Godsill, Doucet & West 2004); for
    `ssm.LinearGaussian` the simulation smoother of Durbin & Koopman 2002, unless its start is diffuse.
    Other arguments and errors as in `ssm.smooth`.
    """
    check_reversible(model, "posterior_sample")
    check_key(key)
    positive_int("num_samples", num_samples)
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return _posterior_sample(model, sequences, resolve(schedule, model, sequences.steps.t.shape), key, num_samples)


def check_reversible(model: AbstractRecursion, verb: str) -> None:
    """Raise TypeError for a model that can be filtered but not walked backwards."""
    if isinstance(model, AbstractRecursion) and not isinstance(model, AbstractReversibleRecursion):
        raise TypeError(
            f"model: {verb} walks backwards in time, which {type(model).__name__} cannot; ssm.HMM, "
            "ssm.LinearGaussian, ssm.RNN and ssm.ParticleFilter can"
        )


@tried
@where_missing
def _smooth(model, sequences, schedule, key):
    smoothed, log_evidence = ask(_smoothed, constrain(model), sequences.steps, schedule, each_key(sequences, key))
    return Smoothed(smoothed, jnp.sum(log_evidence, axis=-1))


def _smoothed(way: AbstractPass) -> Answer:
    holds, smoothed = way.smoothed()
    return Answer(holds, (smoothed, way.log_evidence))


@tried
@where_missing
def _posterior_sample(model, sequences, schedule, key, num_samples):
    for_filter, for_paths = each_pair(sequences, key)

    def drawn(way: AbstractPass, keys: Keys) -> Answer:
        holds, paths = way.drawn(keys, num_samples)
        log_prob = jnp.sum(way.log_evidence, axis=-1)
        return Answer(holds, unless_nan(log_prob, paths))

    return ask(drawn, constrain(model), sequences.steps, schedule, for_filter, for_paths)
