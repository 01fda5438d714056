"""Maps between distributions over K states: non-negative matrices up to a factor, by their logarithms."""

from typing import Any, final

import jax.numpy as jnp

from ssm.beliefs import LogCategorical
from ssm.maps.base import AbstractMap
from ssm.numeric.logspace import finite_max, log, log_multiply, log_sum
from ssm.shapes import Array, Float


@final
class MarkovMap(AbstractMap[LogCategorical]):
    """p ↦ p M / sum(p M), with M = exp(logs) up to a factor.

    Logarithms, because a path of share e^-1000 of the best one may be the only one that later data allow. The largest
    entry is kept near 1, so that they stay as accurate as the dtype allows at any length.
    """

    logs: Float[Array, "K K"]

    @classmethod
    def of(cls, matrix: Float[Array, "K K"], log_likelihood: Float[Array, "K"] | None = None) -> "MarkovMap":
        """The step M_ij = matrix_ij exp(log_likelihood_j)."""
        logs = log(matrix)
        return cls(logs if log_likelihood is None else jnp.where(matrix == 0, -jnp.inf, logs + log_likelihood))

    @property
    def rows(self) -> Float[Array, "K K"]:
        """p(state after | state before), zero where the state leads nowhere."""
        total = log_sum(self.logs)[:, None]
        return jnp.exp(self.logs - jnp.where(total == -jnp.inf, 0, total))

    def then(self, second: "MarkovMap") -> "MarkovMap":
        """M₁ M₂."""
        return MarkovMap(_shifted(log_multiply(self.logs, second.logs)))

    def apply(self, belief: Any) -> LogCategorical:
        """The normalised row vector p M."""
        moved = log_sum(belief.log_probs[:, None] + self.logs, axis=0)
        total = log_sum(moved)
        return LogCategorical(moved - jnp.where(total == -jnp.inf, 0, total))

    def identity(self) -> "MarkovMap":
        """The unit matrix."""
        return MarkovMap(log(jnp.eye(self.logs.shape[0], dtype=self.logs.dtype)))

    def forget(self, belief: Any) -> "MarkovMap":
        """Every row is the belief."""
        return MarkovMap(jnp.broadcast_to(belief.log_probs, self.logs.shape))


def _shifted(logs: Float[Array, "K K"]) -> Float[Array, "K K"]:
    return logs - finite_max(logs.reshape(-1))
