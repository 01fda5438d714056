"""Renamed states: the same distribution over observations, in the order of a reference."""

import jax.numpy as jnp
import numpy as np
import pytest
from emission_families import FAMILIES, STATES

import ssm
from ssm.transitions import Driven, Homogeneous, LowRank, Sparse, TimeVarying

pytestmark = pytest.mark.usefixtures("float64")
ORDER = np.array([2, 0, 1])  # not its own inverse
STRUCTURED = {"tied", "spherical", "tied-multivariate", "mixture", "product"}  # not all of their axes are of states


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


@pytest.mark.parametrize("kind", ["pseudo-counts", "stationary", "time", "inputs", "low rank", "sparse"])
def test_the_evidence_stays_and_smoothed_states_are_renamed(kind):
    rng = np.random.default_rng(0)
    ys, inputs = rng.normal(size=6), None
    transition = {
        "pseudo-counts": lambda: Homogeneous(rows(rng, 3, 3), 10 * rng.random((3, 3))),
        "stationary": lambda: Homogeneous(rows(rng, 3, 3)),
        "time": lambda: TimeVarying(rows(rng, 6, 3, 3)),
        "inputs": lambda: Driven(rows(rng, 3, 3), rng.normal(size=(3, 3, 2))),
        "low rank": lambda: LowRank(rows(rng, 3, 2), rows(rng, 2, 3)),
        "sparse": lambda: Sparse([[0, 1], [1, 2], [2, 0]], rows(rng, 3, 2)),
    }[kind]()
    if kind == "inputs":
        inputs = rng.normal(size=(6, 2))
    initial = "stationary" if kind == "stationary" else rows(rng, 3)
    model = ssm.HMM(initial, transition, ssm.emissions.Normal(rng.normal(size=3), [0.5, 1.0, 2.0]))
    other = model.permuted(ORDER)
    before, after = (ssm.smooth(each, ys, inputs) for each in (model, other))
    np.testing.assert_allclose(after.log_prob, before.log_prob, rtol=1e-12)
    np.testing.assert_allclose(after.smoothed.probs, before.smoothed.probs[:, ORDER], rtol=1e-9)
    np.testing.assert_allclose(other.log_prior(), model.log_prior(), rtol=1e-12)
    np.testing.assert_array_equal(other.emission.scale, np.array([2.0, 0.5, 1.0]))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in STRUCTURED else [pytest.mark.slow]) for name in FAMILIES]
)
def test_every_family_renames_its_states(name):
    emission, ys = FAMILIES[name].make(np.random.default_rng(1))
    assert len(ORDER) == STATES
    before, after = (each.log_likelihoods(jnp.asarray(ys), None) for each in (emission, emission.permuted(ORDER)))
    np.testing.assert_allclose(after, before[:, ORDER], rtol=1e-12)


def test_a_shuffled_model_is_put_back():
    rng = np.random.default_rng(4)
    reference = ssm.HMM(rows(rng, 3), 0.7 * np.eye(3) + 0.1, ssm.emissions.Normal([-2.0, 0.0, 2.0], [0.6, 0.6, 0.6]))
    ys, lengths = rng.normal(rng.integers(-1, 2, (2, 20)) * 2.0, 0.5), np.array([20, 11])
    moved = ssm.HMM(reference.initial, reference.transition, ssm.emissions.Normal([-1.8, 0.3, 2.1], [0.5, 0.7, 0.6]))
    back = ssm.align(moved.permuted(ORDER), reference, ys, lengths=lengths)
    np.testing.assert_array_equal(back.emission.loc, moved.emission.loc)
    np.testing.assert_allclose(back.transition, moved.transition, rtol=1e-12)
    with pytest.raises(ValueError, match="reference: expected one of K = 3 states, as the model, got 1"):
        ssm.align(moved, ssm.HMM([1.0], [[1.0]], ssm.emissions.Normal([0.0], [1.0])), ys)
    with pytest.raises(ValueError, match="order: expected each of 0 .. 2 once"):
        moved.permuted(np.array([0, 0, 1]))
