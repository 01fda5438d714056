"""The future: the same scan with nothing observed, then `emit`."""

from typing import Any

import jax
import jax.numpy as jnp

from ssm.data import future_steps, needs_key, observe, over_sequences, where_missing
from ssm.inference.forecasts import AbstractForecast, ExactForecast, SampledForecast, draw_futures
from ssm.numeric.checks import positive_int
from ssm.numeric.trial import mapped, tried
from ssm.parameters import constrain
from ssm.passes.in_order import forward, nothing
from ssm.recursion import AbstractRecursion
from ssm.scan import scan
from ssm.schedules import Sequential
from ssm.shapes import Array, Key, PyTree
from ssm.steps import Step


def forecast(
    model: AbstractRecursion,
    ys: Array,
    steps: int,
    inputs: PyTree = None,
    future_inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    missing: bool | None = None,
    num_samples: int = 1000,
    key: Key | None = None,
) -> AbstractForecast:
    """p(y_{T+1}, ..., y_{T+steps} | y_{1:T}): the next `steps` observations after each sequence's own end.

    Exact for models whose belief moves on without seeing its own draws (HMM, LinearGaussian, input-driven RNN);
    otherwise (particles, models fed their own outputs) from `num_samples` drawn futures, which need a `key`.
    Shapes: `future_inputs` (steps, U) or (B, steps, U); other arguments and errors as in `ssm.filter`.
    """
    positive_int("steps", steps)
    positive_int("num_samples", num_samples)
    needs_key(model, key, "forecast")
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, missing=missing)
    lead = sequences.steps.t.shape[:-1]
    ends = jnp.full(lead, sequences.size) if lengths is None else jnp.asarray(lengths)
    ahead = future_steps(model, (*lead, steps), future_inputs, ends, "future_inputs")
    if not (model.feeds_back or model.is_stochastic):
        beliefs, predicted = _predict(model, sequences, ahead)
        return ExactForecast(model, ahead, beliefs, predicted)
    if key is None:
        raise ValueError(
            f"key: a {type(model).__name__} that reads its own outputs is forecast by drawing; "
            "pass key=jax.random.key(seed)"
        )
    beliefs, paths = _draw(model, sequences, ahead, key, num_samples)
    return SampledForecast(model, ahead, beliefs, paths)


@tried
@where_missing
def _predict(model, sequences, ahead):
    model = constrain(model)

    def one(steps: Step, key: None, ahead: Step) -> tuple[Any, Any]:
        belief = _last_belief(model, steps, key, not sequences.batched)
        return _one(belief), scan(model, model.prepare(ahead), belief=belief, save=lambda saved: saved.predicted)[1]

    return over_sequences(one, sequences, None, ahead)


@tried
@where_missing
def _draw(model, sequences, ahead, key, num_samples):
    model = constrain(model)

    def one(steps: Step, key: Key, ahead: Step) -> tuple[Any, Array]:
        for_filter, for_paths = jax.random.split(key)
        if model.is_stochastic and model.feeds_back:
            # The belief is itself one draw of a latent path: every future continues a draw of its own.
            keys = jax.random.split(for_filter, num_samples)
            starts = mapped(lambda each: _last_belief(model, steps, each, False))(keys)
        else:
            starts = _one(_last_belief(model, steps, for_filter, not sequences.batched))
        return starts, draw_futures(model, starts, ahead, for_paths, num_samples)

    return over_sequences(one, sequences, key, ahead)


def _one(belief: Any) -> Any:
    """A belief as a collection of one."""
    return jax.tree.map(lambda leaf: leaf[None], belief)


def _last_belief(model: AbstractRecursion, steps: Step, key: Key | None, fast: bool) -> Any:
    return forward(model, steps, Sequential(), key, nothing, fast=fast)[0]
