"""The small matrix products that decide the speed of a filter."""

import jax
import jax.numpy as jnp

from ssm.shapes import Array, Float

# Up to these sizes a broadcast product and sum beats a matrix product inside a CPU scan
# (`python -m benchmarks row_products`): 21 against 30 ns a step at K = 5, 111 against 175 at K = 20.
SMALL_ROW, SMALL_COLUMN = 32, 12

HIGHEST = jax.lax.Precision.HIGHEST


def row_times_matrix(row: Float[Array, "K"], matrix: Float[Array, "K J"]) -> Float[Array, "J"]:
    """`row @ matrix`, in the form that is fastest inside a scan for this (static) size."""
    if matrix.shape[0] <= SMALL_ROW:
        return jnp.sum(matrix.T * row, axis=1)
    return jnp.matmul(row, matrix, precision=HIGHEST)


def matrix_times_column(matrix: Float[Array, "K J"], column: Float[Array, "J"]) -> Float[Array, "K"]:
    """`matrix @ column`, in the form that is fastest inside a scan for this (static) size."""
    if matrix.shape[0] <= SMALL_COLUMN:
        return jnp.sum(matrix * column, axis=1)
    return jnp.matmul(matrix, column, precision=HIGHEST)


def multiply(*matrices: Array) -> Array:
    """Matrix product of all arguments, left to right, at full float32 precision on every device."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = jnp.matmul(product, matrix, precision=HIGHEST)
    return product


def multiply_small(*matrices: Array) -> Array:
    """As `multiply`, in the form that is fastest for small (static) sizes: inside a scan, and for many at once."""
    result = matrices[0]
    for matrix in matrices[1:]:
        if result.shape[-1] > SMALL_COLUMN:
            result = jnp.matmul(result, matrix, precision=HIGHEST)
        elif matrix.ndim == 1:
            result = jnp.sum(result * matrix, axis=-1)
        else:
            result = jnp.sum(result[..., None] * matrix[..., None, :, :], axis=-2)
    return result


def multiply_many(*matrices: Array) -> Array:
    """As `multiply`, for the same product of very many: a CPU calls a routine for each of them above 3 × 3."""
    return (multiply_small if max(matrices[-1].shape) > 3 else multiply)(*matrices)


def square(root: Float[Array, "*batch D J"]) -> Float[Array, "*batch D D"]:
    """L Lᵀ, at full precision."""
    return multiply(root, jnp.swapaxes(root, -1, -2))


def add_up(array: Float[Array, "B ..."]) -> Float[Array, "..."]:
    """Σ_b: along the leading axis a CPU takes 0.8 ms for a matrix product and 150 ms for a sum (229 × 200 × 200)."""
    flat = array.reshape(array.shape[0], -1)
    return multiply(jnp.ones((1, array.shape[0]), array.dtype), flat).reshape(array.shape[1:])


def multiply_rows(left: Float[Array, "K M"], right: Float[Array, "J M"]) -> Float[Array, "K J"]:
    """`left @ right.T`, at full precision: over long rows, on a CPU twice as fast as over columns."""
    return jnp.einsum("km,jm->kj", left, right, precision=HIGHEST)
