"""Counts whose log-rate is linear: p(y_n | x = k, u) = Poisson(y_n; exp(W_kn u + b_kn))."""

from typing import final

import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, log_poisson, poisson
from ssm.emissions.common.seeds import average, state_shape
from ssm.emissions.regressions.linear_predictor import (
    AbstractRegression,
    check_coefficients,
    climb_canonical,
    linear_predictor,
    random_coefficients,
    sum_of_densities,
    uneven_shares,
)
from ssm.numeric import checks
from ssm.numeric.logspace import log, on_support
from ssm.parameters.bounded import counts
from ssm.shapes import Array, Bool, Float, Int, Key


@final
class PoissonRegression(AbstractRegression):
    """A log-linear regression of counts on the inputs u (U,) for each state.

    Scalars, `weights` (K, U) and `bias` (K,), or vectors of independent components, (K, N, U) and (K, N).
    log p = Σ_n y_n η_n - exp η_n - log y_n! with η = W u + b; a missing component leaves its term out. M-step:
    Newton's method (McCullagh & Nelder 1989, section 2.5), which never lowers the expected log-likelihood.
    """

    weights: Float[Array, "K *event U"]
    bias: Float[Array, "K *event"]

    def __init__(self, weights: Array, bias: Array):
        self.weights, self.bias = check_coefficients(weights, bias)

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: Float[Array, "T U"], observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """y η - exp η - log y!, summed component by component."""

        def density(natural: Array, y: Array) -> Array:
            inside = (y >= 0) & (y == jnp.round(y))
            return on_support(inside, y, log_poisson(jnp.where(inside, y, 0), jnp.exp(natural), natural))

        return sum_of_densities(density, ys, us, observed, self.weights, self.bias)

    def given(self, state: Int[Array, ""], u: Float[Array, "U"]) -> Distribution:
        """Poisson components with rates exp(W u + b) of `state`."""
        return poisson(jnp.exp(linear_predictor(self.weights[state], self.bias[state], u)))

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: Float[Array, "M U"],
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "PoissonRegression":
        """One log-linear regression per state and component."""
        return PoissonRegression(*climb_canonical(jnp.exp, weights, ys, us, observed, self.weights, self.bias, frozen))

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: Float[Array, "M U"], observed: Bool[Array, "M"] | None
    ) -> "PoissonRegression":
        """`from_data`."""
        return PoissonRegression.from_data(key, self.num_states, ys, us, observed)

    def validate(self, ys: np.ndarray) -> None:
        """Whole numbers from 0."""
        counts("PoissonRegression", ys)

    @classmethod
    def random(
        cls, key: Key, num_states: int, num_inputs: int, num_components: int | None = None
    ) -> "PoissonRegression":
        """Weights and biases from a normal of scale one half; scalars unless `num_components` is given."""
        weights, bias = random_coefficients(key, state_shape(num_states, num_components), num_inputs)
        return cls(weights / 2, bias / 2)

    @classmethod
    def from_data(
        cls,
        key: Key,
        num_states: int,
        ys: Float[Array, "M *event"],
        us: Float[Array, "M U"],
        observed: Bool[Array, "M"] | None = None,
    ) -> "PoissonRegression":
        """Rates around the data's mean count, weights zero, then an M-step on random weights of the observations."""
        ys, us = jnp.asarray(ys), jnp.asarray(us)
        shape = (checks.positive_int("num_states", num_states), *ys.shape[1:])
        seen = jnp.ones(ys.shape[0], bool) if observed is None else observed
        bias = log(jnp.maximum(average(ys, seen), 0.1))
        start = cls(jnp.zeros((*shape, us.shape[1]), ys.dtype), jnp.broadcast_to(bias, shape))
        return start.maximise(uneven_shares(key, num_states, us, observed), ys, us, observed)
