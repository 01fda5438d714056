"""Square roots of many covariances side by side: as `roots` and `conditioning`, with C lanes in the last axis.

The same entry of all lanes lies in one row, so that a step of C small filters is vector arithmetic without a routine.
What all lanes share has one lane.
"""

import operator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ssm.numeric.linalg import multiply
from ssm.shapes import Array, Float


class Seeing(NamedTuple):
    """What seeing the components of y does to a mean, one component after the other."""

    gain: Float[Array, "N D C"]  # per unit of the whitened component
    others: Float[Array, "N N C"]  # what that says of the components to come
    inverse: Float[Array, "N C"]  # one over the standard deviation of a component
    log_scale: Float[Array, "C"]  # Σ log inverse; NaN where y is certain beforehand

    def correct(self, residual: Float[Array, "N C"]) -> tuple[Float[Array, "D C"], Float[Array, "C"]]:
        """The change of the mean, and log p(y), from y less what was expected."""
        seen, lanes = residual.shape
        shift, log_density = jnp.zeros_like(self.gain[0]), self.log_scale
        for i in range(seen):
            whitened = residual[i] * self.inverse[i]
            shift = shift + self.gain[i] * whitened
            residual = residual - self.others[i] * whitened
            log_density = log_density - whitened**2 / 2
        return shift, log_density - jnp.asarray(seen * 0.5 * np.log(2 * np.pi), residual.dtype)


def product(matrix: Float[Array, "I J #C"], array: Float[Array, "J *K C"]) -> Float[Array, "I *K C"]:
    """Matrix product in every lane."""
    if matrix.shape[2] == 1:
        return multiply(matrix[:, :, 0], array.reshape(len(array), -1)).reshape(len(matrix), *array.shape[1:])
    return jnp.sum((matrix if array.ndim == 2 else matrix[:, :, None]) * array, axis=1)


def triangular_root(matrix: Float[Array, "D J C"], root: Float[Array, "D D #C"]) -> Float[Array, "D D C"]:
    """Lower-triangular X with X Xᵀ = M Mᵀ + L Lᵀ and a non-negative diagonal, for lower-triangular L.

    By one Householder reflection of each row, of L's pivot and M's row, as LAPACK's `tpqrt`. A row without a pivot
    leaves a zero column.
    """
    size = len(matrix)
    negligible = (size * jnp.finfo(matrix.dtype).eps) ** 2 * (jnp.sum(matrix**2, axis=1) + jnp.sum(root**2, axis=1))
    columns = []
    for j in range(size):
        row, pivot, below = matrix[0], root[j, j], root[j + 1 :, j]
        along = jnp.sum(matrix * row, axis=1)
        square = along[0] + pivot**2
        empty = square <= negligible[j]
        inverse = jnp.where(empty, 0, 1 / jnp.sqrt(jnp.where(empty, 1, square)))
        norm = square * inverse
        column = (below * pivot + along[1:]) * inverse
        columns.append(jnp.concatenate([jnp.zeros_like(matrix[:1, 0]).repeat(j, 0), norm[None], column]))
        share = below * inverse + along[1:] * (inverse / jnp.where(empty, 1, norm + pivot))
        # Worked out after every second row: in between, repeating one product costs less than keeping it.
        matrix = (_less if j % 2 else operator.sub)(matrix[1:], share[:, None] * row)
    return jnp.stack(columns, axis=1)


def condition(
    rows: Float[Array, "N D C"], root: Float[Array, "D D C"], noise: Float[Array, "N N #C"]
) -> tuple[Seeing, Float[Array, "D D C"]]:
    """On y = M x + B ε, with the rows M L and lower-triangular B; and the root of what is left, not triangular.

    Component by component: a reflection turns a row φ of M L into the first axis, and L's first column then shrinks
    by ρ / √(φᵀφ + ρ²), which subtracts nothing. Noise that is shared with later components moves into it.
    """
    seen, lanes = len(rows), rows.shape[2]
    eps = (seen + len(root)) * jnp.finfo(root.dtype).eps
    negligible = eps**2 * (jnp.sum(rows**2, axis=1) + jnp.sum(noise**2, axis=1))
    gains, others, inverses, log_scale = [], [], [], jnp.zeros(lanes, root.dtype)
    for i in range(seen):
        row, own, shared = rows[0], noise[i, i], noise[i + 1 :, i]
        turn = Turn.of(row, own, negligible[i])
        log_scale = log_scale + jnp.where(turn.inverse > 0, jnp.log(jnp.abs(turn.inverse)), jnp.nan)
        gains.append(jnp.sum(root * row, axis=1) * turn.inverse)
        later = (jnp.sum(rows[1:] * row, axis=1) + shared * own) * turn.inverse
        others.append(jnp.concatenate([jnp.zeros((i + 1, lanes), root.dtype), later]))
        inverses.append(turn.inverse)
        root = turn.apply(root)
        rows = turn.apply(rows[1:], shared)
    return Seeing(jnp.stack(gains), jnp.stack(others), jnp.stack(inverses), log_scale), root


class Turn(NamedTuple):
    """U diag(kept, 1, ..., 1), with the reflection U = I - v vᵀ / scale that turns φ into the first axis."""

    vector: Float[Array, "D C"]  # v
    scale: Float[Array, "C"]  # one over it
    inverse: Float[Array, "C"]  # 1 / √(φᵀφ + ρ²), or -1 where that is negligible
    kept: Float[Array, "C"]  # ρ times it
    moved: Float[Array, "C"]  # what the first axis then takes of the noise

    @classmethod
    def of(cls, row: Float[Array, "D C"], own: Float[Array, "#C"], negligible: Float[Array, "C"]) -> "Turn":
        """From φ and ρ."""
        square = jnp.sum(row**2, axis=0)
        norm, total = jnp.sqrt(square), square + own**2
        sign = jnp.where(row[0] < 0, -1, 1).astype(row.dtype)
        scale = square + jnp.abs(row[0]) * norm
        clear = total > negligible
        inverse = jnp.where(clear, 1 / jnp.sqrt(jnp.where(clear, total, 1)), -1)
        over = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 0)
        numbers = _held(jnp.stack([over, inverse, own * inverse, sign * norm * inverse]))
        vector = jnp.where(np.arange(len(row))[:, None] == 0, row + sign * norm, row)
        return cls(_held(vector), *numbers)

    def apply(self, left: Float[Array, "M D C"], shared: Float[Array, "M #C"] | None = None) -> Float[Array, "M D C"]:
        """Of M, whose rows may share the noise."""
        along = _held(jnp.sum(left * self.vector, axis=1) * self.scale)
        turned = _less(left, along[:, None] * self.vector)
        changed = turned * self.kept if shared is None else turned * self.kept + (shared * self.moved)[:, None]
        return jnp.where(np.arange(left.shape[1])[:, None] == 0, changed, turned)


def _held(array: Array) -> Array:
    """The same array, worked out once for all that read it."""
    return _less(array, jnp.zeros_like(array))


def _less(left: Array, right: Array) -> Array:
    """left - right, as a reduction: see `ssm.numeric.roots`."""
    first = np.array([True, False]).reshape(2, *[1] * left.ndim)
    return jnp.sum(jnp.where(first, left[None], -right[None]), axis=0)
