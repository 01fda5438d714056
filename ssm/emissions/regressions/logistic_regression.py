"""Binary components whose log-odds are linear: p(y_n = 1 | x = k, u) = 1 / (1 + exp(-(W_kn u + b_kn)))."""

from typing import final

import jax
import numpy as np

from ssm.distributions import Distribution, bernoulli
from ssm.emissions.common.seeds import state_shape
from ssm.emissions.regressions.linear_predictor import (
    AbstractRegression,
    check_coefficients,
    climb_canonical,
    linear_predictor,
    random_coefficients,
    sum_of_densities,
)
from ssm.numeric.logspace import on_support
from ssm.parameters.bounded import counts
from ssm.shapes import Array, Bool, Float, Int, Key


@final
class LogisticRegression(AbstractRegression):
    """A logistic regression on the inputs u (U,) for each state; observations are 0 or 1.

    Scalars, `weights` (K, U) and `bias` (K,), or vectors of independent components, (K, N, U) and (K, N).
    log p = Σ_n y_n η_n - log(1 + exp η_n) with η = W u + b; a missing component leaves its term out. M-step:
    Newton's method (McCullagh & Nelder 1989, section 2.5), which never lowers the expected log-likelihood; where
    the inputs separate a state's zeros from its ones the maximum is at infinity and each M-step goes some way.
    """

    weights: Float[Array, "K *event U"]
    bias: Float[Array, "K *event"]

    def __init__(self, weights: Array, bias: Array):
        self.weights, self.bias = check_coefficients(weights, bias)

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: Float[Array, "T U"], observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """y η - log(1 + exp η), summed component by component."""
        density = lambda natural, y: y * natural - jax.nn.softplus(natural) + on_support((y == 0) | (y == 1), y)
        return sum_of_densities(density, ys, us, observed, self.weights, self.bias)

    def given(self, state: Int[Array, ""], u: Float[Array, "U"]) -> Distribution:
        """Bernoulli components with log-odds W u + b of `state`."""
        return bernoulli(linear_predictor(self.weights[state], self.bias[state], u))

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: Float[Array, "M U"],
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "LogisticRegression":
        """One logistic regression per state and component."""
        found = climb_canonical(jax.nn.softplus, weights, ys, us, observed, self.weights, self.bias, frozen)
        return LogisticRegression(*found)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: Float[Array, "M U"], observed: Bool[Array, "M"] | None
    ) -> "LogisticRegression":
        """`random`: what a few points say of a logistic regression is often infinite."""
        size = self.event_shape[0] if self.event_shape else None
        return LogisticRegression.random(key, self.num_states, self.num_inputs, size)

    def validate(self, ys: np.ndarray) -> None:
        """0 or 1."""
        counts("LogisticRegression", ys, 1)

    @classmethod
    def random(
        cls, key: Key, num_states: int, num_inputs: int, num_components: int | None = None
    ) -> "LogisticRegression":
        """Weights and biases from a standard normal; scalars unless `num_components` is given."""
        return cls(*random_coefficients(key, state_shape(num_states, num_components), num_inputs))
