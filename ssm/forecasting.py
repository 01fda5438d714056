"""The future: the same scan with nothing observed, then `emit`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.checks import positive_int
from ssm.data import check_key, future_steps, needs_key, observe, over_sequences
from ssm.distributions import is_symbolic, quantile
from ssm.forward import forward
from ssm.parameters import constrain
from ssm.recursion import AbstractRecursion, Step
from ssm.scan import scan
from ssm.schedules import Sequential
from ssm.shapes import Array, Float, Key, PyTree
from ssm.simulating import draw_path


class AbstractForecast(eqx.Module):
    """A distribution over the next steps: arrays of shape (steps, *event), with a leading B for a batch."""

    @property
    def mean(self) -> Float[Array, "*B steps *event"]:
        """Expected observations."""
        raise NotImplementedError

    @property
    def stddev(self) -> Float[Array, "*B steps *event"]:
        """Standard deviations, component by component."""
        raise NotImplementedError

    @property
    def probs(self) -> Float[Array, "*B steps C"]:
        """Probabilities of the symbols; TypeError unless observations are categorical."""
        raise NotImplementedError

    def quantile(self, q: float) -> Array:
        """The q-quantile of every component at every step."""
        raise NotImplementedError

    def sample(self, key: Key, n: int) -> Array:
        """n joint futures (n, steps, *event); the n comes after a leading B."""
        raise NotImplementedError

    def log_prob(self, future_ys: Array, *, key: Key | None = None) -> Float[Array, "*B"]:
        """Joint log-probability of a future, given the past."""
        raise NotImplementedError

    def interval(self, level: float = 0.9) -> tuple[Array, Array]:
        """The central interval (low, high) that holds each component with probability `level`."""
        if not 0 < level < 1:
            raise ValueError(f"level: expected a probability strictly between 0 and 1, got {level}")
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)
