"""Stationary starts of chains that hardly move, that leave states for good, or that have none."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.durations import Poisson as PoissonDurations
from ssm.transitions import Durations, Homogeneous, LowRank, Recent

START = jax.jit(lambda transition: transition.stationary())

CLOSE = {"rtol": 1e-5, "atol": 0}  # float32: probabilities stored as logits of size 20 keep 2e-6 of themselves


def rarely(moves: float) -> np.ndarray:
    """A cycle of three states that are left at rates 1 : 2 : 3, so that they have shares of 6 : 3 : 2."""
    return np.array([[1 - moves, moves, 0], [0, 1 - 2 * moves, 2 * moves], [3 * moves, 0, 1 - 3 * moves]])


def exactly(matrix: np.ndarray) -> np.ndarray:
    """δ (I - A) = 0 with Σ δ = 1 in rational numbers, by Gauss and Jordan."""
    size = len(matrix)
    rates = [[Fraction(float(x)) if i != j else Fraction(0) for j, x in enumerate(row)] for i, row in enumerate(matrix)]
    rows = [[rates[i][j] if i != j else -sum(rates[i]) for i in range(size)] + [Fraction(0)] for j in range(size)]
    rows[-1] = [Fraction(1)] * (size + 1)
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column] != 0)
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [x / rows[column][column] for x in rows[column]]
        for i in range(size):
            if i != column:
                rows[i] = [a - rows[i][column] * b for a, b in zip(rows[i], rows[column], strict=True)]
    return np.array([float(row[-1]) for row in rows])


@pytest.mark.parametrize("moves", [1e-2, 1e-6, 1e-8, 1e-20])
def test_a_chain_that_hardly_moves_keeps_its_shares(moves: float) -> None:
    np.testing.assert_allclose(START(Homogeneous(rarely(moves))), np.array([6, 3, 2]) / 11, **CLOSE)


def test_rates_of_any_size_beside_each_other() -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.uniform(size=(6, 6)) * 10.0 ** rng.integers(-12, -1, (6, 6))).astype(np.float32)
    matrix[np.diag_indices(6)] = 1 - matrix.sum(1) + np.diag(matrix)
    np.testing.assert_allclose(START(Homogeneous(matrix)), exactly(matrix), **CLOSE)


@pytest.mark.parametrize("kind", ["recent", "durations", "low rank"])
def test_structures_over_such_a_chain(kind: str) -> None:
    shares = np.array([6, 3, 2]) / 11
    if kind == "recent":
        np.testing.assert_allclose(START(Recent(rarely(1e-8), 2)).reshape(3, 3).sum(0), shares, **CLOSE)
    elif kind == "durations":  # segments of mean two, truncated: shares are those of the jumps
        modes = START(Durations(rarely(1e-8), PoissonDurations([2.0] * 3, 20))).reshape(3, -1).sum(1)
        np.testing.assert_allclose(modes, shares, **CLOSE)
    else:
        np.testing.assert_allclose(START(LowRank(np.eye(3), rarely(1e-8))), shares, **CLOSE)


def test_states_that_are_left_for_good_have_none() -> None:
    matrix = [[0.5, 0.5, 0, 0], [0, 0.3, 0.7, 0], [0, 0.6, 0.4, 0], [0.1, 0.1, 0.1, 0.7]]
    found = np.asarray(START(Homogeneous(matrix)))
    np.testing.assert_allclose(found, [0, 6 / 13, 7 / 13, 0], rtol=1e-6)
    assert (np.signbit(found) == False).all()  # noqa: E712
    np.testing.assert_array_equal(START(Homogeneous([[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1.0]])), [0, 0, 1])


def test_two_closed_classes_are_an_error_and_nan_where_they_cannot_be_seen() -> None:
    emission = ssm.emissions.Normal([0.0, 1.0, 2.0], [1.0, 1.0, 1.0])
    split = [[0.5, 0.5, 0], [0.25, 0.75, 0], [0, 0, 1.0]]
    with pytest.raises(ValueError, match=r"2 closed classes of states, \[0, 1\] and \[2\]"):
        ssm.HMM("stationary", split, emission)
    assert np.isnan(START(Homogeneous(split))).all()
    both = jnp.stack([jnp.asarray(split), jnp.asarray(rarely(0.1), jnp.float32)])
    found = jax.vmap(lambda matrix: Homogeneous(matrix).stationary())(both)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


@pytest.mark.usefixtures("float64")
def test_its_slopes_are_those_of_the_exact_shares() -> None:
    matrix = np.random.default_rng(1).dirichlet(np.ones(4), 4)
    share = jax.jit(lambda logits: Homogeneous(jax.nn.softmax(logits, axis=1)).stationary())
    logits, step = np.log(matrix), 1e-6
    slopes = np.asarray(jax.jit(jax.jacrev(share))(jnp.asarray(logits)))
    for i, j in [(0, 1), (2, 0), (3, 3)]:
        moved = [logits.copy(), logits.copy()]
        moved[0][i, j] += step
        moved[1][i, j] -= step
        up, down = (exactly(np.exp(each) / np.exp(each).sum(1, keepdims=True)) for each in moved)
        # Central differences: an error of step², and of 1e-16 / step by rounding.
        np.testing.assert_allclose(slopes[:, i, j], (up - down) / (2 * step), rtol=1e-6, atol=1e-9)
