"""Mixtures of whatever a function from points to distributions makes."""

from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions.marginals import marginal_log_prob
from ssm.numeric.missing import choose
from ssm.numeric.trees import widen
from ssm.shapes import Array, Bool, Float, Key, PyTree


@final
class WeightedMixture(eqx.Module):
    """Σ_i w_i p(y | x_i) over P weighted points: what a particle filter predicts.

    Made of arrays: `given` makes the distribution of one point at the moment it is asked for.
    """

    given: Callable[[PyTree], Any]
    points: PyTree
    log_weights: Float[Array, "P"]

    def log_joint(self, y: Array, observed: Bool[Array, "*event"] | None = None) -> Float[Array, "P"]:
        """log w_i p(y | x_i), over the observed components of y."""
        whole = lambda: jax.vmap(lambda point: self.given(point).log_prob(y))(self.points)
        if observed is None:
            return self.log_weights + whole()
        parts = lambda: jax.vmap(lambda point: marginal_log_prob(self.given(point), y, observed))(self.points)
        return self.log_weights + choose(~observed, parts, whole)

    def log_prob(self, y: Array) -> Float[Array, ""]:
        """log Σ_i w_i p(y | x_i)."""
        return jax.nn.logsumexp(self.log_joint(y))

    def mean(self) -> Array:
        """Σ_i w_i E[y | x_i]."""
        return self._average(jax.vmap(lambda point: self.given(point).mean())(self.points))

    def variance(self) -> Array:
        """Σ_i w_i (Var[y | x_i] + (E[y | x_i] - E[y])²), component by component."""
        means = jax.vmap(lambda point: self.given(point).mean())(self.points)
        variances = jax.vmap(lambda point: self.given(point).variance())(self.points)
        return self._average(variances + (means - self._average(means)) ** 2)

    @property
    def probs(self) -> Float[Array, "C"]:
        """Σ_i w_i p(y = c | x_i), where the observations are categorical."""
        return self._average(jax.vmap(lambda point: self.given(point).probs)(self.points))

    def sample(self, *, seed: Key) -> Array:
        """A point drawn by weight, then an observation of it."""
        for_point, for_y = jax.random.split(seed)
        i = jax.random.categorical(for_point, self.log_weights)
        return self.given(jax.tree.map(lambda points: points[i], self.points)).sample(seed=for_y)

    def _average(self, values: Float[Array, "P *event"]) -> Float[Array, "*event"]:
        weights = jax.nn.softmax(self.log_weights)
        there = widen(weights, values.ndim) > 0  # what does not count may be infinite
        return jnp.tensordot(weights, jnp.where(there, values, 0), 1, precision="highest")
