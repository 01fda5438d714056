"""Independent binary components: p(y_n = 1) = σ(W h + b)_n."""

from typing import final

import equinox as eqx
import jax
import numpy as np

from ssm.distributions import Distribution, bernoulli
from ssm.heads.base import AbstractHead
from ssm.numeric.checks import positive_int
from ssm.shapes import Array, Bool, Float, Key, Scalar


@final
class Bernoulli(AbstractHead):
    """N zeros and ones, or a single one if `size` is None, read as they are.

    `linear` maps H features to N logits. Raises TypeError or ValueError for sizes that are not positive integers.
    """

    linear: eqx.nn.Linear
    size: int | None = eqx.field(static=True)

    def __init__(self, input_size: int, size: int | None = None, *, key: Key):
        self.size = None if size is None else positive_int("size", size)
        self.linear = eqx.nn.Linear(positive_int("input_size", input_size), size or 1, key=key)

    @property
    def input_size(self) -> int:
        """H."""
        return self.linear.weight.shape[1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(N,), () for scalars."""
        return () if self.size is None else (self.size,)

    @property
    def encoded_size(self) -> int:
        """N, 1 for single ones."""
        return self.linear.weight.shape[0]

    def distribution(self, features: Float[Array, "F"]) -> Distribution:
        """Bernoulli components with the mapped logits."""
        return bernoulli(self.linear(features).reshape(self.event_shape))

    def log_prob(self, features: Float[Array, "F"], y: Array, observed: Bool[Array, "*event"] | None = None) -> Scalar:
        """Σ_n log p(y_n), over the observed components; drawn ones may be integers."""
        return super().log_prob(features, y.astype(features.dtype), observed)

    def encode(self, y: Array) -> Float[Array, "N"]:
        """The vector itself."""
        return y.reshape(self.encoded_size).astype(self.linear.weight.dtype)

    def expected(self, features: Float[Array, "F"]) -> Float[Array, "N"]:
        """Probabilities of a one."""
        return jax.nn.sigmoid(self.linear(features))

    def validate(self, ys: np.ndarray) -> None:
        """Zeros and ones only."""
        bad = (ys != 0) & (ys != 1)
        if bad.any():
            raise ValueError(f"ys: a Bernoulli head observes zeros and ones, got {ys[bad][0]}")
