"""Linear-Gaussian models of which something is known: structured noises, given entries, priors, stability."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo

import ssm

pytestmark = pytest.mark.usefixtures("float64")

TOTAL = 6


def structured(key: jax.Array) -> ssm.LinearGaussian:
    """Three states with independent noises, of which one has none; two observations with noises of one variance."""
    model = zoo.linear_gaussian(biases=True)(key)
    noises = jnp.array([0.5, 0.0, 1.5])
    swap = lambda m: (m._transition_covariance, m._emission_covariance)
    return eqx.tree_at(swap, model, (ssm.Diagonal(noises), ssm.Spherical(0.7, 2)))


def data(*lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations of two components, one step and one component of another missing."""
    ys, mask = np.random.default_rng(0).normal(size=(*lead, TOTAL, 2)), np.ones((*lead, TOTAL, 2), bool)
    mask[..., 2, :], mask[..., 4, 0] = False, False
    return ys, mask


# -- noises with structure ------------------------------------------------------------------------------------------


def test_noises_with_structure_are_fitted_to_a_maximum_of_q() -> None:
    """Where no number that is free moves Q: standard deviations and coefficients alike; what is zero stays."""
    model, (ys, mask) = eqx.filter_jit(structured)(jax.random.key(0)), data()
    steps = ssm.data.observe(model, ys, mask=mask).steps

    @eqx.filter_jit
    def step(model: Any) -> tuple:
        statistics = ssm.expected_statistics(model, ys, mask=mask)
        best = model.maximise(statistics, steps)
        return best, eqx.filter_grad(lambda m: m.expected_log_prob(steps, statistics))(best)

    best, slopes = step(model)
    assert best._transition_covariance.scale[1] == 0 and best.emission_covariance[0, 0] != 0.7
    for slope in jax.tree.leaves(slopes):
        np.testing.assert_allclose(slope, 0, atol=1e-9)
    dense = best.emission_covariance
    np.testing.assert_array_equal(dense, dense[0, 0] * np.eye(2))
    # D² + N D coefficients, D + N biases, D and D (D + 1) / 2 of the start; D and one of the noises.
    assert ssm.num_parameters(model) == 9 + 6 + 3 + 2 + 3 + 6 + 3 + 1


@pytest.mark.slow
def test_em_rises_and_keeps_structure() -> None:
    model, (ys, mask) = eqx.filter_jit(structured)(jax.random.key(0)), data(2)
    fit = ssm.fit(model, ys, ssm.EM(max_iters=5, tol=0, restarts=2), mask=mask, key=jax.random.key(1))
    assert fit.restarts is not None and (np.diff(fit.restarts) > 0).all()
    assert isinstance(fit.model._transition_covariance, ssm.Diagonal) and fit.model.transition_covariance[1, 1] == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ssm.Diagonal([1.0, -1.0]), "variances: expected numbers of at least 0, got -1 at index 1"),
        (lambda: ssm.Spherical(1.0, 0), "size: must be at least 1"),
        (
            lambda: ssm.LinearGaussian([0.0], [[1.0]], [[1.0]], ssm.Diagonal([1.0, 1.0]), [[1.0]], [[1.0]]),
            "transition_covariance: expected shape",
        ),
    ],
)
def test_wrong_structure_is_named(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# -- entries that are given -----------------------------------------------------------------------------------------

GIVEN = {
    "transition_matrix": np.array([[True, True], [True, False]]),  # a level, and a slope that is damped
    "emission_matrix": True,
    "initial_mean": np.array([False, True]),
    "initial_covariance": True,
    "transition_covariance": np.array([False, True]),
}


@eqx.filter_jit
def damped() -> ssm.LinearGaussian:
    """A level and its slope, seen through noise."""
    noises = ssm.Diagonal(np.array([0.3, 0.05]))
    return ssm.LinearGaussian(
        np.zeros(2), 0.1 * np.eye(2), np.array([[1.0, 1.0], [0.0, 0.7]]), noises, np.eye(1, 2), np.eye(1)
    )


def test_given_entries_are_not_counted() -> None:
    assert ssm.num_parameters(damped(), GIVEN) == 1 + 1 + 1 + 1
    names = ["transition_matrix[0, 0]", "transition_covariance.scale[1]"]
    assert ssm.num_parameters(damped(), names) == ssm.num_parameters(damped()) - 2
    assert ssm.num_parameters(damped(), {"transition_matrix": False, "initial_mean": True}) == 4 + 3 + 2 + 2 + 1


def test_a_gradient_step_leaves_given_entries_alone() -> None:
    """Also one that shrinks what has no gradient."""
    ys = np.random.default_rng(0).normal(size=(8, 1))
    optimizer = optax.adamw(0.1, weight_decay=0.5)
    new = ssm.fit(damped(), ys, ssm.SGD(optimizer, num_epochs=2), frozen=GIVEN).model
    old = damped()
    spreads = lambda model: (model._transition_covariance.scale, model.transition_matrix, model.initial_mean)
    masks = [GIVEN[name] for name in ("transition_covariance", "transition_matrix", "initial_mean")]
    for before, after, mask in zip(spreads(old), spreads(new), masks, strict=True):
        np.testing.assert_array_equal(after[mask], before[mask])
        assert (after[~mask] != before[~mask]).all()


@pytest.mark.slow
def test_given_entries_em_and_errors() -> None:
    """EM and L-BFGS end at one maximum; standard errors are those of differences of the evidence."""
    _, ys = ssm.simulate(damped(), jax.random.key(0), 60)
    frozen = {**GIVEN, "transition_covariance": np.array([False, True])}
    em = ssm.fit(damped(), ys, ssm.EM(max_iters=2000, tol=0), frozen=frozen)
    fit = ssm.fit(damped(), ys, ssm.LBFGS(tol=1e-13), frozen=frozen)
    assert (np.diff(em.log_probs) > -1e-9).all() and em.num_parameters == 4
    np.testing.assert_allclose(em.log_prob, fit.log_prob, rtol=1e-6)
    model = fit.model
    at = np.array([model.transition_matrix[1, 1], model.initial_mean[0]])
    at = np.append(at, [model._transition_covariance.scale[0], model.emission_covariance[0, 0] ** 0.5])

    def make(x: np.ndarray) -> ssm.LinearGaussian:
        noises = ssm.Diagonal(jnp.stack([x[2] ** 2, model.transition_covariance[1, 1]]))
        matrix, mean = model.transition_matrix.at[1, 1].set(x[0]), model.initial_mean.at[0].set(x[1])
        return ssm.LinearGaussian(
            mean, model.initial_covariance, matrix, noises, model.emission_matrix, x[3] ** 2 * np.eye(1)
        )

    evidence = jax.jit(lambda x: ssm.log_prob(make(x), ys))
    moves = 1e-3 * np.eye(4)
    corners = lambda a, b: (
        (evidence(at + a + b) - evidence(at + a - b) - evidence(at - a + b) + evidence(at - a - b)) / 4e-6
    )
    expected = np.sqrt(np.diag(np.linalg.inv([[-corners(a, b) for b in moves] for a in moves])))
    errors = ssm.standard_errors(model, ys, frozen=frozen)
    found = [errors.transition_matrix[1, 1], errors.initial_mean[0]]
    found += [errors.transition_covariance[0, 0] / (2 * at[2]), errors.emission_covariance[0, 0] / (2 * at[3])]
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # differences of third order in steps of 1e-3
    assert errors.transition_matrix[0, 0] == 0 and errors.transition_covariance[1, 1] == 0
