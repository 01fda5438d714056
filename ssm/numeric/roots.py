"""Triangular square roots of covariances, singular ones too."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from ssm.numeric.derivatives import CustomDerivative
from ssm.numeric.linalg import multiply
from ssm.numeric.small_roots import FEW, root_of_covariance
from ssm.numeric.trees import widen
from ssm.shapes import Array, Bool, Flag, Float

# Pivots up to this many times the limit of `empty_pivots` are looked at again, with a bound on their own rounding.
DOUBTFUL = 1e3

# Inside a scan, up to so many rows no call of LAPACK is worth its microsecond.
SMALL_ROOT = 8


@CustomDerivative
def triangular_root(matrix: Float[Array, "D J"]) -> Float[Array, "D D"]:
    """Lower-triangular L with L Lᵀ = M Mᵀ and a non-negative diagonal, without forming M Mᵀ.

    M may be rank-deficient (singular covariances): columns of L without a pivot are zero, and the derivative, which
    has a pole there, leaves out the directions of zero variance. Small ones by orthogonalising rows, others by one QR
    factorisation of Mᵀ.
    """
    return _orthogonalised(matrix) if matrix.shape[0] <= SMALL_ROOT else _factorised(matrix)


def _orthogonalised(matrix: Float[Array, "D J"]) -> Float[Array, "D D"]:
    """By modified Gram-Schmidt, whose L is as good as Householder's (Björck 1967), though its rows may be less so."""
    size, eps = matrix.shape[0], jnp.finfo(matrix.dtype).eps
    spread = jnp.sqrt(jnp.sum(matrix**2, axis=1))
    rest, inherited, columns = matrix, spread, []
    for j in range(size):
        along = jnp.sum(rest * rest[0], axis=1)
        empty = along[0] <= (eps * jnp.maximum(size * spread[j], inherited[0])) ** 2
        scale = jnp.where(empty, 0, 1 / jnp.sqrt(jnp.where(empty, 1, along[0])))
        column = along * scale
        columns.append(jnp.pad(column, (j, 0)))
        rest = _less(rest[1:], column[1:, None] * (rest[0] * scale))
        inherited = inherited[1:] + jnp.abs(column[1:]) * (inherited[0] * scale)  # as `_inherited`
    return jnp.stack(columns, axis=1)


def _less(left: Array, right: Array) -> Array:
    """left - right, as a reduction: the compiler repeats a difference in all that reads it, a reduction it does not.

    So a chain of D of them costs D times one of them, instead of D² times.
    """
    first = jnp.arange(2) == 0
    return jnp.sum(jnp.where(first, left[..., None], -right[..., None]), axis=-1)


def _factorised(matrix: Float[Array, "D J"]) -> Float[Array, "D D"]:
    """By QR, and again by rows where a pivot is empty."""
    root = jnp.linalg.qr(matrix.T, mode="r").T
    rows, columns = matrix.shape
    if columns < rows:
        root = jnp.pad(root, ((0, 0), (0, rows - columns)))
    below = np.tri(rows, k=-1, dtype=bool)
    root = root * jnp.where(_diagonal(root) < 0, -1, 1).astype(root.dtype)
    # A row that adds no variance leaves its column to the rows below, off the diagonal: L is then no longer solved
    # by substitution. And a pivot may be nothing but the rounding of those above it. Rare enough to pay for only when
    # it happens.
    doubtful = jnp.any(empty_pivots(root, DOUBTFUL) & (below | np.eye(rows, dtype=bool)) & (root != 0))
    return jax.lax.cond(doubtful, _with_pivots, lambda root: root, root)


@triangular_root.defjvp
def _triangular_root_jvp(primals, tangents):
    (matrix,), (change,) = primals, tangents
    root = triangular_root(matrix)
    # 1. M = L Q with orthonormal rows Q (zero where L has no pivot), so dM Qᵀ = dL + L A, where A = dQ Qᵀ is
    # antisymmetric.  2. H = L⁻¹ dM Qᵀ = L⁻¹ dL + A, and L⁻¹ dL is lower triangular: A is the upper part of H,
    # less its transpose.  3. Rows without a pivot have no row of H, but dL = dM Qᵀ - L A holds for them too: right of
    # the diagonal as well, where it is how they come to vary with the rows below.
    orthonormal = solve_lower(root, matrix)
    moved = multiply(change, orthonormal.T)
    upper = jnp.triu(solve_lower(root, moved), 1)
    turned = moved - multiply(root, upper - upper.T)
    return root, jnp.where(empty_pivots(root)[:, None], turned, jnp.tril(turned))


@CustomDerivative
def orthogonalised(matrix: Float[Array, "D J"]) -> tuple[Float[Array, "D D"], Float[Array, "J J"]]:
    """L and an orthogonal Θ with M Θ = [L, 0], for J of at least D; pivots of either sign.

    Unlike `triangular_root` it keeps small pivots as they come. By one QR factorisation of Mᵀ; the derivative leaves
    out the directions of zero variance.
    """
    turn, upper = jnp.linalg.qr(matrix.T, mode="complete")
    return upper[: matrix.shape[0]].T, turn


@orthogonalised.defjvp
def _orthogonalised_jvp(primals, tangents):
    (matrix,), (change,) = primals, tangents
    root, turn = orthogonalised(matrix)
    # 1. dΘ = Θ Ω with antisymmetric Ω = [[A, B], [-Bᵀ, 0]].  2. With dM Θ = [Z, Y] then L A + Z = dL, L B + Y = 0.
    size, moved = len(root), multiply(change, turn)
    solved = solve_lower(root, moved)
    upper = jnp.triu(solved[:, :size], 1)
    within = upper.T - upper
    across = -solved[:, size:]
    corner = jnp.zeros((across.shape[1], across.shape[1]), root.dtype)
    omega = jnp.block([[within, across], [-across.T, corner]])
    return (root, turn), (moved[:, :size] + multiply(root, within), multiply(turn, omega))


def _with_pivots(root: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """The same L Lᵀ with every pivot on the diagonal: rows orthonormalised one after the other.

    Gram-Schmidt, twice, which is enough for orthogonality to rounding (Giraud et al. 2005). A pivot below the rounding
    of the rows that it was worked out from is none.
    """
    size = root.shape[0]
    eps = jnp.finfo(root.dtype).eps

    def orthonormalise(i, carry):
        basis, lower, blur = carry
        row = root[i]
        along = multiply(basis, row)
        rest = row - multiply(along, basis)
        again = multiply(basis, rest)
        rest, along = rest - multiply(again, basis), along + again
        pivot, spread = jnp.sqrt(jnp.sum(rest**2)), jnp.sqrt(jnp.sum(row**2))
        inherited = _inherited(spread, along, blur)
        empty = pivot <= eps * jnp.maximum(size * spread, inherited)
        some = jnp.where(empty, 1, pivot)
        unit = jnp.where(empty, 0, rest / some)
        lower = lower.at[i].set(along.at[i].set(jnp.where(empty, 0, pivot)))
        return basis.at[i].set(unit), lower, blur.at[i].set(jnp.where(empty, 0, inherited / some))

    nothing = jnp.zeros_like(root)
    return jax.lax.fori_loop(0, size, orthonormalise, (nothing, nothing, nothing[0]))[1]


def _inherited(spread: Array, along: Float[Array, "D"], blur: Float[Array, "D"]) -> Array:
    """What rounding, in units of eps, a row's pivot has from itself and from the rows that are taken out of it.

    s_j + Σ_k |L_jk| b_k, where b_k = that of row k over its pivot: the row [-W, 1] (s_1, ..., s_j) with
    W = |L_jk| |L|⁻¹ of Higham (2002, section 10.3), large where the rows above are nearly dependent.
    """
    return spread + jnp.sum(jnp.abs(along) * blur)


def empty_pivots(root: Float[Array, "*M D D"], times: float = 1.0) -> Bool[Array, "*M D"]:
    """Rows of a triangular root that add no variance beyond rounding (or so many times that) to what those above do."""
    spread = jnp.sqrt(jnp.sum(root**2, axis=-1))
    return jnp.abs(_diagonal(root)) <= times * root.shape[-1] * jnp.finfo(root.dtype).eps * spread


def clear_pivots(ahead: Array, matrix: Array, root: Array, noise: Array) -> Bool[Array, "*M"]:
    """Whether no row of a triangular root of [F L, Q½] lost more than half of its digits to what the others explain.

    Measured by what it is a sum of, which may cancel. All (*M, D, D); a row that is a sum of nothing lost nothing.
    """
    spread = lambda root: jnp.sqrt(jnp.sum(root**2, axis=-1))
    came_from = jnp.sum(jnp.abs(matrix) * spread(root)[..., None, :], axis=-1) + spread(noise)
    pivots = jnp.abs(jnp.diagonal(ahead, axis1=-2, axis2=-1))
    return jnp.all(pivots >= jnp.sqrt(jnp.finfo(root.dtype).eps) * came_from, axis=-1)


def _diagonal(root: Float[Array, "*M D D"]) -> Float[Array, "*M D"]:
    """As a sum, which is computed where it is needed; `jnp.diagonal` gathers."""
    return jnp.sum(jnp.where(np.eye(root.shape[-1], dtype=bool), root, 0), axis=-2)


def solve_lower(root: Float[Array, "D D"], right: Array) -> Array:
    """L⁻¹ b for lower-triangular L, with zero in the rows of empty pivots: nothing is learnt from what cannot vary."""
    return _solve(root, right, transposed=False)


def solve_lower_transposed(root: Float[Array, "D D"], right: Array) -> Array:
    """L⁻ᵀ b for lower-triangular L, with zero in the rows of empty pivots."""
    return _solve(root, right, transposed=True)


def _solve(root: Array, right: Array, transposed: bool) -> Array:
    empty = empty_pivots(root)
    either = empty[:, None] | empty[None, :] if transposed else empty[:, None]
    safe = jnp.where(either, jnp.eye(root.shape[0], dtype=root.dtype), root)
    right = jnp.where(widen(empty, right.ndim), 0, right)
    if root.shape[0] <= FEW:
        return _substituted(safe.T[::-1, ::-1], right[::-1])[::-1] if transposed else _substituted(safe, right)
    return solve_triangular(safe, right, lower=True, trans=1 if transposed else 0)


def _substituted(root: Float[Array, "D D"], right: Array) -> Array:
    """L⁻¹ b, entry after entry."""
    solved = []
    for i in range(root.shape[0]):
        known = sum((root[i, j] * solved[j] for j in range(i)), jnp.zeros_like(right[i]))
        solved.append((right[i] - known) / root[i, i])
    return jnp.stack(solved)


@CustomDerivative
def semidefinite_root(covariance: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """Lower-triangular L with L Lᵀ = covariance for any positive semi-definite matrix.

    Cholesky by columns, where a pivot that is zero up to rounding gives a zero column; unlike an
    eigendecomposition its derivative exists at repeated eigenvalues. Columns are looped over, since D of them one after
    the other would compile for D times as long.
    """
    size = covariance.shape[0]
    if size <= FEW:
        return root_of_covariance(covariance)
    rows = jnp.arange(size)
    eps = jnp.finfo(covariance.dtype).eps

    def column(j, carry):
        root, blur = carry
        rest = covariance[:, j] - multiply(root, root[j])
        pivot, variance = rest[j], jnp.abs(covariance[j, j])
        inherited = _inherited(jnp.sqrt(variance), root[j], blur)
        empty = pivot <= eps * jnp.maximum(size * variance, inherited**2)
        scale = jnp.sqrt(jnp.where(empty, 1, pivot))
        values = jnp.where(empty, 0, rest / scale)
        return root.at[:, j].set(jnp.where(rows >= j, values, 0)), blur.at[j].set(
            jnp.where(empty, 0, inherited / scale)
        )

    carry = jnp.zeros_like(covariance), jnp.zeros_like(covariance[0])
    return jax.lax.fori_loop(0, size, column, carry)[0]


@semidefinite_root.defjvp
def _semidefinite_root_jvp(primals, tangents):
    """A dL with dL Lᵀ + L dLᵀ = dC, wherever there is one: between rows without a pivot there is not.

    No triangular root is continuous where a row has no pivot and one below it has: with g = (θ, 1), that of g gᵀ is
    [[|θ|, 0], [sign θ, 0]], and [[0, 0], [0, 1]] at θ = 0. So dL of such a row goes on to the right of the diagonal.
    """
    (covariance,), (change,) = primals, tangents
    root, change = semidefinite_root(covariance), (change + change.T) / 2
    # Of the rows with a pivot, P, and without, E:  1. L_PP⁻¹ dL_PP is the lower half of L_PP⁻¹ dC_PP L_PP⁻ᵀ, M.
    # 2. dL_EP = dC_EP L_PP⁻ᵀ - L_EP Mᵀ.
    half = solve_lower(root, change)
    whole = solve_lower(root, half.T)
    lower = jnp.tril(whole, -1) + jnp.diag(jnp.diagonal(whole) / 2)
    beside = half.T - multiply(root, lower.T)
    return root, jnp.where(empty_pivots(root)[:, None], beside, multiply(root, lower))


@CustomDerivative
def as_triangular(roots: Float[Array, "M D D"]) -> Float[Array, "M D D"]:
    """Triangular roots of M Mᵀ; where all are triangular already, themselves, and any change of them."""
    return jax.lax.cond(_astray(roots), jax.vmap(_factorised), lambda roots: roots, roots)


@as_triangular.defjvp
def _as_triangular_jvp(primals, tangents):
    every = jax.vmap(triangular_root)
    turned = lambda root, change: jax.jvp(every, (root,), (change,))
    return jax.lax.cond(_astray(*primals), turned, lambda *both: both, *primals, *tangents)


def _astray(roots: Float[Array, "M D D"]) -> Flag:
    """Whether there is something above a diagonal."""
    return jnp.any(jnp.triu(roots, 1) != 0)


def root_with_column(root: Float[Array, "D D"], column: Float[Array, "D"]) -> Float[Array, "D D"]:
    """Lower-triangular root of L Lᵀ + column columnᵀ, for L of full rank and without forming L Lᵀ.

    With w = L⁻¹ column it is L M, where M Mᵀ = I + w wᵀ has the closed form M_jj = √(s_j / s_j-1) and
    M_ij = w_i w_j / √(s_j s_j-1) below, with s_j = 1 + w_1² + ... + w_j² (Gill et al. 1974, section 3).
    """
    solved = solve_lower(root, column)
    after = 1 + jnp.cumsum(solved**2)
    before = jnp.concatenate([jnp.ones_like(after[:1]), after[:-1]])
    below = jnp.tril(jnp.outer(solved, solved / jnp.sqrt(after * before)), -1)
    return multiply(root, below + jnp.diag(jnp.sqrt(after / before)))
