"""What an autoregressive chain believes, and the past it reads."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.beliefs import Bracketed, Categorical, LogCategorical
from ssm.maps.base import AbstractKernel
from ssm.shapes import Array, Bool, Float, Int, Key
from ssm.steps import Step


class Regime(eqx.Module):
    """A distribution over K states, and the last L observations, latest first."""

    states: Categorical | LogCategorical | Bracketed
    past: Float[Array, "*batch L N"]

    @property
    def probs(self) -> Float[Array, "*batch K"]:
        """Probabilities of the states."""
        return self.states.probs

    @property
    def state(self) -> Int[Array, "*batch"]:
        """The likeliest state."""
        return jnp.argmax(self.probs, axis=-1)

    def sample(self, key: Key) -> Int[Array, ""]:
        """One state."""
        assert not isinstance(self.states, Bracketed)  # which walks alone carry
        return self.states.sample(key)

    def after(self, states: Any, y: Float[Array, "N"]) -> "Regime":
        """Another distribution over states, and y before the observations that are remembered."""
        return Regime(states, jnp.concatenate([y[None], self.past[:-1]]))


class ReversedRegime(AbstractKernel[Regime]):
    """p(x_t | x_{t+1}, y_{<=t}) of the chain, with the past that was known at t."""

    kernel: AbstractKernel[Any]
    past: Float[Array, "L N"]

    def apply(self, belief: Regime) -> Regime:
        """One step of smoothing."""
        return Regime(self.kernel.apply(belief.states), self.past)

    def sample(self, key: Key, state: Int[Array, ""]) -> Int[Array, ""]:
        """x_t given x_{t+1} = state."""
        return self.kernel.sample(key, state)


def lagged(
    past: Float[Array, "L N"],
    ys: Float[Array, "*B T N"],
    starts: Bool[Array, "*B T"] | None,
    observed: Bool[Array, "..."] | None,
) -> Float[Array, "*B T R"]:
    """[y_{t-1}, ..., y_{t-L}] at all times, with `past` before each start; NaN where one of them is missing."""
    if ys.ndim == 3:
        return jax.vmap(lagged, (None, 0, 0, 0))(past, ys, starts, observed)
    total = ys.shape[0]
    times = jnp.arange(total)
    begins = jnp.zeros(total, int) if starts is None else jax.lax.cummax(jnp.where(starts, times, 0))
    seen = jnp.ones(total, bool) if observed is None else jnp.all(observed.reshape(total, -1), axis=1)
    known = jnp.where(seen[:, None], ys, jnp.nan)
    recent = past[::-1]
    columns = []
    for lag in range(1, recent.shape[0] + 1):
        since = times - begins  # steps since the start
        earlier = recent[jnp.clip(lag - 1 - since, 0)]
        columns.append(jnp.where((since >= lag)[:, None], jnp.roll(known, lag, axis=0), earlier))
    # What is not there to be explained needs no lags: a NaN would reach gradients through the mask.
    return jnp.where(seen[:, None], jnp.concatenate(columns, axis=1), 0)


def first_gap(steps: Step) -> int | None:
    """The first time step with something missing and something observed in it or later in its sequence."""
    lead = steps.t.shape
    flags = np.asarray(steps.observed).reshape(*lead, -1)
    whole, some = flags.all(-1).reshape(-1, lead[-1]), flags.any(-1).reshape(-1, lead[-1])
    if steps.padding is not None:
        padding = np.asarray(steps.padding).reshape(whole.shape)
        whole, some = whole | padding, some & ~padding
    for b, (complete, seen) in enumerate(zip(whole, some, strict=True)):
        times = np.arange(lead[-1])
        which = times * 0 if steps.first is None else np.cumsum(np.asarray(steps.first).reshape(whole.shape)[b])
        last = np.full(which[-1] + 1, -1)  # the last observation of each sequence that is packed here
        np.maximum.at(last, which, np.where(seen, times, -1))
        gaps = ~complete & (times <= last[which])
        if gaps.any():
            return int(np.argmax(gaps))
    return None
