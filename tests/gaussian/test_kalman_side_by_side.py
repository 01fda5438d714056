"""Covariances once and means side by side: the same answers as step by step, and step by step where they never rest."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from gaussian_answers import beliefs, close, holds, moments, slopes

import ssm
from ssm.recursions.gaussian.steady import blocks as steady_blocks
from ssm.schedules import Sequential, SideBySide, resolve

LANES = SideBySide(lanes=3)


@pytest.fixture(autouse=True, scope="module")
def short_head() -> Iterator[None]:
    """Covariances of the zoo's members rest within 40 steps: a head of that size, so that tests have a tail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steady_blocks, "HEAD", 48)
        jax.clear_caches()
        yield
    jax.clear_caches()


def member(name: str) -> ssm.LinearGaussian:
    return next(each for each in zoo.MEMBERS if each.name == f"LinearGaussian-{name}").model()


def drawn(model: ssm.LinearGaussian, *lead: int) -> tuple[jax.Array, jax.Array | None]:
    """Observations (*lead, 2) of no model in particular, and inputs if the model reads some."""
    random = np.random.default_rng(0)
    us = jnp.asarray(random.normal(size=(*lead, 2))) if model.num_inputs else None
    return jnp.asarray(random.normal(size=(*lead, 2))), us


# float64: agreement to rounding, and where covariances have come to rest to its tolerance of 8 epsilons / (1 - ρ²)
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("question", "name", "lead", "lengths"),
    [
        pytest.param(beliefs, "singular", (131,), None, marks=pytest.mark.slow),
        (slopes, "inputs", (3, 130), (130, 128, 97)),
        pytest.param(moments, "singular", (131,), None, marks=pytest.mark.slow),
        pytest.param(moments, "inputs", (3, 130), (130, 128, 97), marks=pytest.mark.slow),
        pytest.param(moments, "plain", (2, 40), None, marks=pytest.mark.slow),
        pytest.param(slopes, "singular", (131,), None, marks=pytest.mark.slow),
        pytest.param(beliefs, "inputs", (3, 130), (130, 128, 97), marks=pytest.mark.slow),
        pytest.param(slopes, "plain", (2, 130), None, marks=pytest.mark.slow),
        pytest.param(beliefs, "plain", (2, 130), None, marks=pytest.mark.slow),
        pytest.param(slopes, "plain", (5,), None, marks=pytest.mark.slow),
        pytest.param(beliefs, "plain", (5,), None, marks=pytest.mark.slow),
    ],
)
def test_every_answer_is_that_of_walking_in_order(question: Any, name: str, lead: tuple, lengths: Any) -> None:
    model = member(name)
    ys, us = drawn(model, *lead)
    lengths = None if lengths is None else jnp.array(lengths)
    run = eqx.filter_jit(question)
    close(*(run(model, ys, us, schedule, lengths=lengths) for schedule in (LANES, Sequential())), tolerance=1e-10)
    assert holds(model, ys, LANES, us, lengths=lengths)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_short_ragged_sequences_are_walked_in_order() -> None:
    model = member("plain")
    ys, lengths = drawn(model, 2, 6)[0], jnp.array([6, 2])
    assert not holds(model, ys, LANES, lengths=lengths)
    slope = lambda schedule: eqx.filter_grad(
        lambda m: jnp.sum(ssm.log_prob(m, ys, lengths=lengths, schedule=schedule))
    )(model)
    close(slope(LANES), slope("sequential"), 1e-12)


def level(noise: float) -> ssm.LinearGaussian:
    """A level that moves by `noise`: its variance takes about 1 / √noise steps to rest, or 1 / t for ever if none."""
    one = np.eye(1)
    return ssm.LinearGaussian(np.zeros(1), one, one, noise * one, one, one)


@pytest.mark.usefixtures("float64")
def test_what_does_not_rest_in_time_is_walked_in_order() -> None:
    ys = np.random.default_rng(1).normal(size=(130, 1))
    for model in (level(0.0), level(1e-3)):
        assert not holds(model, ys, LANES)
        found, truth = (ssm.filter(model, ys, schedule=each).log_evidence for each in (LANES, "sequential"))
        np.testing.assert_array_equal(found, truth)
    assert holds(level(1.0), ys, LANES)


@pytest.mark.usefixtures("float64")
def test_a_walk_back_that_does_not_rest_before_the_head() -> None:
    """The adjoint rests in some 30 steps, of which 12 come after the head."""
    model, ys = level(0.3), jnp.asarray(np.random.default_rng(1).normal(size=(60, 1)))
    close(*(slopes(model, ys, None, each) for each in (LANES, Sequential())), tolerance=1e-10)
    assert holds(model, ys, LANES)


@pytest.mark.usefixtures("float64")
def test_the_tolerance_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # A variance that still moves by one epsilon in 10³ when it is taken to rest.
    monkeypatch.setattr("ssm.recursions.gaussian.steady.riccati.REST", 1e-4 / np.finfo(float).eps)
    model, ys = level(1e-2), np.random.default_rng(1).normal(size=(400, 1))
    truth = ssm.filter(model, ys, schedule="sequential").filtered.covariance
    assert not holds(model, ys, SideBySide(tol=1e-4))
    assert holds(model, ys, SideBySide(tol=1e-3))
    found = ssm.filter(model, ys, schedule=SideBySide(tol=1e-3)).filtered.covariance
    error = float(jnp.max(jnp.abs(found / truth - 1)))
    assert 1e-5 < error < 1e-3


@pytest.mark.usefixtures("float64")
def test_states_that_become_certain_are_smoothed_in_order() -> None:
    """An ARMA(1, 1): its kernels back grow what rounding leaves, by four in a step."""
    transition, noise = np.array([[0.7, 1.0], [0.0, 0.0]]), np.array([[1.0], [0.5]])
    model = ssm.LinearGaussian(np.zeros(2), np.eye(2), transition, noise @ noise.T, np.eye(1, 2), np.zeros((1, 1)))
    ys = np.random.default_rng(3).normal(size=(90, 1))
    found, truth = (ssm.smooth(model, ys, schedule=each).smoothed for each in (LANES, "sequential"))
    np.testing.assert_allclose(found.mean, truth.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.covariance, truth.covariance, rtol=0, atol=1e-12)


def test_certain_observations_are_walked_in_order() -> None:
    exact = ssm.LinearGaussian(
        np.zeros(2), np.eye(2), 0.5 * np.eye(2), np.diag([1.0, 0.0]), np.eye(2), np.zeros((2, 2))
    )
    ys = np.zeros((60, 2))
    ys[:, 0] = np.random.default_rng(2).normal(size=60)
    assert not holds(exact, ys, LANES)
    found, truth = (ssm.log_prob(exact, ys, schedule=each) for each in (LANES, "sequential"))
    np.testing.assert_array_equal(found, truth)
    ys[50, 1] = 1.0  # a state without noise is elsewhere
    assert ssm.log_prob(exact, ys, schedule=LANES) == -jnp.inf


def test_a_nan_that_is_no_mask_poisons_the_evidence_and_a_short_mask_goes_in_order() -> None:
    model = member("plain")
    ys = drawn(model, 130)[0].astype(jnp.float32)
    broken = ys.at[100, 1].set(jnp.nan)
    evidence = jax.jit(lambda ys: ssm.filter(model, ys, missing=False, schedule=LANES).log_evidence)(broken)
    assert jnp.all(jnp.isfinite(evidence[:100])) and jnp.all(jnp.isnan(evidence[100:]))
    masked = ssm.log_prob(model, broken, schedule="side_by_side")
    np.testing.assert_array_equal(masked, ssm.log_prob(model, broken, schedule="sequential"))


def test_it_is_what_auto_takes_for_long_sequences() -> None:
    assert isinstance(resolve("auto", member("plain"), (300,)), SideBySide)
    assert isinstance(resolve("auto", member("inputs"), (30, 10)), SideBySide)
    assert isinstance(resolve("auto", member("plain"), (20,)), Sequential)
    assert isinstance(resolve("auto", member("in-time"), (300,)), Sequential)
    with pytest.raises(TypeError, match="LinearGaussian does not support SideBySide"):
        one = np.eye(1)
        diffuse = ssm.LinearGaussian(np.zeros(1), one, one, one, one, one, diffuse=np.array([True]))
        ssm.log_prob(diffuse, np.zeros((3, 1)), schedule="side_by_side")
