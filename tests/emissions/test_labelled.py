"""Known states: labels are evidence, with or without an observation beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import ssm
from ssm.emissions import Labelled, LinearRegression, Normal, Product, Tied

pytestmark = pytest.mark.usefixtures("float64")

CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # two float64 computations of the same numbers
LABELS = np.array([-1, 1, -1, 0, -1, -1])
MASK = np.array([True, True, True, False, False, True])  # step 3 has a label and no observation
INITIAL, TRANSITION = np.array([0.4, 0.6]), np.array([[0.8, 0.2], [0.3, 0.7]])


def plain() -> Normal:
    return Normal([-1.0, 1.5], [1.0, 0.7])


def table(ys: np.ndarray, mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = oracles.log_likelihood_table(plain(), ys, mask)
    ruled_out = (labels[:, None] >= 0) & (labels[:, None] != np.arange(2))
    return np.where(ruled_out, -1e4, rows)  # zero in float64, and the oracle may subtract it


def test_labels_rule_out_paths_also_where_nothing_is_observed() -> None:
    ys = np.random.default_rng(0).normal(size=6)
    model, inputs = ssm.HMM(INITIAL, TRANSITION, Labelled(plain())), {"labels": LABELS}
    truth = oracles.enumerate_paths(INITIAL, TRANSITION, table(ys, MASK, LABELS))
    for schedule in ("sequential", "associative"):
        answer = ssm.filter(model, ys, inputs, mask=MASK, schedule=schedule)
        np.testing.assert_allclose(answer.log_evidence, truth.log_evidence, **CLOSE)
        np.testing.assert_allclose(answer.filtered.probs, truth.filtered, **CLOSE)
    statistics = ssm.expected_statistics(model, ys, inputs, mask=MASK)
    np.testing.assert_allclose(statistics.states, truth.smoothed, **CLOSE)
    np.testing.assert_allclose(statistics.transitions, truth.transitions, **CLOSE)
    path, log_prob = ssm.decode(model, ys, inputs, mask=MASK)
    np.testing.assert_array_equal(path, truth.path)
    np.testing.assert_allclose(log_prob, truth.path_log_prob, **CLOSE)
    gradient = jax.grad(lambda p: ssm.log_prob(_with(p), ys, inputs, mask=MASK))(jnp.asarray(TRANSITION))
    expected = jax.grad(lambda p: ssm.Q(_with(p), statistics, ys, inputs, mask=MASK))(jnp.asarray(TRANSITION))
    np.testing.assert_allclose(gradient, expected, **CLOSE)


def _with(transition: jax.Array) -> ssm.HMM:
    return ssm.HMM(INITIAL, transition, Labelled(plain()))


def test_without_labels_it_is_the_emission() -> None:
    ys = np.random.default_rng(1).normal(size=6)
    model, without = ssm.HMM(INITIAL, TRANSITION, Labelled(plain())), ssm.HMM(INITIAL, TRANSITION, plain())
    expected = ssm.log_prob(without, ys)
    np.testing.assert_allclose(ssm.log_prob(model, ys), expected, **CLOSE)
    np.testing.assert_allclose(ssm.log_prob(model, ys, {"labels": np.full(6, -1)}), expected, **CLOSE)
    means = [ssm.forecast(each, ys, 2).mean for each in (model, without)]
    np.testing.assert_allclose(*means, **CLOSE)
    known = ssm.forecast(model, ys, 2, future_inputs={"labels": np.array([-1, 1])})
    np.testing.assert_allclose(known.mean, [means[1][0], 1.5], **CLOSE)


def test_learning_from_labels_alone_is_counting() -> None:
    ys, labels = np.random.default_rng(2).normal(size=8), np.array([0, 0, 1, 1, 0, 1, 1, 1])
    model = ssm.HMM(INITIAL, TRANSITION, Labelled(plain()))
    found = ssm.fit(model, ys, ssm.EM(max_iters=2), {"labels": labels}, progress=False).model
    np.testing.assert_allclose(found.transition, [[1 / 3, 2 / 3], [1 / 4, 3 / 4]], **CLOSE)
    np.testing.assert_allclose(found.emission.emission.loc, [ys[labels == k].mean() for k in (0, 1)], **CLOSE)


def test_labels_stand_beside_the_inputs_of_the_emission() -> None:
    rng = np.random.default_rng(3)
    ys, us = rng.normal(size=6), rng.normal(size=(6, 1))
    regression = LinearRegression([[1.0], [-1.0]], [0.0, 0.0], [1.0, 1.0])
    model, without = ssm.HMM(INITIAL, TRANSITION, Labelled(regression)), ssm.HMM(INITIAL, TRANSITION, regression)
    labels = {"labels": np.full(6, -1), "inputs": us}
    np.testing.assert_allclose(ssm.log_prob(model, ys, labels), ssm.log_prob(without, ys, us), **CLOSE)
    with pytest.raises(ValueError, match=r"keys \['inputs', 'labels'\]"):
        ssm.log_prob(model, ys, {"labels": np.full(6, -1)})


def test_particles_would_ignore_labels_and_say_so() -> None:
    for emission in (Labelled(plain()), Tied(Labelled(plain()), [0, 1])):
        with pytest.raises(TypeError, match="labels .* would be ignored"):
            ssm.ParticleFilter(ssm.HMM(INITIAL, TRANSITION, emission), 8)


def test_labels_of_one_part_of_a_product_are_refused_and_those_of_the_whole_are_evidence() -> None:
    """Beside a part that does not know them, labels would be lost where y is missing."""
    parts = plain(), Normal([0.5, -0.5], [1.0, 1.0])
    for labelled in (Labelled(parts[0]), Tied(Labelled(parts[0]), [0, 1])):
        with pytest.raises(ValueError, match=r"Labelled at index 1; .*Labelled\(Product"):
            Product(parts[1], labelled)
    model = ssm.HMM(INITIAL, TRANSITION, Labelled(Product(*parts)))
    smoothed = ssm.smooth(model, np.zeros((6, 2)), {"labels": LABELS}, mask=MASK).smoothed.probs
    np.testing.assert_array_equal(smoothed[3], [1, 0])


def test_labels_that_are_no_states_are_named() -> None:
    model, ys = ssm.HMM(INITIAL, TRANSITION, Labelled(plain())), np.zeros(2)
    with pytest.raises(ValueError, match=r"labels lie in 0 .. 1, .* got 2"):
        ssm.log_prob(model, ys, {"labels": np.array([0, 2])})
    with pytest.raises(TypeError, match="integers"):
        ssm.log_prob(model, ys, {"labels": np.array([0.0, 1.0])})
    with pytest.raises(ValueError, match="keys"):
        ssm.log_prob(model, ys, np.zeros((2, 1)))
    evidence = jax.jit(lambda labels: ssm.log_prob(model, ys, {"labels": labels}))
    assert np.isnan(evidence(jnp.array([0, 2]))) and np.isfinite(evidence(jnp.array([0, 1])))
