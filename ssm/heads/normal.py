"""Independent normal components whose mean and scale depend on the features."""

from typing import final

import equinox as eqx
import jax.numpy as jnp

from ssm.distributions import Distribution, normal
from ssm.heads.base import AbstractHead
from ssm.numeric.checks import positive_int
from ssm.shapes import Array, Float, Key


@final
class Normal(AbstractHead):
    """p(y | h) = Π_n N(y_n; loc_n, scale_n²) with (loc, log scale) = W h + b; scalars if `size` is None.

    `linear` maps H features to 2N numbers, the means first; observations are read as they are. Raises TypeError or
    ValueError for sizes that are not positive integers.
    """

    linear: eqx.nn.Linear
    size: int | None = eqx.field(static=True)

    def __init__(self, input_size: int, size: int | None = None, *, key: Key):
        self.size = None if size is None else positive_int("size", size)
        self.linear = eqx.nn.Linear(positive_int("input_size", input_size), 2 * (size or 1), key=key)

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
        """N, 1 for scalars."""
        return self.linear.weight.shape[0] // 2

    def distribution(self, features: Float[Array, "F"]) -> Distribution:
        """Normal components."""
        loc, log_scale = jnp.split(self.linear(features), 2)
        return normal(loc.reshape(self.event_shape), jnp.exp(log_scale).reshape(self.event_shape))

    def encode(self, y: Array) -> Float[Array, "N"]:
        """The vector itself."""
        return y.reshape(self.encoded_size).astype(self.linear.weight.dtype)

    def expected(self, features: Float[Array, "F"]) -> Float[Array, "N"]:
        """The means."""
        return jnp.split(self.linear(features), 2)[0]
