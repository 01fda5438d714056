"""Prediction errors and smoothed noises in standard deviations, against the joint normal of all that there is."""

import jax
import numpy as np
import pytest
import test_diffuse
from oracles import System, condition_all, system_of

import ssm
from ssm import datasets

pytestmark = pytest.mark.usefixtures("float64")

LENGTH = 7
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # some thousand roundings of 2e-16, and numbers of size 10


def joint(
    system: System, ys: np.ndarray, observed: np.ndarray, nothing: float = 1e-12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Innovations and standardised smoothed noises, by linear algebra; variances below `nothing` count as none."""
    total, size = system.transition_offset.shape
    there, states = observed.ravel(), total * size
    # 1. Before anything is seen: the Cholesky root of y whitens every entry by the ones before it.
    mean, covariance = condition_all(system, ys, np.zeros_like(observed))
    mean, covariance = mean[states:][there], covariance[states:, states:][np.ix_(there, there)]
    innovations = np.full(ys.size, np.nan)
    innovations[there] = np.linalg.solve(np.linalg.cholesky(covariance), ys.ravel()[there] - mean)
    # 2. Noises are linear in (x, y); what the data leave open of them is missing from the variance of their means.
    mean, covariance = condition_all(system, ys, observed)

    def standardised(rows: np.ndarray, offset: np.ndarray, noise: np.ndarray) -> np.ndarray:
        variance = np.diagonal(noise) - np.diagonal(rows @ covariance @ rows.T)
        return (rows @ mean - offset) / np.sqrt(np.where(variance > nothing, variance, np.nan))

    emission, transition = np.full(ys.shape, np.nan), np.full((total, size), np.nan)
    for t in range(total):
        here = slice(t * size, (t + 1) * size)
        rows = np.zeros((ys.shape[1], len(mean)))
        rows[:, here] = -system.emission_matrix[t]
        rows[:, states + t * ys.shape[1] :][:, : ys.shape[1]] = np.eye(ys.shape[1])
        emission[t] = standardised(rows, system.emission_offset[t], system.emission_covariance[t])
        if t:
            rows = np.zeros((size, len(mean)))
            rows[:, here] = np.eye(size)
            rows[:, (t - 1) * size : t * size] = -system.transition_matrix[t]
            transition[t] = standardised(rows, system.transition_offset[t], system.transition_covariance[t])
    return innovations.reshape(ys.shape), np.where(observed, emission, np.nan), transition


def varying() -> tuple[ssm.LinearGaussian, np.ndarray, np.ndarray]:
    """Everything varies in time, the second state has no noise, and both noises are correlated; with its data."""
    rng = np.random.default_rng(0)
    roots = lambda count: rng.normal(size=(LENGTH, count, count)) * 0.7
    square = lambda root: root @ np.swapaxes(root, 1, 2)
    change = roots(3)
    change[:, 1] = 0
    matrices = rng.normal(size=(LENGTH, 3, 3)) * 0.6, square(change), rng.normal(size=(LENGTH, 2, 3)), square(roots(2))
    model = ssm.LinearGaussian(
        rng.normal(size=3), np.diag([1.0, 2.0, 0.5]), *matrices,
        transition_input=rng.normal(size=(3, 1)), emission_bias=rng.normal(size=(LENGTH, 2)),
    )  # fmt: skip
    return model, 2 * rng.normal(size=(LENGTH, 2)), rng.normal(size=(LENGTH, 1))


def test_as_the_joint_normal_says() -> None:
    model, ys, us = varying()
    mask = np.ones((LENGTH, 2), bool)
    mask[1], mask[3, 0], mask[5, 1] = False, False, False
    total, options = LENGTH - 1, {"mask": mask, "lengths": LENGTH - 1}  # the last is padding
    answer = ssm.auxiliary_residuals(model, ys, us, **options)
    found = ssm.innovations(model, ys, us, **options), answer.emission, answer.transition
    truths = joint(system_of(model, us[:total], total), ys[:total], mask[:total])
    for each, truth in zip(found, truths, strict=True):
        np.testing.assert_allclose(each[:total], truth, **CLOSE)
        assert np.all(np.isnan(each[total]))
    # The second state has no noise, and nothing leads into the first time.
    assert np.array_equal(np.isnan(answer.transition[:total]), [[True] * 3] + [[False, True, False]] * (total - 1))


def in_the_limit(name: str, ys: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """For diffuse variances κ → ∞, from two large ones: what is left is 1/κ², and 1e-16 κ of rounding."""

    def at(kappa: float) -> tuple[np.ndarray, ...]:
        vague = test_diffuse.model_of(name, None, np.diag([kappa, kappa, test_diffuse.SPREAD[2, 2]]))
        return joint(system_of(vague, None, LENGTH), ys, mask, nothing=10 / kappa)

    return [2 * far - near for near, far in zip(at(1e6), at(2e6), strict=True)]


@pytest.mark.parametrize("name", test_diffuse.CASES)
def test_as_the_joint_normal_says_in_the_limit_of_large_variances(name: str) -> None:
    ys, mask = test_diffuse.data_of(name)
    model, (innovations, emission, transition) = test_diffuse.model_of(name), in_the_limit(name, ys, mask)
    answer, found = ssm.auxiliary_residuals(model, ys, mask=mask), ssm.innovations(model, ys, mask=mask)
    resolving = np.isnan(found) & mask
    assert resolving.sum() == 2  # two diffuse states
    assert np.all(np.abs(innovations[resolving]) < 0.1)  # of size 1/√κ
    for each, truth in ((found, np.where(resolving, np.nan, innovations)), (answer.emission, emission)):
        np.testing.assert_allclose(each, truth, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(answer.transition, transition, rtol=1e-6, atol=1e-6)


def nile() -> tuple[ssm.LinearGaussian, np.ndarray]:
    return test_diffuse.level(15099.0, 1469.1), datasets.nile()[:, None]


@pytest.mark.slow
def test_the_nile_has_an_outlier_and_a_break() -> None:
    """Durbin & Koopman 2012, figure 2.8: 1913, and 1899, the year after which the dam of Aswan was being built."""
    model, ys = nile()
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    known = UnobservedComponents(ys[:, 0], "llevel", use_exact_diffuse=True).smooth([15099.0, 1469.1])
    answer = ssm.auxiliary_residuals(model, ys)
    error = known.smoothed_measurement_disturbance[0] / np.sqrt(
        15099.0 - known.smoothed_measurement_disturbance_cov[0, 0]
    )
    change = known.smoothed_state_disturbance[0] / np.sqrt(1469.1 - known.smoothed_state_disturbance_cov[0, 0] + 1e-99)
    np.testing.assert_allclose(answer.emission[:, 0], error, **CLOSE)
    np.testing.assert_allclose(answer.transition[1:, 0], change[:-1], **CLOSE)  # theirs leads out of a year
    # One component alone has nothing before it in its own time; the first year has no residual.
    innovations = ssm.innovations(model, ys)
    assert np.isnan(innovations[0, 0])
    np.testing.assert_allclose(innovations, np.asarray(ssm.residuals(model, ys)), **CLOSE)
    years = 1871 + np.arange(100)
    assert years[np.argmax(np.abs(answer.emission[:, 0]))] == 1913
    assert years[np.nanargmax(np.abs(answer.transition[:, 0]))] == 1899


@pytest.mark.slow
def test_packs_batches_and_schedules() -> None:
    model = ssm.LinearGaussian([1.0, 0.0], np.eye(2), [[0.9, 1.0], [0.0, 0.5]], np.eye(2), [[1.0, 0.0]], [[0.5]])
    rng = np.random.default_rng(0)
    ys, mask = rng.normal(size=(2, 5, 1)), rng.uniform(size=(2, 5)) > 0.2

    def both(*data, **options) -> list[jax.Array]:
        return jax.tree.leaves((ssm.innovations(*data, **options), ssm.auxiliary_residuals(*data, **options)))

    each = [both(model, y, mask=seen) for y, seen in zip(ys, mask, strict=True)]
    alone = [np.stack(pair) for pair in zip(*each, strict=True)]
    packed = {"mask": mask.ravel(), "starts": np.arange(10) % 5 == 0}
    for found in (
        both(model, ys, mask=mask),
        both(model, ys.reshape(10, 1), **packed),
        both(model, ys.reshape(10, 1), schedule="associative", **packed),
        jax.jit(lambda ys: both(model, ys, mask=mask))(ys),
    ):
        for each, truth in zip(found, alone, strict=True):
            np.testing.assert_allclose(np.reshape(each, truth.shape), truth, **CLOSE)


@pytest.mark.slow
def test_of_a_true_model_in_single_precision() -> None:
    """Ten thousand independent standard normals, within 1e-4 of those in double precision."""
    numbers = [1.0, 0.0], np.eye(2), [[1.0, 1.0], [0.0, 0.9]], 0.01 * np.eye(2), [[1.0, 0.0]], [[4.0]]
    ys = np.asarray(ssm.simulate(ssm.LinearGaussian(*numbers), jax.random.key(0), 10_000)[1])
    found = {}
    for dtype in (np.float64, np.float32):
        with jax.enable_x64(dtype == np.float64):
            model = ssm.LinearGaussian(*(np.asarray(number, dtype) for number in numbers))
            residuals = ssm.auxiliary_residuals(model, ys.astype(dtype))
            found[dtype] = [ssm.innovations(model, ys.astype(dtype)), residuals.emission, residuals.transition]
            assert all(each.dtype == dtype for each in found[dtype])
    for single, double in zip(found[np.float32], found[np.float64], strict=True):
        np.testing.assert_allclose(single, double, atol=1e-4)
        assert np.all(np.abs(np.nanstd(double, axis=0) - 1) < 0.1)
    assert all(p_value > 1e-3 for p_value in ssm.diagnose(found[np.float64][0]).p_values().values())


def test_other_models_are_refused() -> None:
    model = ssm.HMM([1.0], [[1.0]], ssm.emissions.Normal([0.0], [1.0]))
    with pytest.raises(TypeError, match="model: innovations are of an ssm.LinearGaussian, got HMM; ssm.residuals"):
        ssm.innovations(model, np.zeros(3))
