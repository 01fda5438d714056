"""The past: smoothing, and drawing whole paths of the state."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.data import check_key, needs_key, observe, over_sequences, where_missing
from ssm.numeric.checks import positive_int
from ssm.numeric.missing import unless_nan
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.answers import smooth_one, smooth_together
from ssm.passes.backward import PathSampler, backward_steps
from ssm.passes.forms import Form
from ssm.passes.in_order import from_beliefs
from ssm.recursion import AbstractRecursion, AbstractReversibleRecursion
from ssm.scan import Saved, scan
from ssm.schedules import AbstractSchedule, Sequential, resolve, together
from ssm.shapes import Array, Float, Key, PyTree
from ssm.steps import Step


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
    model = constrain(model)
    all_at_once = together(schedule, model, sequences.steps)

    def one(steps: Step, key: Key | None) -> Smoothed:
        if all_at_once:
            smoothed, log_evidence = smooth_together(model, steps, schedule)
        else:
            smoothed, log_evidence = smooth_one(model, steps, schedule, key)
        return Smoothed(smoothed, jnp.sum(log_evidence, axis=-1))

    return over_sequences(one, sequences, key, together=all_at_once)


@tried
@where_missing
def _posterior_sample(model, sequences, schedule, key, num_samples):
    model = constrain(model)

    def one(steps: Step, key: Key) -> PyTree:
        for_filter, for_paths = jax.random.split(key)
        return from_beliefs(paths, model, steps, schedule, for_filter, for_paths)

    def paths(form: Form, saved: Saved, key: Key) -> PyTree:
        model, prepared = form.model, form.prepared
        log_prob = jnp.sum(saved.log_evidence)
        directly = model.draw_directly(prepared, saved.predicted, saved.filtered, key, num_samples)
        if directly is not None:
            return unless_nan(log_prob, directly)
        back = backward_steps(prepared, saved.predicted, saved.filtered)

        def path(key: Key) -> PyTree:
            save = lambda saved: saved.filtered.state
            return scan(PathSampler(model), back, schedule=Sequential(), key=key, save=save, backward=True)[1]

        return unless_nan(log_prob, jax.vmap(path)(jax.random.split(key, num_samples)))

    return over_sequences(one, sequences, key)
