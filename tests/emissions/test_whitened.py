"""Densities of correlated normals by inverse roots, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssm.emissions.common.components import UNROLLED
from ssm.emissions.normals.whitened import correlated_rows

STATES, TIMES = 3, 50


def problem(size: int, condition: float) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (K, N, M), and lower-triangular roots (K, N, N) of the given condition number."""
    random = np.random.default_rng(size)
    turn = np.linalg.qr(random.normal(size=(STATES, size, size)))[0]
    scales = np.geomspace(1, 1 / condition, size)
    covariance = turn * scales**2 @ np.swapaxes(turn, 1, 2)
    roots = np.linalg.cholesky(covariance)
    return roots @ random.normal(size=(STATES, size, TIMES)), roots


def in_numpy(residuals: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """The density, by solving for each state in float64."""
    whitened = np.linalg.solve(roots.astype(float), residuals.astype(float))
    volume = np.log(np.abs(np.diagonal(roots, axis1=1, axis2=2))).sum(1)
    return -0.5 * (whitened**2).sum(1) - volume[:, None] - 0.5 * roots.shape[-1] * np.log(2 * np.pi)


def rows(residuals: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """The same by inverse roots."""
    return np.asarray(jax.jit(lambda r, roots: correlated_rows(lambda n: r[:, n], roots))(residuals, roots))


@pytest.mark.parametrize("size", [1, 3, UNROLLED, UNROLLED + 1])
def test_inverse_roots_give_the_density(size: int, float64: None) -> None:
    residuals, roots = problem(size, 10)
    # Terms of about one may cancel to a density near one: errors are epsilons of the terms.
    np.testing.assert_allclose(rows(residuals, roots), in_numpy(residuals, roots), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [3, UNROLLED + 1])
def test_float32_keeps_its_digits_where_components_nearly_depend_on_each_other(size: int) -> None:
    condition = 1e3
    residuals, roots = (array.astype(np.float32) for array in problem(size, condition))
    exact = in_numpy(residuals, roots)
    # A triangular solve is as far off: rounding of what is solved, relative to it, times the condition number.
    bound = 8 * np.finfo(np.float32).eps * condition
    np.testing.assert_allclose(rows(residuals, roots), exact, rtol=bound, atol=bound)


def test_a_singular_root_gives_no_finite_density() -> None:
    roots = jnp.asarray([[[1.0, 0.0], [1.0, 0.0]]])
    residuals = jnp.asarray([[[1.0], [2.0]]])
    assert not np.isfinite(rows(residuals, roots)).any()
