"""What compiled iterations report: numbers, and which of them there are."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ssm.shapes import Array, Bool, Float, Int

# Iterations between two looks from Python: enough to hide the dispatch, few enough for a live progress bar.
CHUNK = 10


class Scores(NamedTuple):
    """Training evidence, validation evidence and what else there is, of up to CHUNK iterations.

    With an axis of restarts where there can be several. What there is not is said by flags, and NaN in Python alone:
    `jax_debug_nans` takes a NaN that leaves a compiled function for a mistake.
    """

    values: Float[Array, "rows *R chunk"]
    known: Bool[Array, "rows *R chunk"]

    @classmethod
    def none(cls, shape: tuple[int, ...], dtype: Any) -> "Scores":
        """Before the first iteration, of the shape (rows, *R)."""
        return cls(jnp.zeros((*shape, CHUNK), dtype), jnp.zeros((*shape, CHUNK), bool))

    def with_next(self, count: Int[Array, ""], training: Array, *others: Array | None, known: Any = True) -> "Scores":
        """With those of iteration `count`, for the restarts where they are `known`; None: for none of them."""
        rows = (training, *others)
        there = jnp.stack([jnp.broadcast_to(known, training.shape) & (row is not None) for row in rows])
        values = jnp.stack([jnp.zeros_like(training) if row is None else row for row in rows])
        values = self.values.at[..., count].set(jnp.where(there, values, 0))
        return Scores(values, self.known.at[..., count].set(there))

    def history(self, count: int) -> np.ndarray:
        """Those of the first `count` iterations, NaN where there are none."""
        return np.where(self.known, np.asarray(self.values, float), np.nan)[..., :count]
