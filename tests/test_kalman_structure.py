"""Linear-Gaussian models of which something is known: structured noises, given entries, priors, stability."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
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
