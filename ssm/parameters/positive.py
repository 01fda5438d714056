"""Positive numbers."""

from typing import ClassVar

import jax.numpy as jnp

from ssm.parameters.base import AbstractParameter
from ssm.shapes import Array, Float


class Positive(AbstractParameter):
    """A positive array, stored as its logarithm."""

    is_entrywise: ClassVar[bool] = True

    log: Float[Array, "..."]

    def constrained(self) -> Float[Array, "..."]:
        """exp(log)."""
        return jnp.exp(self.log)

    @classmethod
    def of(cls, value: Float[Array, "..."]) -> "Positive":
        """The parameter whose value is `value`."""
        return cls(jnp.log(value))
