"""Checks of what users pass to constructors: shapes always, values where they are concrete.

Every error names the argument, what came and what was expected. Under `jit` values cannot be seen; what would be an
error is then NaN, and so is all that is worked out from it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from ssm.shapes import Array

# Rows given in decimal, such as [.3333, .3333, .3333], are meant to sum to one; 1e-3 is not a rounding error.
SUM_TOLERANCE = 1e-3


def is_concrete(array: Any) -> bool:
    """Whether values can be looked at now."""
    return not isinstance(array, jax.core.Tracer)


def where_valid(valid: Array, array: Array) -> Array:
    """What came under `jit`, NaN where an error would have named it; gradients are those of the array."""
    return jnp.where(valid, array, jnp.nan)


def real(name: str, array: object, axes: Sequence[str | int], missing: bool = False) -> Array:
    """A floating-point array with one axis per entry of `axes`: a letter (any size) or the size itself.

    Finite, or with NaN where `missing` allows it.
    """
    try:
        array = jnp.asarray(array)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array of shape {_shape(axes)}, got {array!r}") from error
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.zeros(()).dtype)
    shape(name, array, axes)
    if is_concrete(array):
        bad = np.isinf(np.asarray(array)) if missing else ~np.isfinite(np.asarray(array))
        if bad.any():
            raise ValueError(f"{name}: expected finite numbers, got {_first_bad(array, bad)}")
        return array
    return where_valid(jnp.isfinite(array), array)


def shape(name: str, array: Array, axes: Sequence[str | int]) -> None:
    """Raise ValueError unless the array has these axes."""
    fits = array.ndim == len(axes) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(axes, array.shape, strict=False)
    )
    if not fits:
        raise ValueError(f"{name}: expected shape {_shape(axes)}, got {tuple(array.shape)}")
    if 0 in array.shape:
        raise ValueError(f"{name}: every axis needs at least one entry, got shape {tuple(array.shape)}")


def probabilities(name: str, array: object, axes: Sequence[str | int]) -> Array:
    """Non-negative, summing to one along the last axis."""
    array = real(name, array, axes)
    if is_concrete(array):
        values = np.asarray(array)
        if (values < 0).any():
            raise ValueError(f"{name}: probabilities must not be negative, got {_first_bad(array, values < 0)}")
        off = np.abs(values.sum(-1) - 1) > SUM_TOLERANCE
        if off.any():
            where = np.argwhere(off)[0].tolist()
            row = f"row {where[0] if len(where) == 1 else where} sums" if where else "they sum"
            raise ValueError(
                f"{name}: probabilities must sum to one along the last axis; "
                f"{row} to {float(values.sum(-1)[tuple(where)]):.6g}. "
                "Divide by the sum first"
            )
        return array
    sums = jnp.abs(jnp.sum(array, axis=-1, keepdims=True) - 1) <= SUM_TOLERANCE
    return where_valid(sums & jnp.all(array >= 0, axis=-1, keepdims=True), array)


def positive(name: str, array: object, axes: Sequence[str | int]) -> Array:
    """Strictly positive."""
    array = real(name, array, axes)
    if is_concrete(array) and (np.asarray(array) <= 0).any():
        raise ValueError(f"{name}: expected positive numbers, got {_first_bad(array, np.asarray(array) <= 0)}")
    return array if is_concrete(array) else where_valid(array > 0, array)


def non_negatives(name: str, array: object, axes: Sequence[str | int]) -> Array:
    """Numbers of at least zero."""
    array = real(name, array, axes)
    if is_concrete(array) and (np.asarray(array) < 0).any():
        raise ValueError(f"{name}: expected numbers of at least 0, got {_first_bad(array, np.asarray(array) < 0)}")
    return array if is_concrete(array) else where_valid(array >= 0, array)


def unit_interval(name: str, array: object, axes: Sequence[str | int]) -> Array:
    """Probabilities, each on its own."""
    array = real(name, array, axes)
    if is_concrete(array):
        bad = (np.asarray(array) < 0) | (np.asarray(array) > 1)
        if bad.any():
            raise ValueError(f"{name}: expected probabilities between 0 and 1, got {_first_bad(array, bad)}")
        return array
    return where_valid((array >= 0) & (array <= 1), array)


def covariance(name: str, array: object, axes: Sequence[str | int]) -> Array:
    """Symmetric and positive semi-definite in the last two axes, up to rounding; NaN for others under `jit`."""
    array = real(name, array, axes)
    if array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name}: expected a square matrix, got shape {tuple(array.shape)}")
    if is_concrete(array):
        values = np.asarray(array, dtype=float)
        scale = np.abs(values).max(initial=1e-30)
        # Entries computed in float32 differ across the diagonal by a few of its epsilons.
        difference = np.abs(values - np.swapaxes(values, -1, -2)).max()
        if difference > 1e-5 * scale:
            raise ValueError(
                f"{name}: expected a symmetric matrix, got one that differs from its transpose by {difference:.6g}"
            )
        lowest = np.linalg.eigvalsh(values).min()
        if lowest < -1e-5 * scale:
            raise ValueError(f"{name}: expected a positive semi-definite matrix, got an eigenvalue of {lowest:.6g}")
        return array
    return semidefinite(array)


def semidefinite(array: Array) -> Array:
    """The same, or NaN for what is no covariance, by numbers that are not known yet."""
    values = jax.lax.stop_gradient(array)
    slack = 1e-5 * jnp.max(jnp.abs(values), initial=1e-30)
    lopsided = jnp.max(jnp.abs(values - jnp.swapaxes(values, -1, -2)), initial=0) > slack
    indefinite = jnp.min(jnp.linalg.eigvalsh(values), initial=0) < -slack
    return jnp.where(lopsided | indefinite, jnp.nan, array)


def positive_int(name: str, number: object) -> int:
    """An integer of at least one."""
    return _int_from(1, name, number)


def non_negative_int(name: str, number: object) -> int:
    """An integer of at least zero."""
    return _int_from(0, name, number)


def _int_from(least: int, name: str, number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {number!r}")
    if number < least:
        raise ValueError(f"{name}: must be at least {least}, got {number}")
    return int(number)


def non_negative(name: str, number: object) -> float:
    """A finite number of at least zero."""
    if isinstance(number, bool) or not isinstance(number, int | float | np.floating | np.integer):
        raise TypeError(f"{name}: expected a number, got {number!r}")
    if not 0 <= number < np.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {number}")
    return float(number)


def _shape(axes: Sequence[str | int]) -> str:
    return "(" + ", ".join(str(axis) for axis in axes) + ("," if len(axes) == 1 else "") + ")"


def _first_bad(array: Array, bad: np.ndarray) -> str:
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    place = "" if not where else f" at index {where[0] if len(where) == 1 else where}"
    return f"{float(np.asarray(array)[where]):.6g}{place}"


def leading_axes(parameter: Any) -> tuple[str, ...]:
    """(K,) for scalar observations, (K, N) for vectors."""
    return ("K",) if np.ndim(parameter) == 1 else ("K", "N")
