"""EM of linear-Gaussian models: expected moments by brute force, M-steps that maximise, fits that rise."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats
import zoo

import ssm
from ssm import datasets
from ssm.recursions.gaussian.learning.moments import Moments
from ssm.recursions.gaussian.regression.regression import Regression

pytestmark = pytest.mark.usefixtures("float64")

TOTAL = 6


def seen_partly(size: int) -> np.ndarray:
    """One step without observation, and one without its first component."""
    mask = np.ones((TOTAL, size), bool)
    mask[2], mask[4, 0] = False, False
    return mask


def fixed_view(key: jax.Array) -> ssm.LinearGaussian:
    """A regression whose coefficients walk: the emission matrix is given at every time, the rest is not."""
    model = zoo.linear_gaussian(biases=True, num_inputs=2)(key)
    view = jax.random.normal(jax.random.fold_in(key, 1), (zoo.COVERED, 2, 3))
    return eqx.tree_at(lambda model: model._emission_matrix, model, view)


# -- the E-step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [zoo.linear_gaussian(biases=True, num_inputs=2), pytest.param(fixed_view, marks=pytest.mark.slow)]
)
def test_moments_are_those_of_the_joint_normal(make: Any) -> None:
    model, rng = eqx.filter_jit(make)(jax.random.key(0)), np.random.default_rng(0)
    ys, us, mask = rng.normal(size=(TOTAL, 2)), rng.normal(size=(TOTAL, 2)), seen_partly(2)
    statistics = ssm.expected_statistics(model, ys, us, mask=mask)
    system = jax.tree.map(np.asarray, oracles.system_of(model, us, TOTAL))
    mean, covariance = oracles.condition_all(system, ys, mask)
    second = covariance + np.outer(mean, mean)
    state = lambda t: list(range(3 * t, 3 * t + 3))
    seen = lambda t: [3 * TOTAL + 2 * t, 3 * TOTAL + 2 * t + 1]

    def agree(part: str, targets: list, states: list, inputs: list) -> None:
        """E[(x, z) (x, z)ᵀ] with z = (state, input, 1), summed over pairs of indices into all that is random."""
        total = 0
        for those, before, u in zip(targets, states, inputs, strict=True):
            whole = those + before
            block = second[np.ix_(whole, whole)]
            known = np.append(u, 1)
            rest = np.outer(mean[whole], known)
            total = total + np.block([[block, rest], [rest.T, np.outer(known, known)]])
        found, size = getattr(statistics, part), len(targets[0])
        np.testing.assert_allclose(found.count, len(targets))
        whole = np.block([[found.targets, found.across], [found.across.T, found.regressors]])
        total = total[:, -whole.shape[0] :][-whole.shape[0] :] if size == len(total) else total
        np.testing.assert_allclose(whole, total, rtol=1e-10, atol=1e-10)

    times, given = [0, 1, 3, 4, 5], model.emission_matrix.ndim == 3
    agree("transition", [state(t) for t in range(1, TOTAL)], [state(t - 1) for t in range(1, TOTAL)], list(us[1:]))
    np.testing.assert_allclose(statistics.initial.targets, second[:3, :3], rtol=1e-10)
    np.testing.assert_allclose(statistics.initial.across[:, 0], mean[:3], rtol=1e-10)
    if not given:
        agree("emission", [seen(t) for t in times], [state(t) for t in times], list(us[times]))
        return
    # Around what is given: the noise alone, and its products with inputs and one.
    root, noise, cross = model._emission_covariance.lower, 0, 0
    for t in times:
        view = np.zeros((2, len(mean)))
        view[:, seen(t)], view[:, state(t)] = np.eye(2), -system.emission_matrix[t]
        left = view @ mean - system.emission_offset[t]
        noise = noise + view @ covariance @ view.T + np.outer(left, left)
        cross = cross + np.outer(left, np.append(us[t], 1))
    found = statistics.emission
    np.testing.assert_allclose(root @ found.noise @ root.T, noise, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(root @ found.cross, cross, rtol=1e-10, atol=1e-10)


# -- the M-step -----------------------------------------------------------------------------------------------------


def random_rows(rank: int = 3) -> tuple[np.ndarray, ...]:
    """Twenty rows of three targets on four regressors, in units of a noise around coefficients that do not fit."""
    rng = np.random.default_rng(rank)
    root = np.tril(rng.normal(size=(3, 3)))
    root[:, rank:] = 0
    noise, rows = rng.normal(size=(20, 3)), rng.normal(size=(20, 4)) + 1
    noise[:, :rank] += rows[:, :rank]
    coefficients = rng.normal(size=(3, 4))
    return noise, rows, coefficients, root


def random_regression(rank: int = 3) -> Regression:
    """Their moments."""
    noise, rows, coefficients, root = random_rows(rank)
    parts = np.array(20.0), noise.T @ noise, noise.T @ rows, rows.T @ rows, coefficients, root
    return Regression(*map(jnp.asarray, parts))


def test_least_squares_are_a_maximum() -> None:
    free = np.isin(np.arange(4), (0, 3))  # the others stay

    @jax.jit
    def both(moments: Regression) -> tuple:
        best, kept = (moments.maximise(free, keep_noise=keep) for keep in (False, True))
        at_best = jax.value_and_grad(moments.log_prob, (0, 1))(*best)
        return best, at_best, kept, moments.log_prob(*kept), moments.log_prob(moments.coefficients, moments.root)

    moments = random_regression()
    best, (value, (by_coefficients, by_root)), kept, without_noise, start = both(moments)
    noise, rows, coefficients, root = random_rows()
    residuals = rows @ (coefficients - best[0]).T + noise @ root.T
    covariance = np.asarray(best[1] @ best[1].T)
    np.testing.assert_allclose(
        value, scipy.stats.multivariate_normal.logpdf(residuals, cov=covariance).sum(), rtol=1e-10
    )
    # Q is concave in the coefficients and in the inverse of the covariance: where nothing rises is the maximum.
    np.testing.assert_allclose(by_coefficients[:, free], 0, atol=1e-10)
    np.testing.assert_allclose(jnp.tril(by_root), 0, atol=1e-10)
    np.testing.assert_array_equal(best[0][:, ~free], moments.coefficients[:, ~free])
    np.testing.assert_array_equal(kept[1], moments.root)
    assert value > without_noise >= start


@pytest.mark.parametrize("rank", [3, 2])
def test_least_squares_hold_single_entries(rank: int) -> None:
    """Against least squares over a basis of the steps that move no held entry and stay in the range of the noise."""
    moments = random_regression(rank)
    held = np.zeros((3, 4), bool)
    held[:, 1], held[0, 0], held[2, 3] = True, True, True
    found, _ = jax.jit(lambda moments: moments.maximise(~held, keep_noise=True))(moments)
    root = np.asarray(moments.root)[:, :rank]
    basis = scipy.linalg.null_space(np.kron(root, np.eye(4))[held.ravel()])  # of steps (rank, J), row by row
    curvature = basis.T @ np.kron(np.eye(rank), moments.regressors) @ basis
    step = basis @ np.linalg.solve(curvature, basis.T @ np.asarray(moments.cross)[:rank].ravel())
    np.testing.assert_allclose(found - moments.coefficients, root @ step.reshape(rank, 4), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found[held], moments.coefficients[held])


@jax.jit
def around_others(moments: Regression, other: Regression) -> tuple:
    """Moments of rank one after an M-step and under a noise of another range; `other` around the first, and both."""
    coefficients, root = moments.maximise(np.ones(4, bool), keep_noise=False)
    less, more = moments.root.at[0, 0].multiply(0.5), moments.root.at[0, 0].add(1)
    scores = [moments.log_prob(moments.coefficients, each) for each in (moments.root, less, more)]
    moved = other.about(coefficients, jnp.tril(other.coefficients[:, :3]))
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves),
        moved,
        moved.blend(other, jnp.asarray(0.25)).about(moved.coefficients, moved.root),
    )
    return root, [*scores, moments.log_prob(coefficients, root)], moved, stacked.total(jnp.array([1.0, 3.0]))


def test_a_singular_noise_keeps_its_range_and_moments_do_not_depend_on_what_they_are_around() -> None:
    moments, other = random_regression(rank=1), random_regression()
    root, (before, *elsewhere, after), moved, four = around_others(moments, other)
    np.testing.assert_array_equal(root[:, 1:], 0)
    ratios = root[:, 0] / moments.root[:, 0]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)
    assert np.isfinite(before) and after > before
    assert elsewhere == [-jnp.inf, -jnp.inf]  # the targets leave its range
    for name in ("targets", "across"):
        np.testing.assert_allclose(getattr(moved, name), getattr(other, name), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(getattr(four, name), 4 * getattr(other, name), rtol=1e-9, atol=1e-9)


# -- fits -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("num_inputs", "lead", "lengths"), [(0, (), None), (2, (2,), (TOTAL, 4))])
def test_em_rises_and_keeps_what_is_singular(num_inputs: int, lead: tuple, lengths: Any) -> None:
    """Noise of rank one and missing components; also inputs, and sequences of unequal length."""
    make = zoo.linear_gaussian(biases=True, num_inputs=num_inputs, singular=True)
    model, rng = eqx.filter_jit(make)(jax.random.key(1)), np.random.default_rng(1)
    ys, us = rng.normal(size=(*lead, TOTAL, 2)), zoo.inputs(model, rng, *lead, TOTAL)
    mask = np.broadcast_to(seen_partly(2), ys.shape)
    fit = ssm.fit(model, ys, ssm.EM(max_iters=8, tol=0), us, mask=mask, lengths=lengths, frozen=["emission_bias"])
    gains = np.diff(np.append(fit.start_log_prob, fit.log_probs))
    assert (gains > 1e-3).all()  # far from rounding, and far from the maximum
    np.testing.assert_array_equal(np.linalg.matrix_rank(fit.model.transition_covariance, tol=1e-10), 1)
    np.testing.assert_array_equal(fit.model.emission_bias, model.emission_bias)


TREND = np.array([[1.0, 1.0], [0.0, 1.0]])
START = np.array([1000.0, 0.0]), np.diag([1e4, 1e2])


def nile_trend(parameters: np.ndarray, ys: np.ndarray) -> float:
    """Minus the log-evidence of a level with a constant slope; log variances of the noise and of the level."""
    (noise, level), (mean, spread), total = np.exp(parameters), START, 0.0
    for y in ys:
        if not np.isnan(y):
            variance = spread[0, 0] + noise
            total += 0.5 * (np.log(2 * np.pi * variance) + (y - mean[0]) ** 2 / variance)
            gain = spread[:, 0] / variance
            mean, spread = mean + gain * (y - mean[0]), spread - np.outer(gain, gain) * variance
        mean, spread = TREND @ mean, TREND @ spread @ TREND.T + np.diag([level, 0])
    return total


def test_em_rises_to_the_maximum_under_a_noise_of_rank_one() -> None:
    """The Nile with ten years missing: a slope that nothing moves, whose variance EM leaves at zero."""
    ys = datasets.nile().copy()
    ys[20:30] = np.nan
    best = scipy.optimize.minimize(nile_trend, np.log([1e4, 1e3]), (ys,), method="BFGS", options={"gtol": 1e-6})
    model = ssm.LinearGaussian(*START, TREND, np.diag([1e3, 0.0]), np.eye(1, 2), 1e4 * np.eye(1))
    frozen = ["initial_mean", "initial_covariance", "transition_matrix", "emission_matrix"]
    fit = ssm.fit(model, ys[:, None], ssm.EM(max_iters=400, tol=0), frozen=frozen)
    np.testing.assert_allclose(fit.start_log_prob, -nile_trend(np.log([1e4, 1e3]), ys), rtol=1e-12)
    assert (np.diff(fit.log_probs) > -1e-9).all()  # rounding of a number of about 600
    np.testing.assert_allclose(fit.log_prob, -best.fun, rtol=1e-9)
    found = fit.model.emission_covariance[0, 0], fit.model.transition_covariance[0, 0]
    np.testing.assert_allclose(found, np.exp(best.x), rtol=1e-3)  # a maximum is flat: 1e-9 of it is some 1e-4 of these
    np.testing.assert_array_equal(fit.model.transition_covariance, np.diag([found[1], 0]))
    np.testing.assert_array_equal(fit.model.transition_matrix, TREND)


@pytest.mark.slow
def test_restarts_and_stochastic_em_fit_too() -> None:
    model, key = zoo.linear_gaussian(biases=True)(jax.random.key(0)), jax.random.key(1)
    _, ys = jax.vmap(lambda key: ssm.simulate(model, key, 20))(jax.random.split(key, 4))
    fit = ssm.fit(model, ys, ssm.EM(max_iters=20, restarts=3), key=key)
    assert np.isfinite(fit.restarts[:, 0]).all() and fit.log_prob >= fit.start_log_prob
    # One batch with all the data, whose rate is one, is an iteration of EM.
    whole = ssm.fit(model, ys, ssm.StochasticEM(num_epochs=3, batch_size=4, step_size=1.0), key=key)
    np.testing.assert_allclose(whole.log_prob, ssm.fit(model, ys, ssm.EM(max_iters=3, tol=0)).log_prob, rtol=1e-9)
    many = ssm.fit(model, ys, ssm.StochasticEM(num_epochs=20, batch_size=2), key=key)
    assert many.log_prob > many.start_log_prob + 1


def test_a_restart_is_stable_and_of_the_same_structure() -> None:
    model, rng = (
        eqx.filter_jit(zoo.linear_gaussian(biases=True, singular=True))(jax.random.key(0)),
        np.random.default_rng(0),
    )
    ys = 100 + 5 * rng.normal(size=(50, 2))
    steps = ssm.data.observe(model, np.where(rng.random((50, 2)) < 0.1, np.nan, ys)).steps
    restart = eqx.filter_jit(lambda key: model.restart(key, steps))
    new, other = restart(jax.random.key(1)), restart(jax.random.key(2))
    assert np.abs(np.linalg.eigvals(new.transition_matrix)).max() < 1
    np.testing.assert_array_equal(new.transition_covariance, model.transition_covariance)
    np.testing.assert_allclose(new.emission_bias, 100, atol=3)  # four standard errors
    np.testing.assert_allclose(jnp.diagonal(new.emission_covariance), 12.5, rtol=0.8)
    assert not np.allclose(other.transition_matrix, new.transition_matrix)


def test_what_varies_in_time_has_no_q() -> None:
    one = np.ones((1, 1))
    model = ssm.LinearGaussian(one[0], one, one, one, np.ones((3, 1, 1)), one)
    moments = Regression(*map(jnp.asarray, (1.0, one, one, one, one, one)))
    with pytest.raises(TypeError, match="sums over time, which say nothing of parameters that vary in time"):
        ssm.Q(model, Moments(moments, moments, moments), np.ones((3, 1)))
