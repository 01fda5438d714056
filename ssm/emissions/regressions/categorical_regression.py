"""Symbols whose log-probabilities are linear: p(y = c | x = k, u) = softmax_c(W_k u + b_k)."""

from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, categorical, categorical_logits
from ssm.emissions.common.ascent import climb_likelihood
from ssm.emissions.regressions.linear_predictor import AbstractRegression, linear_predictor, random_coefficients
from ssm.numeric import checks
from ssm.numeric.linalg import multiply, row_times_matrix
from ssm.numeric.ranks import shared_levels
from ssm.parameters import AbstractOverparametrised
from ssm.parameters.bounded import symbols
from ssm.shapes import Array, Bool, Float, Int, Key


@final
class CategoricalRegression(AbstractRegression, AbstractOverparametrised):
    """A multinomial logit on the inputs u (U,) for each state: `weights` (K, C, U), `bias` (K, C), symbols 0 .. C-1.

    log p = η_y - log Σ_c exp η_c with η = W u + b, whose common level is free. M-step: L-BFGS, which never lowers
    the expected log-likelihood (McCullagh & Nelder 1989, section 5.2). Raises ValueError when shapes disagree.
    """

    weights: Float[Array, "K C U"]
    bias: Float[Array, "K C"]

    def __init__(self, weights: Array, bias: Array):
        self.weights = checks.real("weights", weights, ("K", "C", "U"))
        self.bias = checks.real("bias", bias, self.weights.shape[:2]).astype(self.weights.dtype)

    def num_redundant(self, entries: Any) -> int:
        """Of each state one bias and one weight of each input: only differences between symbols have an effect."""
        return shared_levels(entries.weights, axis=1) + shared_levels(entries.bias, axis=1)

    @property
    def num_classes(self) -> int:
        """C."""
        return self.bias.shape[1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """()."""
        return ()

    @property
    def event_kind(self) -> str:
        """ "symbol"."""
        return "symbol"

    def rows(
        self, ys: Int[Array, "M"], us: Float[Array, "M U"], observed: Bool[Array, "M"] | None = None
    ) -> Float[Array, "K M"]:
        """See `AbstractEmission.rows`; state by state, so that no (K, C, M) array is made."""
        inside, columns = (ys >= 0) & (ys < self.num_classes), us.T
        is_class = ys == jnp.arange(self.num_classes)[:, None]  # (C, M)

        def one_state(weights: Float[Array, "C U"], bias: Float[Array, "C"]) -> Float[Array, "M"]:
            natural = multiply(weights, columns) + bias[:, None]
            chosen = jnp.sum(jnp.where(is_class, natural, 0), axis=0)
            return jnp.where(inside, chosen - jax.nn.logsumexp(natural, axis=0), jnp.nan)

        table = jnp.stack([one_state(*each) for each in zip(self.weights, self.bias, strict=True)])
        return table if observed is None else jnp.where(observed, table, 0)

    def given(self, state: Int[Array, ""], u: Float[Array, "U"]) -> Distribution:
        """softmax(W u + b) of `state`."""
        return categorical_logits(linear_predictor(self.weights[state], self.bias[state], u))

    def mixture(self, probs: Float[Array, "K"], u: Float[Array, "U"]) -> Distribution:
        """The mixed probabilities: again categorical."""
        each = jax.nn.softmax(linear_predictor(self.weights, self.bias, u), axis=1)
        return categorical(row_times_matrix(probs, each))

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Int[Array, "M"],
        us: Float[Array, "M U"],
        observed: Bool[Array, "M"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "CategoricalRegression":
        """One multinomial logit per state; see `climb_likelihood`."""
        return climb_likelihood(self, weights, ys, us, observed, frozen)

    def restart(
        self, key: Key, ys: Int[Array, "M"], us: Float[Array, "M U"], observed: Bool[Array, "M"] | None
    ) -> "CategoricalRegression":
        """`random`."""
        return CategoricalRegression.random(key, self.num_states, self.num_inputs, self.num_classes)

    def validate(self, ys: np.ndarray) -> None:
        """Symbols must lie in 0 .. C-1."""
        symbols(ys, self.num_classes)

    @classmethod
    def random(cls, key: Key, num_states: int, num_inputs: int, num_classes: int) -> "CategoricalRegression":
        """Weights and biases from a standard normal."""
        shape = (checks.positive_int("num_states", num_states), checks.positive_int("num_classes", num_classes))
        return cls(*random_coefficients(key, shape, num_inputs))
