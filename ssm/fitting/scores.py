"""What compiled iterations report: numbers, and which of them there are."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ssm.shapes import Array, Bool, Float, Int

# Iterations between two looks from Python: enough to hide the dispatch, few enough for a live progress bar.
CHUNK = 10


class Scores(NamedTuple):
    """Training and validation evidence of up to CHUNK iterations, with an axis of restarts where there are several.

    What there is not is said by flags, and NaN in Python alone: `jax_debug_nans` takes a NaN that leaves a compiled
    function for a mistake.
    """

    values: Float[Array, "2 *R chunk"]
    known: Bool[Array, "2 *R chunk"]

    @classmethod
    def none(cls, shape: tuple[int, ...], dtype: Any) -> "Scores":
        """Before the first iteration."""
        return cls(jnp.zeros((2, *shape, CHUNK), dtype), jnp.zeros((2, *shape, CHUNK), bool))

    def with_next(
        self, count: Int[Array, ""], training: Array, validation: Array | None, known: Any = True
    ) -> "Scores":
        """With those of iteration `count`, for the restarts where they are `known`."""
        pair = jnp.stack([training, jnp.zeros_like(training) if validation is None else validation])
        both = jnp.stack([jnp.broadcast_to(known, training.shape), jnp.broadcast_to(known, training.shape)])
        both = both.at[1].set(both[1] & (validation is not None))
        values = self.values.at[..., count].set(jnp.where(both, pair, 0))
        return Scores(values, self.known.at[..., count].set(both))

    def history(self, count: int) -> np.ndarray:
        """Those of the first `count` iterations, NaN where there are none."""
        return np.where(self.known, np.asarray(self.values, float), np.nan)[..., :count]
