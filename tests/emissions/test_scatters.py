"""Means and scatter matrices of all states at once, against NumPy in float64, where digits are easily lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssm.emissions.common.components import UNROLLED
from ssm.emissions.normals.scatter import scatters_of

STATES, TOTAL = 3, 400


def problem(size: int, apart: float, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, M), and rows (M, N) of states that lie `apart`; components differ by `alike` alone."""
    random = np.random.default_rng(size)
    states = random.integers(0, STATES, TOTAL)
    common = random.normal(size=(TOTAL, 1))
    rows = apart * states[:, None] + common + alike * random.normal(size=(TOTAL, size))
    weights = np.where(states == np.arange(STATES)[:, None], 0.9, 0.1 / apart**2)
    return weights, rows


def in_numpy(weights: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Counts, means, scatter matrices in two passes."""
    weights, rows = weights.astype(float), rows.astype(float)
    count = weights.sum(1)
    mean = weights @ rows / count[:, None]
    centred = rows - mean[:, None]
    return count, mean, np.einsum("km,kmi,kmj->kij", weights, centred, centred)


@pytest.mark.parametrize("size", [1, 3, UNROLLED + 1])
@pytest.mark.parametrize("apart, off", [(1.0, 0.0), (1e4, 0.0), (1.0, 1e6)])
def test_scatters_are_those_of_numpy(size: int, apart: float, off: float, float64: None) -> None:
    weights, rows = problem(size, apart, 1.0)
    found = jax.jit(scatters_of)(weights, rows, rows.mean(0) + off)
    # Apart by 10⁴ a difference of moments would lose 8 of 16 digits; sums of such numbers round to 45 epsilons.
    for ours, theirs in zip((found.count, found.mean, found.scatter), in_numpy(weights, rows), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-14 * apart)


@pytest.mark.parametrize("apart, alike", [(1.0, 1.0), (1e3, 1.0), (1.0, 1e-2), (30.0, 3e-2)])
def test_float32_keeps_the_smallest_variance(apart: float, alike: float) -> None:
    weights, rows = (array.astype(np.float32) for array in problem(3, apart, alike))
    found = jax.jit(scatters_of)(weights, rows, rows.mean(0))
    exact = in_numpy(weights, rows)[2]
    smallest = np.linalg.eigvalsh(exact)[:, 0]
    ours = np.linalg.eigvalsh(np.asarray(found.scatter, float))[:, 0]
    # What is lost in one product is bounded by 10⁻³ of it; each around its own mean loses epsilons of the largest.
    largest = np.linalg.eigvalsh(exact)[:, -1]
    np.testing.assert_allclose(ours, smallest, atol=(1e-3 * smallest + 16 * np.finfo(np.float32).eps * largest).max())


def test_a_state_without_weight_counts_nothing_and_harms_no_other() -> None:
    weights, rows = (array.astype(np.float32) for array in problem(2, 1.0, 1.0))
    weights[1] = 0
    found = jax.jit(scatters_of)(weights, jnp.asarray(rows), rows.mean(0))
    assert found.count[1] == 0 and (found.scatter[1] == 0).all()
    others = np.array([0, 2])
    np.testing.assert_allclose(found.scatter[others], in_numpy(weights[others], rows)[2], rtol=1e-4)
