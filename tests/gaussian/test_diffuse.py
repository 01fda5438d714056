"""Exactly diffuse starts: public numbers, statsmodels' exact diffuse filter, least squares, and the limit they are."""

import json
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import ssm

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from statsmodels.tsa.statespace.initialization import Initialization
    from statsmodels.tsa.statespace.mlemodel import MLEModel

pytestmark = pytest.mark.usefixtures("float64")
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # some thousand roundings of 2e-16, and numbers of size 10
DOUBLE = {"rtol": 1e-8, "atol": 1e-8}  # numbers that were published with eight digits


def level(noise: float, change: float) -> ssm.LinearGaussian:
    number = lambda value: np.full((1, 1), value)
    return ssm.LinearGaussian(
        np.zeros(1), number(0.0), number(1.0), number(change), number(1.0), number(noise), diffuse=[True]
    )


EARLY = np.arange(100) < 10


def smooth_levels(model: ssm.LinearGaussian, ys: np.ndarray, mask: np.ndarray, lengths: list[int]):
    """Two series of up to 100 numbers: one program for all of them."""
    filled = np.zeros((2, 100, 1))
    filled[:, : len(ys), 0] = ys
    return ssm.smooth(model, filled, mask=mask, lengths=np.array(lengths))


def test_ten_steps_of_a_level() -> None:
    answer = smooth_levels(
        level(1.993, 8.253), np.array([10.2394, *[1.0] * 9]), np.ones((2, 100), bool) & EARLY, [10, 3]
    )
    np.testing.assert_allclose(answer.log_prob[0], -23.93526031, **DOUBLE)
    np.testing.assert_allclose(answer.smoothed.mean[0, 0, 0], 8.69269189, **DOUBLE)
    np.testing.assert_allclose(answer.smoothed.covariance[0, 0, 0, 0], 1.65936478, **DOUBLE)


@pytest.fixture
def nile(data: Path) -> np.ndarray:
    return np.genfromtxt(data / "ssm" / "nile.csv", delimiter=",", skip_header=1)[:, -1]


@pytest.fixture
def anchors(data: Path) -> dict:
    return json.loads((data / "anchors.json").read_text())["nile_local_level"]


def test_the_nile(nile: np.ndarray, anchors: dict) -> None:
    ends, gaps, missing = np.array([0, 49, 99]), (np.arange(100) // 20) % 2 == 0, anchors["missing_21_40_and_61_80"]
    answer = smooth_levels(level(15099.0, 1469.1), nile, np.stack([np.ones(100, bool), gaps]), [100, 100])
    mean, variance = answer.smoothed.mean[..., 0], answer.smoothed.covariance[..., 0, 0]
    # Published with the -½ log 2π of the first observation, and without it; the one with gaps to three places.
    np.testing.assert_allclose(answer.log_prob[0], -633.4645636, atol=1e-7)
    np.testing.assert_allclose(answer.log_prob[0] + 0.5 * np.log(2 * np.pi), -632.5456251, atol=1e-7)
    np.testing.assert_allclose(answer.log_prob[1], missing["loglik_exact_diffuse"], atol=5e-4)
    np.testing.assert_allclose(mean[0, ends], anchors["smoothed_mean_t1_t50_t100"], **DOUBLE)
    np.testing.assert_allclose(variance[0, ends], anchors["smoothed_var_t1_t50_t100"], **DOUBLE)
    np.testing.assert_allclose(mean[1, 29], missing["smoothed_mean_t30"], **DOUBLE)
    np.testing.assert_allclose(variance[1, 29], missing["smoothed_var_t30"], **DOUBLE)


@pytest.mark.slow
def test_the_nile_year_by_year(nile: np.ndarray, anchors: dict) -> None:
    three, model, ys = np.array([0, 1, 99]), level(15099.0, 1469.1), nile[:, None]
    answer = ssm.filter(model, ys)
    np.testing.assert_allclose(answer.filtered.mean[three, 0], anchors["filtered_mean_t1_t2_t100"], **DOUBLE)
    np.testing.assert_allclose(answer.filtered.covariance[three, 0, 0], anchors["filtered_var_t1_t2_t100"], **DOUBLE)
    ahead = ssm.forecast(model, ys, 30)
    np.testing.assert_allclose(ahead.stddev[np.array([0, 29]), 0] ** 2, anchors["forecast_var_h1_h30"], **DOUBLE)


@pytest.mark.slow
def test_the_maximum_for_the_nile(nile: np.ndarray) -> None:
    slope = jax.grad(lambda logs: ssm.log_prob(_at(level(1.0, 1.0), jnp.exp(logs / 2)), nile[:, None]))
    best = jnp.log(jnp.array([15098.52, 1469.176]))
    # Published to 3e-7 of both; the curvature in their logs is below 20.
    np.testing.assert_allclose(slope(best), 0, atol=2e-5)
    assert np.all(np.abs(slope(best + 0.001)) > 1e-3)


def _at(model: ssm.LinearGaussian, deviations: jax.Array) -> ssm.LinearGaussian:
    roots = lambda model: (model._emission_covariance.root, model._transition_covariance.root)
    return eqx.tree_at(roots, model, tuple(deviations.reshape(2, 1, 1)))


# -- other models ---------------------------------------------------------------------------------------------

FLAT = np.array([True, True, False])
TREND = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.6]])
MIXED = np.array([[0.9, 0.2, 0.1], [0.0, 0.7, 0.3], [0.2, 0.0, 0.5]])
FIRST, BOTH = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.3]])
TWICE = np.array([[1.0, 0.5, 0.2], [2.0, 1.0, -0.4]])  # two looks at one direction
CASES = {
    "a trend whose start is missing": (TREND, FIRST, [[0, 0], [0, 0], [1, 0], [0, 0], [1, 0], [1, 0], [1, 0]]),
    "two states, seen one at a time": (MIXED, BOTH, [[0, 1], [0, 0], [1, 1], [0, 1], [1, 1], [1, 0], [1, 1]]),
    "one direction, seen twice": (MIXED, TWICE, [[1, 1], [1, 1], [0, 0], [1, 1], [1, 1], [1, 1], [1, 1]]),
}
NOISE = np.array([[0.5, 0.2], [0.2, 0.4]])
CHANGE = np.diag([0.3, 0.1, 0.2])
MEAN, SPREAD = np.array([5.0, -3.0, 0.7]), np.diag([2.0, 3.0, 0.9])


def model_of(name: str, diffuse: np.ndarray | None = FLAT, spread: np.ndarray = SPREAD) -> ssm.LinearGaussian:
    transition, emission, _ = CASES[name]
    return ssm.LinearGaussian(MEAN, spread, transition, CHANGE, emission, NOISE, diffuse=diffuse)


def data_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    mask = np.array(CASES[name][2], bool)
    return np.random.default_rng(1).normal(size=mask.shape) * 3, mask


def by_statsmodels(name: str):
    ys, mask = data_of(name)
    transition, emission, _ = CASES[name]
    model = MLEModel(np.where(mask, ys, np.nan), k_states=3, k_posdef=3)
    matrices = {"design": emission, "transition": transition, "selection": np.eye(3)}
    for key, matrix in {**matrices, "state_cov": CHANGE, "obs_cov": NOISE}.items():
        model[key] = matrix
    start = Initialization(3)
    start.set((0, 2), "diffuse")
    start.set(2, "known", constant=MEAN[2:], stationary_cov=SPREAD[2:, 2:])
    model.ssm.initialization = start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it diagonalises the noise
        return model.ssm.smooth()


def filtered(model: ssm.LinearGaussian, name: str) -> ssm.Filtered:
    """The whole sequence, and its first five steps: one program for all of this."""
    ys, mask = data_of(name)
    return ssm.filter(model, np.stack([ys, ys]), mask=np.stack([mask, mask]), lengths=np.array([7, 5]))


@pytest.mark.parametrize("name", CASES)
def test_as_statsmodels(name: str) -> None:
    truth, (ys, mask) = by_statsmodels(name), data_of(name)
    answer = ssm.smooth(model_of(name), ys, mask=mask)
    np.testing.assert_allclose(answer.log_prob, truth.llf, **CLOSE)
    np.testing.assert_allclose(answer.smoothed.mean, truth.smoothed_state.T, **CLOSE)
    np.testing.assert_allclose(answer.smoothed.covariance, truth.smoothed_state_cov.transpose(2, 0, 1), **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_as_statsmodels_step_by_step(name: str) -> None:
    truth, answer = by_statsmodels(name), filtered(model_of(name), name)
    np.testing.assert_allclose(answer.log_evidence[0], truth.llf_obs, **CLOSE)
    np.testing.assert_allclose(answer.log_evidence[1], np.where(np.arange(7) < 5, truth.llf_obs, 0), **CLOSE)
    # Where a state is known, predicted variances are theirs too; where it is not, ours are infinite.
    of = lambda covariances: np.diagonal(np.moveaxis(covariances, 2, 0)[:-1], axis1=1, axis2=2)
    known, variances = of(truth.predicted_diffuse_state_cov) < 1e-9, of(truth.predicted_state_cov)
    ours = np.diagonal(answer.predicted.covariance[0], axis1=1, axis2=2)
    np.testing.assert_array_equal(np.isfinite(ours), known)
    np.testing.assert_allclose(ours[known], variances[known], **CLOSE)
    np.testing.assert_allclose(answer.filtered.mean[0, -1], truth.filtered_state[:, -1], **CLOSE)


@pytest.mark.slow
def test_a_stream() -> None:
    name = "two states, seen one at a time"
    whole, model = filtered(model_of(name), name), model_of(name)
    state, seen = ssm.init(model), []
    for y, observed in zip(*data_of(name), strict=True):
        state, log_evidence = ssm.step(model, state, np.where(observed, y, np.nan))
        seen.append(log_evidence)
    np.testing.assert_allclose(seen, whole.log_evidence[0], **CLOSE)
    np.testing.assert_allclose(state.belief.covariance, whole.filtered.covariance[0, -1], **CLOSE)


@pytest.mark.slow
def test_the_limit_of_large_variances() -> None:
    name = "one direction, seen twice"
    ys, mask = data_of(name)
    exact = filtered(model_of(name), name).log_prob[0]

    def offset(size: float) -> float:
        vague = model_of(name, None, np.diag([size, size, SPREAD[2, 2]]))
        return float(ssm.log_prob(vague, ys, mask=mask) - exact) + np.log(size)

    # Two directions: (2/2) log κ; what is left falls as 1 / κ.
    near, far = offset(1e5), offset(1e7)
    assert 1e-6 < abs(near) < 1e-2
    np.testing.assert_allclose(far, near / 100, rtol=0.01, atol=1e-8)


@pytest.mark.slow
def test_the_gradient() -> None:
    name = "two states, seen one at a time"
    ys, mask = data_of(name)
    flat, restore = ravel_pytree(eqx.filter(model_of(name), eqx.is_inexact_array))
    slope = jax.jit(jax.grad(lambda flat: ssm.log_prob(restore(flat), ys, mask=mask)))(flat)
    log_prob = lambda flat: ssm.smooth(restore(flat), ys, mask=mask).log_prob
    change = 1e-5
    differences = [
        (log_prob(flat + step) - log_prob(flat - step)) / (2 * change) for step in np.eye(len(flat)) * change
    ]
    # Central differences: 1e-10 of the function's third derivative, and 1e-15 / 1e-5 of rounding.
    np.testing.assert_allclose(slope, np.array(differences), rtol=1e-7, atol=1e-7)
    assert np.count_nonzero(np.abs(slope) > 1e-3) > 20
    np.testing.assert_array_equal(restore(slope).initial_mean[:2], 0)  # what is diffuse has no mean


@pytest.mark.slow
@pytest.mark.parametrize("double", [True, False])
def test_a_state_that_stays_is_least_squares(double: bool) -> None:
    # Regressors of very unequal size, nearly collinear in the first rows: the order of ranks is that of the numbers.
    rng, dtype = np.random.default_rng(2), np.float64 if double else np.float32
    regressors = np.stack([np.ones(12), 1e4 * (1 + 0.1 * np.arange(12)), 1e-4 * rng.normal(size=12)], axis=1)
    ys = regressors @ [1.0, 2e-4, 3e4] + 0.5 * rng.normal(size=12)
    with jax.enable_x64(double):
        cast = lambda array: np.asarray(array, dtype)
        model = ssm.LinearGaussian(
            cast(np.zeros(3)), cast(np.zeros((3, 3))), cast(np.eye(3)), cast(np.zeros((3, 3))),
            cast(regressors[:, None]), cast([[0.25]]), diffuse=[True] * 3,
        )  # fmt: skip
        answer = ssm.smooth(model, cast(ys[:, None]))
        assert answer.smoothed.mean.dtype == dtype
    mean, covariance = np.asarray(answer.smoothed.mean), np.asarray(answer.smoothed.covariance)
    inverse = np.linalg.inv(regressors.T @ regressors)
    coefficients = inverse @ regressors.T @ ys
    scale = np.sqrt(np.diagonal(inverse))
    residual = ys - regressors @ coefficients
    # log-density of what is left after the coefficients: the restricted likelihood.
    restricted = (
        -6 * np.log(2 * np.pi) - 9 / 2 * np.log(0.25) - residual @ residual / 0.5 + np.linalg.slogdet(inverse)[1] / 2
    )
    # In standard errors; condition number about 50 after scaling, times a dozen steps of 6e-8.
    close = {"rtol": 1e-9, "atol": 1e-9} if double else {"rtol": 1e-3, "atol": 1e-3}
    for t in (0, 5, 11):
        np.testing.assert_allclose(mean[t] / scale, coefficients / scale, **close)
        np.testing.assert_allclose(
            covariance[t] / np.outer(scale, scale), 0.25 * inverse / np.outer(scale, scale), **close
        )
    np.testing.assert_allclose(np.asarray(answer.log_prob), restricted, **close)


def half_blind() -> tuple[ssm.LinearGaussian, np.ndarray, np.ndarray]:
    """The second state goes nowhere, and neither start is seen; both are seen from the second time on."""
    move, look, known = np.diag([1.0, 0.0, 0.6]), np.eye(2, 3), np.zeros((3, 3))
    model = ssm.LinearGaussian(np.zeros(3), known, move, 0.3 * np.eye(3), look, 0.5 * np.eye(2), diffuse=FLAT)
    ys = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], *[[0.0, 0.0]] * 4])
    return model, ys, np.broadcast_to(np.isin(np.arange(7), [1, 2])[:, None], (7, 2))


def test_what_is_never_seen_stays_unknown() -> None:
    model, ys, mask = half_blind()
    smoothed = ssm.smooth(model, ys, mask=mask).smoothed
    infinite = np.isinf(np.diagonal(smoothed.covariance, axis1=1, axis2=2))
    np.testing.assert_array_equal(infinite[0], [False, True, False])
    assert np.all(np.isfinite(smoothed.covariance[1:]))
    # The start of the walk: its second place, from two looks, of which the later has the walk's noise as well.
    np.testing.assert_allclose(smoothed.mean[0, 0], (1.0 / 0.5 + 2.0 / 0.8) / (1 / 0.5 + 1 / 0.8), **CLOSE)
    np.testing.assert_allclose(smoothed.covariance[0, 0, 0], 0.3 + 1 / (1 / 0.5 + 1 / 0.8), **CLOSE)


@pytest.mark.slow
def test_draws_and_forecasts_of_what_is_unknown() -> None:
    model, ys, mask = half_blind()
    paths = ssm.posterior_sample(model, jax.random.key(0), ys, 3, mask=mask)
    np.testing.assert_array_equal(np.isnan(paths[:, 0]), np.broadcast_to(FLAT & [False, True, True], (3, 3)))
    assert np.all(np.isfinite(paths[:, 1:]))
    assert np.all(np.isfinite(ssm.forecast(model, ys, 2, mask=mask).sample(jax.random.key(1), 3)))
    blind = ssm.forecast(model, ys, 2, mask=mask & False)
    np.testing.assert_array_equal(blind.stddev[:, 0], np.inf)  # of the walk
    assert np.all(np.isfinite(blind.stddev[:, 1]))


def test_what_it_cannot_do_is_said() -> None:
    model, ys = level(1.0, 1.0), np.zeros((3, 1))
    with pytest.raises(TypeError, match="does not support Associative.*sequential"):
        ssm.filter(model, ys, schedule="associative")
    with pytest.raises(ValueError, match="diffuse: a state of infinite variance cannot be drawn"):
        ssm.simulate(model, jax.random.key(0), 3)
    with pytest.raises(ValueError, match=r"diffuse: expected \(1,\) bools"):
        ssm.LinearGaussian(*[np.zeros(1)], *[np.eye(1)] * 5, diffuse=[1])


# -- derivatives and learning ------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(3)


def flattened(model: ssm.LinearGaussian):
    return ravel_pytree(eqx.filter(model, eqx.is_inexact_array))


def with_all_there_is() -> tuple[ssm.LinearGaussian, np.ndarray, dict]:
    """Two sequences of unlike length with gaps and inputs, and an emission that varies in time."""
    normal = RANDOM.normal
    model = ssm.LinearGaussian(
        MEAN, SPREAD, MIXED, CHANGE, BOTH + 0.1 * normal(size=(7, 2, 3)), NOISE, normal(size=3), normal(size=2),
        normal(size=(3, 2)), normal(size=(2, 2)), diffuse=FLAT,
    )  # fmt: skip
    mask = np.array([CASES["two states, seen one at a time"][2], [[1, 1]] * 7], bool)
    return model, normal(size=(2, 7, 2)), {"inputs": normal(size=(2, 7, 2)), "mask": mask, "lengths": np.array([7, 5])}


def test_the_gradient_with_inputs_gaps_and_sequences_of_unlike_length() -> None:
    model, ys, given = with_all_there_is()
    flat, restore = flattened(model)
    inputs = given.pop("inputs").ravel()
    both = np.concatenate([flat, inputs])
    value = lambda both: jnp.sum(
        ssm.log_prob(restore(both[: len(flat)]), ys, both[len(flat) :].reshape(2, 7, 2), **given)
        * jnp.array([1.0, 2.0])
    )
    slope = jax.jit(jax.grad(value))(both)
    step = 1e-5 * np.eye(len(both))
    differences = np.subtract(*jax.jit(jax.vmap(jax.vmap(value)))(np.stack([both + step, both - step]))) / 2e-5
    # As above, of numbers of size 100.
    np.testing.assert_allclose(slope, differences, rtol=1e-7, atol=1e-6)
    assert np.count_nonzero(np.abs(slope) > 1e-3) > 60


@eqx.filter_jit
def curvature_and_differences(restore, flat, ys, mask):
    slope = jax.grad(lambda flat: ssm.log_prob(restore(flat), ys, mask=mask))
    step = 1e-5 * jnp.eye(len(flat))
    differences = jax.lax.map(lambda step: (slope(flat + step) - slope(flat - step)) / 2e-5, step)
    return jax.jacfwd(slope)(flat), differences


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two states, seen one at a time", next(iter(CASES))])
def test_the_curvature(name: str) -> None:
    # Zeros of the matrices are points where variances begin: there, too.
    ys, mask = data_of(name)
    flat, restore = flattened(model_of(name))
    curvature, differences = curvature_and_differences(restore, flat, ys, mask)
    # Differences of a gradient: 1e-10 of its third derivatives, and 1e-14 / 1e-5 of rounding.
    np.testing.assert_allclose(curvature, differences, rtol=1e-6, atol=1e-6)
    assert np.count_nonzero(np.abs(curvature) > 1e-2) > 200


def test_em_stays_at_the_maximum_for_the_nile(nile: np.ndarray) -> None:
    model, ys = level(15098.52, 1469.176), nile[:, None]
    held = frozenset({"transition_matrix", "emission_matrix"})
    found = model.maximise(ssm.expected_statistics(model, ys), ssm.data.observe(model, ys).steps, held)
    # Published to 3e-7 of both.
    np.testing.assert_allclose(found.emission_covariance, 15098.52, rtol=1e-6)
    np.testing.assert_allclose(found.transition_covariance, 1469.176, rtol=1e-6)


@pytest.mark.slow
def test_em_is_that_of_large_variances() -> None:
    name = "two states, seen one at a time"
    ys, mask = (np.concatenate([each, each[::-1]]) for each in data_of(name))
    exact = model_of(name)

    def learnt(model: ssm.LinearGaussian) -> ssm.LinearGaussian:
        statistics = ssm.expected_statistics(model, ys, mask=mask)
        return model.maximise(statistics, ssm.data.observe(model, ys, mask=mask).steps)

    found, limit = learnt(exact), learnt(model_of(name, None, np.diag([1e7, 1e7, SPREAD[2, 2]])))
    # The limit is reached as 1 / κ; what it has lost is rounding times κ.
    for part in ("transition_matrix", "transition_covariance", "emission_matrix", "emission_covariance"):
        np.testing.assert_allclose(getattr(found, part), getattr(limit, part), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.initial_mean[2], limit.initial_mean[2], rtol=1e-5)
    np.testing.assert_allclose(found.initial_covariance[2, 2], limit.initial_covariance[2, 2], rtol=1e-5)
    np.testing.assert_array_equal(found.initial_mean[:2], exact.initial_mean[:2])
    np.testing.assert_allclose(found.initial_covariance[:2, :2], exact.initial_covariance[:2, :2], rtol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("method", [ssm.EM(max_iters=30), ssm.LBFGS(max_iters=30), ssm.SGD(num_epochs=30)])
def test_fits_climb(method) -> None:
    name = "two states, seen one at a time"
    ys, mask = (np.concatenate([each] * 3) for each in data_of(name))
    fit = ssm.fit(model_of(name), ys, method, mask=mask, progress=False)
    assert fit.log_prob > fit.start_log_prob + 1
    if isinstance(method, ssm.EM):
        assert np.all(np.diff(fit.log_probs) > -1e-9)  # monotone, up to rounding


@pytest.mark.slow
def test_em_says_that_a_state_is_never_resolved() -> None:
    model, ys, mask = half_blind()
    with pytest.raises(ValueError, match="EM: the expected statistics are not finite.*diffuse start"):
        ssm.fit(model, ys, ssm.EM(max_iters=2), mask=mask, progress=False)


def test_what_is_not_read_is_no_parameter() -> None:
    name = "two states, seen one at a time"
    # 2 initial means, and 2 variances and 3 covariances of their own and with the third state.
    assert ssm.num_parameters(model_of(name)) == ssm.num_parameters(model_of(name, None)) - 7
    diagonal = ssm.LinearGaussian(MEAN, ssm.Diagonal(np.ones(3)), MIXED, CHANGE, BOTH, NOISE, diffuse=FLAT)
    assert ssm.num_parameters(diagonal) == ssm.num_parameters(model_of(name))
    with pytest.raises(ValueError, match="diffuse: initial entries of diffuse states are not read"):
        ssm.LinearGaussian(MEAN, ssm.Spherical(1.0, 3), MIXED, CHANGE, BOTH, NOISE, diffuse=FLAT)
