"""Rows of probabilities, and the logits that stand for outcomes without any."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ssm.parameters.base import AbstractParameter
from ssm.shapes import Array, Float, PyTree

# The logit of an impossible outcome: exp of it is exactly zero in float64, yet it is finite, so that norms,
# differences and weight decay on a model never make a NaN of a hard zero.
IMPOSSIBLE = -1e9
# That of an outcome that is possible, but to which a fit gave no probability at all: zero as exactly, and yet a free
# number of the model.
VANISHED = -1e8


def least(logs: Array) -> float:
    """log ε: what differs from one by more than this factor adds nothing to it."""
    return float(np.log(np.finfo(logs.dtype).eps))


class Simplex(AbstractParameter):
    """Probabilities along the last axis, stored as logits; hard zeros stay exactly zero.

    Zeros of the value that this is made of are hard: of the structure of a model, and not free. Zeros that a fit comes
    to are zeros for good as well, yet they count as free.
    """

    has_borders: ClassVar[bool] = True

    logits: Float[Array, "*batch K"]

    def constrained(self) -> Float[Array, "*batch K"]:
        """softmax(logits)."""
        return jax.nn.softmax(self.logits, axis=-1)

    def free_entries(self) -> PyTree:
        """The possible outcomes of each row but its likeliest: logits count up to a constant."""
        logits = np.asarray(self.logits)
        likeliest = np.arange(logits.shape[-1]) == np.argmax(logits, axis=-1)[..., None]
        return Simplex((logits > IMPOSSIBLE / 2) & ~likeliest)

    def settled(self) -> "Simplex":
        """Outcomes that are an epsilon times less likely than the likeliest one have vanished."""
        logits = self.logits
        vanished = (logits < jnp.max(logits, axis=-1, keepdims=True) + least(logits)) & (logits > VANISHED)
        return Simplex(jnp.where(vanished, jnp.asarray(VANISHED, logits.dtype), logits))

    def moved_to(self, best: "Simplex") -> "Simplex":
        """`best`, whose zeros are hard where they are here."""
        vanished = (best.logits <= IMPOSSIBLE / 2) & (self.logits > IMPOSSIBLE / 2)
        return Simplex(jnp.where(vanished, jnp.asarray(VANISHED, best.logits.dtype), best.logits))

    @classmethod
    def of(cls, probabilities: Float[Array, "*batch K"]) -> "Simplex":
        """The parameter whose value is `probabilities`."""
        possible = ~(probabilities <= 0)  # NaN is kept: it says that there is no value
        logits = jnp.log(jnp.where(possible, probabilities, 1))
        return cls(jnp.where(possible, logits, jnp.asarray(IMPOSSIBLE, logits.dtype)))
