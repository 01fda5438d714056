"""Symbols: p(y = c) = softmax(W h + b)_c."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, categorical_logits
from ssm.heads.base import AbstractHead
from ssm.numeric.checks import positive_int
from ssm.numeric.ranks import shared_levels
from ssm.parameters import AbstractOverparametrised
from ssm.shapes import Array, Bool, Float, Int, Key, Scalar


@final
class Categorical(AbstractHead, AbstractOverparametrised):
    """One of C symbols, 0 .. C-1, read as one-hot vectors.

    `linear` maps H features to C logits. Raises TypeError or ValueError for sizes that are not positive integers.
    """

    linear: eqx.nn.Linear

    def __init__(self, input_size: int, num_classes: int, *, key: Key):
        sizes = positive_int("input_size", input_size), positive_int("num_classes", num_classes)
        self.linear = eqx.nn.Linear(*sizes, key=key)

    def num_redundant(self, entries: Any) -> int:
        """One bias and one weight of each feature: only differences between symbols have an effect."""
        parts = jax.tree.leaves((entries.linear.weight, entries.linear.bias))  # an Equinox layer may have no bias
        return sum(shared_levels(part, axis=0) for part in parts)

    @property
    def input_size(self) -> int:
        """H."""
        return self.linear.weight.shape[1]

    @property
    def num_classes(self) -> int:
        """C."""
        return self.linear.weight.shape[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """()."""
        return ()

    @property
    def event_kind(self) -> str:
        """Integers."""
        return "symbol"

    @property
    def encoded_size(self) -> int:
        """C."""
        return self.num_classes

    def distribution(self, features: Float[Array, "F"]) -> Distribution:
        """Categorical with the mapped logits."""
        return categorical_logits(self.linear(features))

    def log_prob(
        self, features: Float[Array, "F"], y: Int[Array, ""], observed: Bool[Array, ""] | None = None
    ) -> Scalar:
        """Entry y of log softmax; NaN, which poisons the evidence, for a symbol out of range under jit."""
        in_range = (y >= 0) & (y < self.num_classes)
        value = jax.nn.log_softmax(self.linear(features))[jnp.clip(y, 0, self.num_classes - 1)]
        value = jnp.where(in_range, value, jnp.nan)
        return value if observed is None else jnp.where(observed, value, 0)

    def encode(self, y: Int[Array, ""]) -> Float[Array, "C"]:
        """One-hot."""
        return jax.nn.one_hot(y, self.num_classes, dtype=self.linear.weight.dtype)

    def expected(self, features: Float[Array, "F"]) -> Float[Array, "C"]:
        """The probabilities."""
        return jax.nn.softmax(self.linear(features))

    def validate(self, ys: np.ndarray) -> None:
        """Symbols must lie in 0 .. C-1."""
        if ys.min() < 0 or ys.max() >= self.num_classes:
            raise ValueError(
                f"ys: symbols must lie in 0 .. {self.num_classes - 1} (the head has {self.num_classes} classes), "
                f"got values from {ys.min()} to {ys.max()}"
            )
