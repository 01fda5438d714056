"""Sequences of different lengths as one array."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ssm.shapes import Array


def pad(sequences: Sequence[Array]) -> tuple[Array, Array]:
    """Sequences of different lengths, (T_b, *event) each, as one (B, T, *event) array and its `lengths` (B,).

    Pass both on: `ssm.log_prob(model, ys, lengths=lengths)`.
    """
    arrays = checked_sequences(sequences)
    lengths = np.array([len(array) for array in arrays])
    padded = np.zeros((len(arrays), lengths.max(), *arrays[0].shape[1:]), np.result_type(*arrays))
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return jnp.asarray(padded), jnp.asarray(lengths)


def checked_sequences(sequences: Sequence[Any]) -> list[np.ndarray]:
    """As arrays (T_b, *event); ValueError if they differ in more than their lengths, or one is empty."""
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError("sequences: expected at least one")
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or any(array.ndim == 0 for array in arrays):
        raise ValueError(
            f"sequences: expected arrays that differ in length only, got shapes {[a.shape for a in arrays]}"
        )
    lengths = np.array([len(array) for array in arrays])
    if (lengths == 0).any():
        raise ValueError(f"sequences: each needs at least one time step, but number {np.argmin(lengths)} is empty")
    return arrays
