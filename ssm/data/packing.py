"""Sequences of different lengths in few rows, one after the other: less padding than a row for each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ssm.data.padding import checked_sequences
from ssm.numeric.checks import positive_int
from ssm.shapes import Array, Bool, Int


class Packed(NamedTuple):
    """What every verb that sums over sequences takes: `ssm.fit(model, packed.ys, method, **packed.flags)`."""

    ys: Array  # (B, T, *event)
    starts: Bool[Array, "B T"]  # where a sequence begins
    lengths: Int[Array, "B"]
    places: tuple[tuple[int, int], ...]  # the row of each sequence, and where in it the sequence begins

    @property
    def flags(self) -> dict[str, Array]:
        """The keyword arguments `starts` and `lengths`."""
        return {"starts": self.starts, "lengths": self.lengths}


def pack(sequences: Sequence[Any], length: int | None = None) -> Packed:
    """Sequences (T_b, *event) in as few rows of `length` steps (default: the longest one's) as first fit finds.

    The longest first, each in the first row that has room (first fit decreasing: at most 11/9 of the fewest rows,
    plus one; Johnson 1973). Rows cost what their steps cost, so evidence and EM of sequences of unequal length, all
    of them in one program, take the less time the less of it is padding. Raises ValueError for a `length` shorter
    than the longest sequence, and for sequences that differ in more than their lengths.
    """
    arrays = checked_sequences(sequences)
    sizes = [len(array) for array in arrays]
    width = max(sizes) if length is None else positive_int("length", length)
    if width < max(sizes):
        raise ValueError(f"length: expected at least {max(sizes)}, the length of the longest sequence, got {width}")
    ends: list[int] = []
    places = [(0, 0)] * len(arrays)
    for b in sorted(range(len(arrays)), key=lambda b: -sizes[b]):
        row = next((row for row, end in enumerate(ends) if end + sizes[b] <= width), len(ends))
        ends += [0] * (row == len(ends))
        places[b] = (row, ends[row])
        ends[row] += sizes[b]
    ys = np.zeros((len(ends), width, *arrays[0].shape[1:]), np.result_type(*arrays))
    starts = np.zeros(ys.shape[:2], bool)
    for array, (row, begin) in zip(arrays, places, strict=True):
        ys[row, begin : begin + len(array)] = array
        starts[row, begin] = True
    return Packed(jnp.asarray(ys), jnp.asarray(starts), jnp.asarray(np.array(ends)), tuple(places))
