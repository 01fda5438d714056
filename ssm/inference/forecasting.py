"""The future: the same scan with nothing observed, then `emit`."""

from typing import Any

import jax
import jax.numpy as jnp

from ssm.data import Sequences, each_pair, future_steps, needs_key, observe, over_sequences
from ssm.inference.forecasts import AbstractForecast, ExactForecast, SampledForecast, draw_futures
from ssm.numeric.checks import positive_int
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.door import ask, where_missing
from ssm.recursion import AbstractRecursion
from ssm.scan import scan
from ssm.schedules import resolve
from ssm.shapes import Array, Key, Keys, PyTree
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

    def one(ahead: Step, key: None, belief: Any) -> tuple[Any, Any]:
        return _one(belief), scan(model, model.prepare(ahead), belief=belief, save=lambda saved: saved.predicted)[1]

    beliefs = _last_beliefs(model, sequences, None)
    return over_sequences(one, Sequences(ahead, sequences.batched), None, beliefs)


@tried
@where_missing
def _draw(model, sequences, ahead, key, num_samples):
    model = constrain(model)
    for_filter, for_paths = each_pair(sequences, key)
    if model.is_stochastic and model.feeds_back:
        # The belief is itself one draw of a latent path: every future continues a draw of its own.
        draws = lambda key: jax.random.split(key, num_samples)
        many = jnp.moveaxis(jax.vmap(draws)(for_filter) if sequences.batched else draws(for_filter), -1, 0)
        starts = jax.vmap(lambda keys: _last_beliefs(model, sequences, keys))(many)
        starts = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), starts) if sequences.batched else starts
    else:
        found = _last_beliefs(model, sequences, for_filter)
        starts = jax.vmap(_one)(found) if sequences.batched else _one(found)
    draw = lambda ahead, starts, key: draw_futures(model, starts, ahead, key, num_samples)
    return starts, (jax.vmap(draw) if sequences.batched else draw)(ahead, starts, for_paths)


def _one(belief: Any) -> Any:
    """A belief as a collection of one."""
    return jax.tree.map(lambda leaf: leaf[None], belief)


def _last_beliefs(model: AbstractRecursion, sequences: Sequences, key: Keys | None) -> Any:
    """Those after the last step of every sequence."""
    steps = sequences.steps
    return ask(lambda way: way.last(), model, steps, resolve("auto", model, steps.t.shape), key)
