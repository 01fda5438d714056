"""Whether data look like what a model makes: a statistic of theirs among those of simulated sequences."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.data import Sequences, check_key, future_steps, observe, over_sequences
from ssm.inference.simulating import draw_path, prepare_to_draw
from ssm.numeric.checks import positive_int
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import float_dtype, widen
from ssm.parameters import constrain
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Bool, Float, Key, PyTree
from ssm.steps import Step

AT_ONCE = 64  # simulations that are in memory together


class SimulatedCheck(eqx.Module):
    """A statistic of the data, `observed` (*stat), and of n simulated data sets, `draws` (n, *stat).

    The p-values are exact for a model that was not fitted to these data: under it, each is at most p with probability
    at most p, whatever n. For a fitted model they are too close to one half. They are NaN where a statistic is NaN.
    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 4.2 (the added ones).
    """

    observed: Float[Array, "*stat"]
    draws: Float[Array, "n *stat"]

    @property
    def p_low(self) -> Float[Array, "*stat"]:
        """How often a statistic is as low as the one of the data: (1 + #{draws <= observed}) / (n + 1)."""
        return self._share(self.draws <= self.observed)

    @property
    def p_high(self) -> Float[Array, "*stat"]:
        """How often a statistic is as high as the one of the data: (1 + #{draws >= observed}) / (n + 1)."""
        return self._share(self.draws >= self.observed)

    @property
    def p_value(self) -> Float[Array, "*stat"]:
        """Two-sided: twice the smaller of the two, at most 1."""
        return jnp.minimum(1, 2 * jnp.minimum(self.p_low, self.p_high))

    def _share(self, beyond: Bool[Array, "n *stat"]) -> Float[Array, "*stat"]:
        share = (1 + jnp.sum(beyond, axis=0)).astype(self.draws.dtype) / (self.draws.shape[0] + 1)
        unknown = jnp.isnan(self.observed) | jnp.any(jnp.isnan(self.draws), axis=0)
        return jnp.where(unknown, jnp.nan, share)


def simulated_check(
    model: AbstractRecursion,
    ys: Array,
    statistic: Callable[[Array, Array], Any],
    num_simulations: int,
    key: Key,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
) -> SimulatedCheck:
    """Compare a statistic of the data with that of data drawn from the model, equally long and with the same gaps.

    `statistic(ys, seen)` returns a number or an array of numbers, and is written in jax.numpy. It is given all of the
    data, in the shape of `ys`, and which of them are there, in the same shape: what is missing or padding is 0 in
    `ys` and False in `seen`, so `lambda ys, seen: jnp.max(ys, where=seen, initial=-jnp.inf)` is the largest
    observation. Inputs are those of the data. Other arguments and errors as in `ssm.filter` and `ssm.simulate`.

    Source: Rubin 1984; Gelman, Meng & Stern 1996, here with the parameters at one value.
    """
    check_key(key)
    positive_int("num_simulations", num_simulations)
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths)
    ahead = future_steps(model, tuple(sequences.steps.t.shape), inputs)
    return _simulated_check(model, sequences, ahead, statistic, int(num_simulations), key)


@compiled
def _simulated_check(model, sequences, ahead, statistic, num_simulations, key):
    model, data = constrain(model), sequences.steps
    seen = _seen(data)

    def drawn(key: Key) -> Array:
        one = lambda steps, key: draw_path(model, None, prepare_to_draw(model, steps), key)[1]
        return over_sequences(one, Sequences(ahead, sequences.batched), key)

    def value(ys: Array) -> Array:
        return jnp.asarray(statistic(jnp.where(seen, ys, jnp.zeros((), ys.dtype)), seen)).astype(float_dtype(model))

    keys = jax.random.split(key, num_simulations)
    draws = jax.lax.map(lambda key: value(drawn(key)), keys, batch_size=min(AT_ONCE, num_simulations))
    return SimulatedCheck(value(data.y), draws)


def _seen(steps: Step) -> Bool[Array, "*data"]:
    """Which entries of y are observed and no padding."""
    seen = jnp.ones(steps.y.shape, bool)
    if steps.observed is not None:
        seen = seen & widen(steps.observed, steps.y.ndim)
    return seen if steps.padding is None else seen & ~widen(steps.padding, steps.y.ndim)
