"""Linear regressions from expected moments: what the M-step of a linear-Gaussian model is made of.

Everything is kept in units of the noise, ε = root⁻¹ (target - coefficients z), and around the prediction that the
statistics came from rather than around zero. So nothing is divided by a noise, which may be singular, and float32
keeps the digits of a noise that is small beside the states.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric.linalg import add_up, multiply, square
from ssm.numeric.roots import empty_pivots, semidefinite_root, solve_lower
from ssm.numeric.semidefinite import solve_semidefinite
from ssm.numeric.trees import AbstractSums, times
from ssm.parameters import numbered
from ssm.shapes import Array, Bool, Float, Int, Scalar


class Regression(AbstractSums):
    """Expected moments of x = coefficients z + root ε, ε ~ N(0, I), x (N,), z (J,); sums over time (and sequences).

    `regressors`, `across` and `targets` are the textbook moments Σ E[z zᵀ], Σ E[x zᵀ] and Σ E[x xᵀ].
    """

    count: Float[Array, "*B"]  # how many times
    noise: Float[Array, "*B N N"]  # Σ E[ε εᵀ]
    cross: Float[Array, "*B N J"]  # Σ E[ε zᵀ]
    regressors: Float[Array, "*B J J"]  # Σ E[z zᵀ]
    coefficients: Float[Array, "*B N J"]  # those of the model that made the moments
    root: Float[Array, "*B N N"]

    @classmethod
    def of(
        cls,
        count: Scalar,
        regressors: Float[Array, "J J"],
        coefficients: Float[Array, "N J"],
        root: Float[Array, "N N"],
        slope: Float[Array, "N J"],
        noise_slope: Float[Array, "N N"],
    ) -> "Regression":
        """From the slopes of the evidence in the coefficients and in the covariance of the noise.

        Σ E[ε zᵀ] = rootᵀ slope, and Σ E[ε εᵀ] = count I + 2 rootᵀ noise_slope root: Fisher's identity, read backwards.
        """
        noise = count * jnp.eye(len(root), dtype=root.dtype) + 2 * multiply(root.T, noise_slope, root)
        return cls(count, noise, multiply(root.T, slope), regressors, coefficients, root)

    @classmethod
    def seen(
        cls,
        count: Scalar,
        coefficients: Float[Array, "N 1"],
        root: Float[Array, "N N"],
        residual: Float[Array, "N 1"],
        squares: Float[Array, "N N"],
    ) -> "Regression":
        """Of x on 1, from Σ E[w] and Σ E[w wᵀ], w = x - coefficients; where there is no noise, ε is one of its own."""
        noise = solve_lower(root, solve_lower(root, squares).T)
        noise = noise + count * jnp.diag(empty_pivots(root).astype(root.dtype))
        return cls(count, noise, solve_lower(root, residual), count[None, None], coefficients, root)

    @property
    def across(self) -> Float[Array, "*B N J"]:
        """Σ E[x zᵀ]."""
        return multiply(self.coefficients, self.regressors) + multiply(self.root, self.cross)

    @property
    def targets(self) -> Float[Array, "*B N N"]:
        """Σ E[x xᵀ]."""
        turned = jnp.swapaxes(self.coefficients, -1, -2)
        mixed = multiply(self.root, self.cross, turned)
        unexplained = multiply(self.root, self.noise, jnp.swapaxes(self.root, -1, -2))
        return multiply(self.coefficients, self.regressors, turned) + mixed + jnp.swapaxes(mixed, -1, -2) + unexplained

    def at(self, coefficients: Float[Array, "N J"], root: Float[Array, "N N"]) -> "Regression":
        """The same sums, of ε of this prediction."""
        return dataclasses.replace(self, coefficients=coefficients, root=root)

    def total(self, counted: Float[Array, "B"] | None = None) -> "Regression":
        """Moments of sequences (B, ...) together, each as often as `counted` says; of one, as they are."""
        if not self.count.ndim:
            return self
        together = lambda leaf: add_up(leaf if counted is None else times(leaf, counted))
        return self._sums(together).at(self.coefficients[0], self.root[0])

    def about(self, coefficients: Float[Array, "N J"], root: Float[Array, "N N"]) -> "Regression":
        """The same moments, around other coefficients and in units of another noise."""
        across, squares = self._residual(coefficients)
        noise = solve_lower(root, solve_lower(root, squares).T)
        return Regression(self.count, noise, solve_lower(root, across), self.regressors, coefficients, root)

    def plus(self, other: "Regression") -> "Regression":
        """Both together, around the prediction of these."""
        return self._sums(lambda mine, others: mine + others, other.about(self.coefficients, self.root))

    def log_prob(self, coefficients: Float[Array, "N J"], root: Float[Array, "N N"]) -> Scalar:
        """E[Σ log N(x; coefficients z, root rootᵀ)].

        Under a singular noise the density is that on its range, and -inf for targets that may lie outside of it.
        """
        seen = self.about(coefficients, root)
        empty = empty_pivots(root)
        pivots = jnp.where(empty, 1, jnp.abs(jnp.diagonal(root)))
        dimension = (len(root) - jnp.sum(empty)).astype(root.dtype)
        constant = jnp.sum(jnp.log(pivots)) + dimension * 0.5 * jnp.log(2 * jnp.pi).astype(root.dtype)
        density = -jnp.trace(seen.noise) / 2 - self.count * constant
        squares, eye = self._residual(coefficients)[1], jnp.eye(len(root), dtype=root.dtype)
        outside = eye - multiply(root, solve_lower(root, eye))
        leftover = jnp.diagonal(multiply(outside, squares, outside.T))
        rounding = jnp.sqrt(jnp.finfo(root.dtype).eps) * (jnp.diagonal(squares) + self.count * jnp.sum(root**2, axis=1))
        return jnp.where(jnp.any(empty & (leftover > rounding)), -jnp.inf, density)

    def maximise(
        self,
        free: np.ndarray,
        keep_noise: bool,
        allowed: Callable[[Array], Array] | None = None,
        numbers: Int[np.ndarray, "N J"] | None = None,
    ) -> tuple[Float[Array, "N J"], Float[Array, "N N"]]:
        """Coefficients and root that maximise `log_prob`: least squares, and what it leaves.

        `free` (J,) or (N, J) says which columns or entries of the coefficients move; the others stay as they are, and
        so do those along which z does not vary. Entries of the same one of `numbers` move by the same, and stay where
        one of them does; by default each has its own. The new noise lies in the range of the old one. Where only some
        entries of a column move, or some move together, the coefficients are best under the old noise, and the noise is
        best beside the new coefficients (Meng & Rubin 1993). Where the least squares are not `allowed`, the step to
        them is halved until it is, at most 16 times: less of a gain, but one, since `log_prob` is concave in the
        coefficients.
        """
        free = np.broadcast_to(free, self.cross.shape)
        numbers = numbered(free) if numbers is None else numbers
        free = ~np.isin(numbers, numbers[~free])
        columns = np.flatnonzero(free.any(axis=0))
        held, numbers = ~free[:, columns], numbers[:, columns]
        inside, across = self.regressors[np.ix_(columns, columns)], self.cross[:, columns]
        # In units of the noise, from where the coefficients are.
        step = solve_semidefinite(inside, across.T).T if columns.size else across
        bonds = _bonds(held, numbers)
        if len(bonds[0]):
            step = step - self._pulled(step, inside, *bonds)
        whole = jnp.zeros_like(self.coefficients).at[:, columns].set(jnp.where(held, 0, multiply(self.root, step)))
        if allowed is not None:
            share = _largest_share(lambda share: allowed(self.coefficients + share * whole), step.dtype)
            step, whole = share * step, share * whole
        fitted = multiply(step, across.T)
        noise = self.noise - fitted - fitted.T + multiply(step, inside, step.T)
        share = noise / jnp.where(self.count > 0, self.count, 1)
        # Rounding must not end what no data could: a variance of exactly zero stays there.
        share = share + jnp.finfo(share.dtype).eps * jnp.eye(len(share), dtype=share.dtype)
        coefficients = self.coefficients + whole
        root = multiply(self.root, semidefinite_root(share))
        some = self.count > 0
        root = jnp.where(some & (not keep_noise), root, self.root)
        return jnp.where(some, coefficients, self.coefficients), root

    def _pulled(
        self,
        step: Float[Array, "N J"],
        inside: Float[Array, "J J"],
        bonds: Float[np.ndarray, "M P"],
        i: Int[np.ndarray, "P"],
        j: Int[np.ndarray, "P"],
    ) -> Float[Array, "N J"]:
        """What to take from a step of the coefficients, in units of the noise, so that `bonds` of its entries are zero.

        With a multiplier λ for each of them, Λ = bondsᵀ λ at the entries, root times this is R Λ Z⁻¹, R the covariance
        of the noise and Z the moments of the regressors, so λ solves bonds (R Λ Z⁻¹)_ij = bonds (root step)_ij: the
        least squares under constraints of Holmes (2013), in a form that divides by no noise.
        """
        bind, inverse = jnp.asarray(bonds, step.dtype), _inverse(inside)
        products = multiply(bind, square(self.root)[np.ix_(i, i)] * inverse[np.ix_(j, j)], bind.T)
        multipliers = solve_semidefinite(products, multiply(bind, multiply(self.root, step)[i, j]))
        multipliers = jnp.zeros_like(step).at[i, j].set(multiply(multipliers, bind))
        return multiply(self.root.T, multipliers, inverse)

    def blend(self, other: "Regression", rate: Array) -> "Regression":
        """(1 - rate) of this and `rate` of the other, around the other's prediction."""
        mine = self.about(other.coefficients, other.root)
        return mine._sums(lambda old, new: (1 - rate) * old + rate * new, other)

    def _sums(self, function: Callable[..., Array], *others: "Regression") -> "Regression":
        """A function of the sums, here and in others."""
        names = "count", "noise", "cross", "regressors"
        sums = {name: function(*(getattr(each, name) for each in (self, *others))) for name in names}
        return dataclasses.replace(self, **sums)

    def _residual(self, coefficients: Float[Array, "N J"]) -> tuple[Float[Array, "N J"], Float[Array, "N N"]]:
        """Σ E[w zᵀ] and Σ E[w wᵀ] of w = x - coefficients z."""
        move, across = coefficients - self.coefficients, multiply(self.root, self.cross)
        mixed = multiply(across, move.T)
        squares = multiply(self.root, self.noise, self.root.T) + multiply(move, self.regressors, move.T)
        return across - multiply(move, self.regressors), squares - mixed - mixed.T


def _bonds(
    held: Bool[np.ndarray, "N J"], numbers: Int[np.ndarray, "N J"]
) -> tuple[Float[np.ndarray, "M P"], Int[np.ndarray, "P"], Int[np.ndarray, "P"]]:
    """Combinations of entries (i, j) of a step that are zero: those held, and differences of those of one number."""
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    first, still = first[which.ravel()], held.ravel()
    follows = np.flatnonzero((first != np.arange(held.size)) & ~still)
    bound = np.concatenate([np.flatnonzero(still), follows])
    bonds = np.zeros((len(bound), held.size))
    bonds[np.arange(len(bound)), bound] = 1
    bonds[len(bound) - len(follows) + np.arange(len(follows)), first[follows]] = -1
    used = np.flatnonzero(bonds.any(axis=0))
    i, j = np.unravel_index(used, held.shape)
    return bonds[:, used], i, j


def _inverse(inside: Float[Array, "J J"]) -> Float[Array, "J J"]:
    """Z⁻¹, where regressors that depend on those before them have a little of their own.

    Their coefficients do not move by themselves, since nothing is gained by it; but with others to which they are
    bound they do, at next to no cost.
    """
    spread = jnp.diagonal(inside)
    spread = jnp.where(spread > 0, spread, 1)
    scaled = inside / jnp.sqrt(spread[:, None] * spread)
    little = jnp.where(empty_pivots(semidefinite_root(scaled)), jnp.sqrt(jnp.finfo(inside.dtype).eps) * spread, 0)
    return solve_semidefinite(inside + jnp.diag(little), jnp.eye(len(inside), dtype=inside.dtype))


def _largest_share(allowed: Callable[[Array], Array], dtype: jnp.dtype) -> Scalar:
    """The first of 1, 1/2, 1/4, ... of which `allowed` holds; 0 if of none."""
    shares = jnp.asarray(0.5 ** np.arange(17), dtype)
    fits = jax.vmap(allowed)(shares)
    return jnp.where(jnp.any(fits), shares[jnp.argmax(fits)], 0)
