"""What a noisy sight of some combinations leaves of the root of a covariance."""

import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric.derivatives import CustomDerivative
from ssm.numeric.linalg import matrix_times_column, multiply, multiply_small
from ssm.numeric.roots import FEW, triangular_root
from ssm.shapes import Array, Float, Scalar


def condition(matrix: Array, root: Array, noise: Array) -> tuple[Array, Array, Array]:
    """Roots of the joint of (M x + noise, x): (root of its first block, cross term, root of x given the first).

    `root` and `noise` are lower-triangular. A few components are taken one after the other, many at once.
    """
    return _by_component(matrix, root, noise) if matrix.shape[0] <= FEW else _at_once(matrix, root, noise)


def _at_once(matrix: Array, root: Array, noise: Array) -> tuple[Array, Array, Array]:
    """As `condition`: the triangular root of [[M L, noise], [L, 0]]."""
    seen, size = matrix.shape[0], root.shape[0]
    joint = jnp.block([[multiply(matrix, root), noise], [root, jnp.zeros((size, noise.shape[1]), root.dtype)]])
    lower = triangular_root(joint)
    return lower[:seen, :seen], lower[seen:, :seen], lower[seen:, seen:]


@CustomDerivative
def _by_component(matrix: Array, root: Array, noise: Array) -> tuple[Array, Array, Array]:
    """As `condition`, without a factorisation: what a component explains is taken out of all rows in closed form.

    A row φ of M L with its own noise ρ turns L into L C, with C Cᵀ = I - φ φᵀ / (φᵀφ + ρ²) and C lower-triangular
    (Carlson 1973; Bierman 1977, section 5.3); noise that it shares with later components moves into their rows.
    """
    seen, size = matrix.shape[0], root.shape[0]
    left = multiply_small(matrix, root)  # the rows of the components of y that are left
    tolerance = (seen + size) * jnp.finfo(root.dtype).eps
    columns, gains = [], []
    negligible = tolerance**2 * (jnp.sum(left**2, axis=1) + jnp.sum(noise**2, axis=1)).at[0].set(0)
    for i in range(seen):
        row, own, shared = left[0], noise[i, i], noise[i + 1 :, i]
        reach, inverse = _reach(row, own, negligible[i])
        gains.append(matrix_times_column(root, row) * inverse[0])
        kept, moved = _downdate(row, own, reach, inverse)
        others = matrix_times_column(left[1:], row) + shared * own
        columns.append(jnp.concatenate([jnp.zeros(i, root.dtype), reach[:1], others * inverse[0]]))
        left = multiply_small(left[1:], kept) + shared[:, None] * moved
        root = multiply_small(root, kept)
    return jnp.stack(columns, axis=1), jnp.stack(gains, axis=1), root


@_by_component.defjvp
def _by_component_jvp(primals, tangents):
    return jax.jvp(_at_once, primals, tangents)


def _reach(row: Float[Array, "D"], own: Scalar, negligible: Scalar) -> tuple[Array, Array]:
    """|(φ_j .. φ_D, ρ)| for j = 1 .. D + 1, and one over it; all zero if it is negligible for j = 1."""
    after = np.tri(row.shape[0] + 1, row.shape[0], k=-1, dtype=bool)
    squares = jnp.sum(jnp.where(after, 0, row**2), axis=1) + own**2
    empty = (squares <= 0) | (squares[0] <= negligible)
    inverse = jnp.where(empty, 0, 1 / jnp.sqrt(jnp.where(empty, 1, squares)))
    return squares * inverse, inverse


def _downdate(row: Array, own: Scalar, reach: Array, inverse: Array) -> tuple[Float[Array, "D D"], Float[Array, "D"]]:
    """The lower-triangular C of `_by_component`, and what it puts of the noise ρ into the row of one who shares it."""
    size = row.shape[0]
    below, same = np.tri(size, k=-1, dtype=bool), np.eye(size, dtype=bool)
    step = row * inverse[:-1] * inverse[1:]
    diagonal = jnp.where(reach[:-1] > 0, reach[1:] * inverse[:-1], 1)
    return jnp.where(same, diagonal, jnp.where(below, -row[:, None] * step, 0)), -own * step
