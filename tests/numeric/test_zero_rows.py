"""Covariances with a row that is zero, and matrices that are no covariances."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.numeric.roots import semidefinite_root, triangular_root
from ssm.parameters import Covariance

TOTAL = 5
MATRIX, LOOK = np.array([[0.7, 0.2], [-0.3, 0.5]]), np.array([[1.0, 0.4], [0.2, 1.0]])
FULL, PLACES = np.array([[0.8, 0.1], [0.1, 0.5]]), ["initial", "transition", "emission"]


def evidence(ys: np.ndarray, start: np.ndarray, moves: np.ndarray, blur: np.ndarray) -> float:
    """Of the dense joint normal distribution."""
    blocks = [[np.zeros((2, 2))] * TOTAL for _ in range(TOTAL)]
    spread = start
    for t in range(TOTAL):
        spread = spread if t == 0 else MATRIX @ spread @ MATRIX.T + moves
        across = spread
        for later in range(t, TOTAL):
            seen = LOOK @ across @ LOOK.T
            blocks[later][t], blocks[t][later] = seen, seen.T
            across = MATRIX @ across
        blocks[t][t] = blocks[t][t] + blur
    joint, flat = np.block(blocks), ys.reshape(-1)
    return -(flat @ np.linalg.solve(joint, flat) + np.linalg.slogdet(joint)[1] + flat.size * np.log(2 * np.pi)) / 2


def given(place: str, covariance: np.ndarray) -> list:
    return [covariance if place == name else FULL.copy() for name in PLACES]


def model(start: jax.Array, moves: jax.Array, blur: jax.Array) -> ssm.LinearGaussian:
    # Copies: under `jit` JAX remembers the precision that an array had when it was first seen.
    return ssm.LinearGaussian(np.zeros(2), start, MATRIX.copy(), moves, LOOK.copy(), blur)


def data() -> np.ndarray:
    return 2 * np.random.default_rng(0).normal(size=(TOTAL, 2))


@jax.jit
def slopes(places: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of the evidence, the first and the second at θ = 0."""

    def ours(theta: jax.Array) -> jax.Array:
        return ssm.log_prob(model(*jnp.where(places[:, None, None], outer(theta, rows), FULL)), data())

    return jax.grad(ours)(0.0), jax.grad(jax.grad(ours))(0.0)


def outer(theta: jax.Array, rows: jax.Array) -> jax.Array:
    both = jnp.where(rows, theta, 1.0)
    return jnp.outer(both, both)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("row", [0, 1])
def test_a_row_of_zeros_comes_to_vary_with_the_others(place: str, row: int) -> None:
    """θ = 0 in g gᵀ with g = (θ, 1) or (1, θ): slope and curvature were 0 for the first."""
    step, rows = 1e-3, np.arange(2) == row
    slope, curvature = slopes(np.array(PLACES) == place, rows)
    covariance = lambda theta: np.asarray(outer(theta, rows))
    below, at, above = (evidence(data(), *given(place, covariance(theta))) for theta in (-step, 0.0, step))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-4)  # of differences over 1e-3
    np.testing.assert_allclose(curvature, (above - 2 * at + below) / step**2, rtol=1e-4)


@pytest.mark.usefixtures("float64")
def test_filtered_and_smoothed_states_move_with_it() -> None:
    ys, step = data(), 1e-5
    for verb in (lambda m: ssm.filter(m, ys).filtered.mean, lambda m: ssm.smooth(m, ys).smoothed.mean):
        ours = lambda theta, verb=verb: verb(model(FULL, outer(theta, np.array([True, False])), FULL))
        change = jax.jvp(ours, (jnp.zeros(()),), (jnp.ones(()),))[1]
        difference = (ours(jnp.asarray(step)) - ours(jnp.asarray(-step))) / (2 * step)
        np.testing.assert_allclose(change, difference, rtol=0, atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_a_root_changes_as_its_covariance_does() -> None:
    """dL Lᵀ + L dLᵀ = dC for every change that keeps the rank."""
    rng = np.random.default_rng(0)
    for size, rank in ((3, 1), (4, 2), (5, 5), (20, 3)):
        factor, change = rng.normal(size=(2, size, rank))
        factor[0] = 0
        covariance = lambda s, factor=factor, change=change: (factor + s * change) @ (factor + s * change).T
        root, moved = jax.jvp(lambda s: semidefinite_root(covariance(s)), (0.0,), (1.0,))
        np.testing.assert_allclose(np.triu(root, 1), 0)
        exact = factor @ change.T + change @ factor.T
        np.testing.assert_allclose(moved @ root.T + root @ moved.T, exact, rtol=0, atol=1e-11)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("size", "rank"), [(5, 1), (8, 3), (10, 3)])
def test_second_derivatives_where_pivots_are_only_rounding(size: int, rank: int) -> None:
    """Of V = H S Hᵀ + R along three steps of a singular system: a pivot just above the limit made them anything."""
    rng, step, total = np.random.default_rng(0), 2e-3, 60
    matrices, looks = rng.normal(size=(total, size, size)) * 0.8 / np.sqrt(size), rng.normal(size=(total, 2, size))
    factors, changes = rng.normal(size=(2, total, size, rank))

    def by_roots(matrix: jax.Array, look: jax.Array, factor: jax.Array, change: jax.Array, theta: jax.Array):
        noise = ahead = semidefinite_root((factor + theta * change) @ (factor + theta * change).T)
        for _ in range(3):
            joint = jnp.block([[jnp.eye(2), look @ ahead], [jnp.zeros((size, 2)), ahead]])
            seen = triangular_root(joint)
            ahead = triangular_root(jnp.concatenate([matrix @ seen[2:, 2:], noise], axis=1))
        return look @ ahead @ ahead.T @ look.T

    def by_covariances(theta: float) -> np.ndarray:
        factor = factors + theta * changes
        noise = ahead = factor @ factor.swapaxes(1, 2)
        for _ in range(3):
            across = looks @ ahead
            seen = ahead - across.swapaxes(1, 2) @ np.linalg.solve(across @ looks.swapaxes(1, 2) + np.eye(2), across)
            ahead = matrices @ seen @ matrices.swapaxes(1, 2) + noise
        return looks @ ahead @ looks.swapaxes(1, 2)

    second = jax.jit(jax.vmap(jax.jacfwd(jax.jacfwd(by_roots, 4), 4), (0, 0, 0, 0, None)))
    far2, far1, here, near1, near2 = (by_covariances(k * step) for k in (-2, -1, 0, 1, 2))
    exact = (16 * (near1 + far1) - 30 * here - near2 - far2) / (12 * step**2)
    error = np.abs(second(matrices, looks, factors, changes, 0.0) - exact).max((1, 2)) / np.abs(exact).max((1, 2))
    assert np.quantile(error, 0.95) < 1e-6  # the differences' own error is 1e-9
    assert error.max() < 1e-2  # where directions that do vary are nearly dependent: digits, not the value, are lost


@pytest.mark.usefixtures("float64")
def test_a_fit_may_move_a_row_away_from_zero() -> None:
    """Right of an empty pivot a root is read; elsewhere above the diagonal it is not."""
    stored = Covariance(jnp.array([[0.0, 0.5, 0.0], [0.0, 1.0, 9.0], [0.0, 0.3, 2.0]]))
    read = np.array([[0.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.3, 2.0]])
    root = stored.constrained().root
    np.testing.assert_allclose(np.triu(root, 1), 0)
    np.testing.assert_allclose(root @ root.T, read @ read.T, rtol=0, atol=1e-15)
    np.testing.assert_allclose(stored.matrix, read @ read.T)


@pytest.mark.parametrize("matrix", [[[-1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]]])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_covariance_is_nan_under_jit(matrix: list, place: str) -> None:
    """A variance of -1 counted as 0."""
    ys = data().astype(np.float32)
    found = jax.jit(lambda covariance: ssm.log_prob(model(*given(place, covariance)), ys))(jnp.array(matrix))
    assert np.isnan(found)


@pytest.mark.parametrize("kind", [lambda v: ssm.Diagonal(v), lambda v: ssm.Spherical(v[0], 2)])
def test_a_negative_variance_is_nan_under_jit(kind: Callable) -> None:
    ys = data().astype(np.float32)
    found = jax.jit(lambda v: ssm.log_prob(model(FULL.copy(), kind(v), FULL.copy()), ys))(jnp.array([-1.0, 1.0]))
    assert np.isnan(found)


def test_nor_is_that_of_an_emission() -> None:
    def log_prob(covariance: jax.Array) -> jax.Array:
        family = ssm.emissions.MultivariateNormal(jnp.zeros((1, 2)), covariance[None])
        return ssm.log_prob(ssm.HMM(jnp.ones(1), jnp.ones((1, 1)), family), jnp.zeros((3, 2)))

    assert np.isnan(jax.jit(log_prob)(jnp.array([[-1.0, 0.0], [0.0, 1.0]])))
    assert np.isfinite(jax.jit(log_prob)(jnp.eye(2)))
