"""Observations that cannot happen: evidence -inf, the first bad step by name, and nothing else broken."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import ssm
from ssm.emissions import Categorical, MultivariateNormal, Normal

TOTAL = 6
FAR = 1e25  # standard deviations: the square overflows float32, so the density is exactly zero


def symbols() -> tuple[ssm.HMM, np.ndarray, Any]:
    """Symbol 2 cannot be emitted by any state."""
    emission = Categorical(np.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]]))
    return ssm.HMM([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], emission), np.array([0, 1, 1, 0, 1, 0]), 2


def cycle() -> tuple[ssm.HMM, np.ndarray, Any]:
    """States follow each other in a circle and show themselves: only one sequence is possible from state 0."""
    circle = np.roll(np.eye(3), 1, axis=1)
    return ssm.HMM([1.0, 0.0, 0.0], circle, Categorical(np.eye(4)[:3])), np.array([0, 1, 2, 0, 1, 2]), 3


def scalars() -> tuple[ssm.HMM, np.ndarray, Any]:
    """A left-to-right chain of normals."""
    model = ssm.HMM([1.0, 0.0], [[0.7, 0.3], [0.0, 1.0]], Normal([0.0, 1.0], [1.0, 0.5]))
    return model, np.array([0.1, -0.3, 0.2, 1.1, 0.9, 1.0]), FAR


def vectors() -> tuple[ssm.HMM, np.ndarray, Any]:
    """The same with two correlated components."""
    covariance = np.stack([np.array([[1.0, 0.5], [0.5, 1.0]])] * 2)
    model = ssm.HMM([1.0, 0.0], [[0.7, 0.3], [0.0, 1.0]], MultivariateNormal([[0.0, 0.0], [1.0, 1.0]], covariance))
    return model, np.linspace(-1, 1, 2 * TOTAL).reshape(TOTAL, 2), FAR


CHAINS = {"symbols": symbols, "cycle": cycle, "scalars": scalars, "vectors": vectors}


@pytest.mark.parametrize("schedule", ["sequential", "associative", "blocked"])
@pytest.mark.parametrize("when", [0, 3, TOTAL - 1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", CHAINS)
def test_the_first_impossible_step_is_named(name: str, when: int, schedule: str) -> None:
    model, ys, impossible = CHAINS[name]()
    assert ssm.filter(model, ys, schedule=schedule).first_impossible == -1
    ys[when] = impossible
    answer = ssm.filter(model, ys, schedule=schedule)
    assert answer.log_prob == -jnp.inf
    assert ssm.log_prob(model, ys, schedule=schedule) == -jnp.inf
    assert answer.first_impossible == when
    np.testing.assert_array_equal(np.isfinite(answer.log_evidence[:when]), True)
    for leaf in jax.tree.leaves((answer, ssm.smooth(model, ys, schedule=schedule))):
        assert not np.isnan(leaf).any()


@pytest.mark.parametrize("schedule", ["sequential", "associative"])
@pytest.mark.parametrize("when", [0, 3, TOTAL - 1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", CHAINS)
def test_later_steps_stay_finite(name: str, when: int, schedule: str) -> None:
    model, ys, impossible = CHAINS[name]()
    ys[when] = impossible
    answer = ssm.filter(model, ys, schedule=schedule)
    finite = np.arange(TOTAL) != when
    np.testing.assert_array_equal(np.isfinite(answer.log_evidence), finite)
    np.testing.assert_allclose(answer.filtered.probs.sum(1), 1, rtol=1e-6)  # a few roundings of float32


@pytest.mark.parametrize("name", CHAINS)
def test_a_mask_makes_it_possible(name: str) -> None:
    model, ys, impossible = CHAINS[name]()
    bad = ys.copy()
    bad[3] = impossible
    seen = np.arange(TOTAL) != 3
    answer = ssm.filter(model, bad, mask=seen)
    assert answer.first_impossible == -1
    np.testing.assert_array_equal(answer.log_prob, ssm.filter(model, ys, mask=seen).log_prob)
    bad[5] = impossible
    assert ssm.filter(model, bad, mask=seen).first_impossible == 5


@pytest.mark.parametrize("batched", [False, True], ids=["one", "batch"])
@pytest.mark.parametrize("when", [0, 3, TOTAL - 1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_are_numbers(name: str, when: int, batched: bool) -> None:
    model, ys, impossible = CHAINS[name]()
    bad = ys.copy()
    bad[when] = impossible
    data = np.stack([ys, bad]) if batched else bad
    value, gradient = eqx.filter_value_and_grad(lambda m: jnp.sum(ssm.log_prob(m, data)))(model)
    assert value == -jnp.inf
    assert np.isfinite(ravel_pytree(gradient)[0]).all()


@pytest.mark.parametrize("name", CHAINS)
def test_possible_data_have_finite_gradients_at_hard_zeros(name: str) -> None:
    model, ys, _ = CHAINS[name]()
    value, gradient = eqx.filter_value_and_grad(lambda m: ssm.log_prob(m, ys))(model)
    assert np.isfinite(value)
    assert np.isfinite(ravel_pytree(gradient)[0]).all()


def test_a_forbidden_path_is_impossible_by_the_transition_alone() -> None:
    model, _, _ = cycle()
    ys = np.array([0, 1, 1, 2, 0, 1])
    answer = ssm.filter(model, ys)
    assert answer.first_impossible == 2
    path, best = ssm.decode(model, ys)
    assert best == -jnp.inf


def test_each_sequence_of_a_batch_names_its_own() -> None:
    model, ys, impossible = symbols()
    batch = np.stack([ys, ys, ys])
    batch[1, 4], batch[2, 0] = impossible, impossible
    np.testing.assert_array_equal(ssm.filter(model, batch).first_impossible, [-1, 4, 0])


def test_a_noise_free_observation_that_disagrees() -> None:
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    model = ssm.LinearGaussian(np.zeros(1), zero, one, zero, one, zero)
    assert ssm.filter(model, np.zeros((3, 1))).first_impossible == -1
    answer = ssm.filter(model, np.array([[0.0], [0.0], [1.0]]))
    assert answer.first_impossible == 2 and answer.log_prob == -jnp.inf
