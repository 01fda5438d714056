"""Public numbers, and the cases that other libraries get wrong; all in float32 unless said."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.flatten_util import ravel_pytree
from published import fedfunds

import ssm
from ssm.emissions import AbstractEmission, Categorical, MultivariateNormal, Normal

SINGLE = {"rtol": 1e-5, "atol": 1e-6}  # a few dozen float32 roundings of 6e-8
DOUBLE = {"rtol": 1e-8, "atol": 1e-8}  # numbers that were published with eight digits


class Table(AbstractEmission):
    """Log-likelihoods given as a table: observation c has row c."""

    rows: jax.Array

    @property
    def num_states(self) -> int:
        return self.rows.shape[1]

    @property
    def num_classes(self) -> int:
        return self.rows.shape[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def event_kind(self) -> str:
        return "symbol"

    def log_likelihoods(self, ys, us, observed=None):
        return self.rows[ys]


def table_hmm(initial, transition, log_likelihoods) -> tuple[ssm.HMM, np.ndarray]:
    """A chain that sees exactly these log-likelihoods (T, K), one row a step."""
    rows = jnp.asarray(log_likelihoods, jnp.zeros(()).dtype)
    return ssm.HMM(initial, transition, Table(rows)), np.arange(len(rows))


# -- public numbers -------------------------------------------------------------------------------------------


def umbrellas() -> tuple[ssm.HMM, np.ndarray]:
    return ssm.HMM([0.5, 0.5], [[0.7, 0.3], [0.3, 0.7]], Categorical([[0.9, 0.1], [0.2, 0.8]])), np.array(
        [0, 0, 1, 0, 0]
    )


def test_umbrellas(float64: None) -> None:
    model, ys = umbrellas()
    answer, smoothed = ssm.filter(model, ys), ssm.smooth(model, ys)
    np.testing.assert_allclose(answer.log_prob, -3.37250204, **DOUBLE)
    four, five = {"atol": 5e-5}, {"atol": 5e-6}  # published to four and five places
    np.testing.assert_allclose(smoothed.smoothed.probs[:, 0], [0.8673, 0.8204, 0.3075, 0.8204, 0.8673], **four)
    np.testing.assert_allclose(answer.filtered.probs[:, 0], [0.81818, 0.88336, 0.19067, 0.73079, 0.86734], **five)
    np.testing.assert_array_equal(ssm.decode(model, ys)[0], [0, 0, 1, 0, 0])


def test_the_best_path_of_three_symbols() -> None:
    model = ssm.HMM([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], Categorical([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]]))
    _, log_prob = ssm.decode(model, np.array([0, 1, 2]))
    np.testing.assert_allclose(jnp.exp(log_prob), 0.01344, **SINGLE)


def test_a_chain_seen_at_its_ends(float64: None) -> None:
    walk = np.array([[0.75, 0.25, 0, 0], [0.25, 0.5, 0.25, 0], [0, 0.25, 0.5, 0.25], [0, 0, 0.25, 0.75]])
    model = ssm.HMM(np.eye(4)[0], walk, Categorical(np.eye(4)))
    mask = np.isin(np.arange(7), [0, 6])
    answer = ssm.smooth(model, np.zeros(7, int), mask=mask)
    np.testing.assert_allclose(answer.log_prob, -0.87001489, **DOUBLE)
    truth = [[21 / 26, 5 / 26, 0, 0], [105 / 143, 35 / 143, 3 / 143, 0], [1225 / 1716, 147 / 572, 49 / 1716, 1 / 1716]]
    np.testing.assert_allclose(answer.smoothed.probs[1:4], truth, rtol=1e-12, atol=1e-15)


def test_two_regimes_of_the_fed_funds_rate(float64: None) -> None:
    ys = fedfunds()
    assert len(ys) == 226
    stay, leave = 0.9820939, 0.0503587  # p00, p10
    start = np.array([leave, 1 - stay]) / (leave + 1 - stay)
    model = ssm.HMM(start, [[stay, 1 - stay], [leave, 1 - leave]], Normal([3.70877, 9.556793], [2.107562] * 2))
    np.testing.assert_allclose(ssm.log_prob(model, ys), -508.63592, atol=1e-5)  # published to five places


def nile_model(initial_mean: float, initial_variance: float) -> ssm.LinearGaussian:
    number = lambda value: np.full((1, 1), value)
    return ssm.LinearGaussian(
        np.array([initial_mean]), number(initial_variance), number(1.0), number(1469.1), number(1.0), number(15099.0)
    )


@pytest.fixture
def nile(data: Path) -> np.ndarray:
    return np.genfromtxt(data / "ssm" / "nile.csv", delimiter=",", skip_header=1)[:, -1:]


@pytest.fixture
def anchors(data: Path) -> dict:
    return json.loads((data / "anchors.json").read_text())["nile_local_level"]


def test_nile_with_a_vague_start(nile: np.ndarray, anchors: dict, float64: None) -> None:
    model = nile_model(0.0, 1e7)
    answer = ssm.filter(model, nile)
    np.testing.assert_allclose(answer.log_prob, -641.585578, atol=1e-6)  # published to six places
    np.testing.assert_allclose(answer.log_prob, anchors["loglik_P1_1e7_all_100"], atol=5e-5)
    np.testing.assert_allclose(answer.log_evidence[1:].sum(), anchors["loglik_P1_1e7_obs_2_to_100"], atol=5e-5)


def test_nile_after_its_first_year(nile: np.ndarray, anchors: dict, float64: None) -> None:
    # An exactly diffuse level is, after the first observation, N(y_1, noise): start there, at the second year.
    model = nile_model(float(nile[0, 0]), 15099.0 + 1469.1)
    answer, smoothed = ssm.filter(model, nile[1:]), ssm.smooth(model, nile[1:]).smoothed
    np.testing.assert_allclose(answer.log_prob, anchors["loglik_without_that_constant"], atol=5e-5)
    picked = np.array([0, 98])
    np.testing.assert_allclose(answer.filtered.mean[picked, 0], anchors["filtered_mean_t1_t2_t100"][1:], **DOUBLE)
    np.testing.assert_allclose(
        answer.filtered.covariance[picked, 0, 0], anchors["filtered_var_t1_t2_t100"][1:], **DOUBLE
    )
    picked = np.array([48, 98])
    np.testing.assert_allclose(smoothed.mean[picked, 0], anchors["smoothed_mean_t1_t50_t100"][1:], **DOUBLE)
    np.testing.assert_allclose(smoothed.covariance[picked, 0, 0], anchors["smoothed_var_t1_t50_t100"][1:], **DOUBLE)
    ahead = ssm.forecast(model, nile[1:], 30)
    np.testing.assert_allclose(ahead.stddev[np.array([0, 29]), 0] ** 2, anchors["forecast_var_h1_h30"], **DOUBLE)


def test_nile_with_forty_years_missing(nile: np.ndarray, anchors: dict, float64: None) -> None:
    gaps, truth = nile.copy(), anchors["missing_21_40_and_61_80"]
    gaps[20:40], gaps[60:80] = np.nan, np.nan
    model = nile_model(float(nile[0, 0]), 15099.0 + 1469.1)
    answer, smoothed = ssm.filter(model, gaps[1:]), ssm.smooth(model, gaps[1:]).smoothed
    np.testing.assert_allclose(answer.predicted.mean[39, 0], truth["predicted_mean_t41"], **DOUBLE)
    np.testing.assert_allclose(answer.predicted.covariance[39, 0, 0], truth["predicted_var_t41"], **DOUBLE)
    # The published ones come from a start of large finite variance: they agree to seven digits.
    np.testing.assert_allclose(smoothed.mean[28, 0], truth["smoothed_mean_t30"], rtol=1e-6)
    assert abs(float(smoothed.covariance[28, 0, 0]) - truth["smoothed_var_t30"]) < 1.5  # 9716.0 in DK, 9715.0 here


def test_counts_of_letters(data: Path, float64: None) -> None:
    text = (data / "text" / "tinyshakespeare.txt").read_text()[:40_000].lower()
    letters = "".join(c if c.isalpha() else " " for c in text)
    symbols = np.array([0 if c == " " else ord(c) - 96 for c in " ".join(letters.split())])[:10_000].reshape(20, 500)
    key = jax.random.key(0)
    model = ssm.HMM([0.5, 0.5], [[0.6, 0.4], [0.3, 0.7]], Categorical.random(key, 2, 27))
    counts = ssm.expected_statistics(model, symbols)
    np.testing.assert_allclose(counts.transitions.sum(), 9980, **DOUBLE)
    np.testing.assert_allclose(counts.states.sum(), 10_000, **DOUBLE)


# -- where others fail ----------------------------------------------------------------------------------------


def test_the_only_possible_state_is_very_unlikely() -> None:
    model, ys = table_hmm([1.0, 0.0], [[0.5, 0.5], [0.5, 0.5]], [[-120.0, 0.0]])
    for schedule in ("sequential", "associative", "blocked"):
        answer = ssm.filter(model, ys, schedule=schedule)
        np.testing.assert_allclose(answer.log_prob, -120.0, **SINGLE)
        np.testing.assert_allclose(answer.filtered.probs[0], [1, 0], **SINGLE)


def rare() -> tuple[list, list, np.ndarray]:
    """A transition rarer than 1e-8 that the data insist on."""
    transition = [[0.5, 0.5 - 5e-9, 5e-9], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    log_likelihoods = np.zeros((5, 3))
    log_likelihoods[1:, 2] = 40.0
    return [0.5, 0.5, 0.0], transition, log_likelihoods


def test_rare_transitions_count(float64: None) -> None:
    model, ys = table_hmm(*rare())
    truth = oracles.enumerate_paths(np.asarray(model.initial), np.asarray(model.transition), rare()[2])
    counts = ssm.expected_statistics(model, ys)
    np.testing.assert_allclose(counts.transitions, truth.transitions, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(counts.transitions[0, 2], 1, atol=1e-6)


def test_rare_transitions_count_in_float32() -> None:
    model, ys = table_hmm(*rare())
    np.testing.assert_allclose(ssm.expected_statistics(model, ys).transitions[0, 2], 1, rtol=1e-4)


@pytest.mark.parametrize("total", [90, 1000, 10_000])
def test_narrow_normals_have_finite_gradients(total: int) -> None:
    rng = np.random.default_rng(0)
    scale = np.array([[0.032] * 6, [0.070] * 6], np.float32)
    model = ssm.HMM([0.5, 0.5], [[0.95, 0.05], [0.05, 0.95]], Normal(np.zeros((2, 6), np.float32), scale))
    state = np.repeat(rng.integers(0, 2, total // 10), 10)
    ys = (scale[state] * rng.normal(size=(total, 6)) + 0.3 * (rng.uniform(size=(total, 1)) < 0.02)).astype(np.float32)
    value, gradient = eqx.filter_value_and_grad(lambda m: ssm.log_prob(m, ys))(model)
    assert np.isfinite(value) and np.isfinite(ravel_pytree(gradient)[0]).all()


def test_a_cycle_seen_in_35_dimensions() -> None:
    rng = np.random.default_rng(0)
    cycle = np.roll(np.eye(4), 1, axis=1) * 0.5 + np.eye(4) * 0.5
    loc = 10 * rng.normal(size=(4, 35))
    model = ssm.HMM(np.eye(4)[0], cycle, Normal(loc, np.ones((4, 35))))
    states, ys = ssm.simulate(model, jax.random.key(0), 100)
    answer = ssm.smooth(model, ys)
    assert not np.isnan(answer.smoothed.probs).any()
    np.testing.assert_array_equal(np.argmax(answer.smoothed.probs, axis=1), states)  # clusters 10 deviations apart
    np.testing.assert_allclose(answer.smoothed.probs.sum(1), 1, **SINGLE)


def test_three_steps_in_a_padding_of_five() -> None:
    model, ys = umbrellas()
    padded, plain = ssm.smooth(model, ys, lengths=3), ssm.smooth(model, ys[:3])
    np.testing.assert_allclose(padded.smoothed.probs[:3], plain.smoothed.probs, **SINGLE)
    np.testing.assert_allclose(padded.log_prob, plain.log_prob, **SINGLE)


def test_the_first_step_is_the_initial_distribution_itself() -> None:
    model, ys = table_hmm([0.99, 0.01], [[0.5, 0.5], [0.5, 0.5]], [[np.log(0.5), 0.0]])
    np.testing.assert_allclose(jnp.exp(ssm.log_prob(model, ys)), 0.99 * 0.5 + 0.01, **SINGLE)
    np.testing.assert_allclose(ssm.filter(model, ys).predicted.probs[0], [0.99, 0.01], **SINGLE)


def test_a_forecast_reads_its_inputs(float64: None) -> None:
    rng = np.random.default_rng(0)
    matrix, bias, drive, feed = (rng.normal(size=shape) for shape in ((2, 2), (2,), (2, 3), (1, 3)))
    seeing = rng.normal(size=(1, 2))
    model = ssm.LinearGaussian(
        np.zeros(2),
        np.eye(2),
        matrix,
        np.eye(2),
        seeing,
        np.eye(1),
        transition_bias=bias,
        transition_input=drive,
        emission_input=feed,
    )
    ys, us, ahead = rng.normal(size=(5, 1)), rng.normal(size=(5, 3)), rng.normal(size=(1, 3))
    last = ssm.filter(model, ys, us).filtered.mean[-1]
    expected = seeing @ (matrix @ np.asarray(last) + bias + drive @ ahead[0]) + feed @ ahead[0]
    np.testing.assert_allclose(ssm.forecast(model, ys, 1, us, ahead).mean[0], expected, **DOUBLE)


@pytest.mark.parametrize("case", ["Q = 0", "Q of rank one", "R of rank one", "no noise at all", "unit roots"])
def test_singular_covariances(case: str, float64: None) -> None:
    eye, zero = np.eye(2), np.zeros((2, 2))
    one = np.array([[1.0, 2.0], [2.0, 4.0]])
    state = {"Q = 0": zero, "Q of rank one": one, "no noise at all": zero, "unit roots": zero}.get(case, eye)
    noise = {"R of rank one": one, "no noise at all": zero}.get(case, eye)
    rotation = np.array([[0.0, -1.0], [1.0, 0.0]]) if case == "unit roots" else 0.9 * eye
    model = ssm.LinearGaussian(np.zeros(2), eye, rotation, state, eye, noise)
    _, ys = ssm.simulate(model, jax.random.key(0), 6)
    answer = ssm.filter(model, ys)
    assert np.isfinite(answer.log_prob) and answer.first_impossible == -1
    assert np.isfinite(ssm.smooth(model, ys).smoothed.mean).all()
    if case != "no noise at all":  # there the joint density is degenerate: nothing to compare with
        system = jax.tree.map(np.asarray, oracles.system_of(model, None, 6))
        truth = oracles.condition_joint(system, np.asarray(ys), np.ones(ys.shape, bool))
        np.testing.assert_allclose(answer.log_evidence, truth.log_evidence, **DOUBLE)
        np.testing.assert_allclose(ssm.smooth(model, ys).smoothed.mean, truth.smoothed[0], rtol=1e-7, atol=1e-7)


def test_static_states_are_least_squares(float64: None) -> None:
    rng = np.random.default_rng(0)
    design, noise, vague = rng.normal(size=(40, 1, 3)), 0.5, 1e8
    ys = design[:, 0] @ np.array([[1.0], [-2.0], [0.5]]) + noise * rng.normal(size=(40, 1))
    model = ssm.LinearGaussian(
        np.zeros(3), vague * np.eye(3), np.eye(3), np.zeros((3, 3)), design, noise**2 * np.eye(1)
    )
    last = ssm.filter(model, ys).filtered
    precision = design[:, 0].T @ design[:, 0] / noise**2
    # The prior adds 1e-8 to precisions of about 100.
    np.testing.assert_allclose(last.mean[-1], np.linalg.lstsq(design[:, 0], ys[:, 0], rcond=None)[0], rtol=1e-6)
    np.testing.assert_allclose(last.covariance[-1], np.linalg.inv(precision), rtol=1e-6, atol=1e-9)


def test_correlated_normals_that_are_nearly_flat() -> None:
    flat = np.array([[1.0, 1.0 - 1e-6], [1.0 - 1e-6, 1.0]], np.float32)
    model = ssm.HMM(
        [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], MultivariateNormal(np.zeros((2, 2)), np.stack([flat, np.eye(2)]))
    )
    _, ys = ssm.simulate(model, jax.random.key(0), 50)
    value, gradient = eqx.filter_value_and_grad(lambda m: ssm.log_prob(m, ys))(model)
    assert np.isfinite(value) and np.isfinite(ravel_pytree(gradient)[0]).all()
