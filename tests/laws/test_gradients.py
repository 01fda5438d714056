"""Laws 7, 9 and 12: derivatives of the evidence, and its error in float32."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import zoo
from jax.flatten_util import ravel_pytree
from zoo import Member

import ssm
from ssm.numeric.roots import triangular_root
from ssm.parameters.freezing import trainable

pytestmark = pytest.mark.usefixtures("float64")

TOTAL = 5
# Central differences with a step of 1e-5 err by about 1e-10 (curvature) plus 1e-16 / 1e-5 (rounding), each
# times the size of the evidence and of its third derivative, at most a few hundred here.
DIFFERENCES = {"rtol": 1e-6, "atol": 1e-7}
# Two exact ways to the same derivative.
EXACT = {"rtol": 1e-8, "atol": 1e-9}


def setting(member: Member, seed: int = 0, total: int = TOTAL) -> tuple[Any, Any, Any, dict]:
    """Model, observations, inputs, and the key where one is needed."""
    model, rng = member.model(seed), np.random.default_rng(seed)
    key = jax.random.key(seed) if model.is_stochastic else None
    return model, zoo.observations(model, rng, total), zoo.inputs(model, rng, total), {"key": key}


def flat_evidence(model: Any, ys: Any, us: Any, **options: Any) -> tuple[jax.Array, Callable]:
    """All parameters that can be learnt as one vector, and the evidence as a function of it."""
    free, given = eqx.partition(model, trainable(model))
    flat, unravel = ravel_pytree(free)
    return flat, lambda vector: ssm.log_prob(eqx.combine(unravel(vector), given), ys, us, **options)


def gradient_and_slope(evidence: Callable, at: jax.Array, step: float = 1e-5) -> tuple[jax.Array, jax.Array]:
    """The gradient and central differences, compiled together."""

    @jax.jit
    def both(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        moves = step * jnp.eye(at.size)
        around = jax.lax.map(evidence, jnp.concatenate([at + moves, at - moves]))
        return jax.grad(evidence)(at), (around[: at.size] - around[at.size :]) / (2 * step)

    return both(at)


# Draws that choose (resampling, discrete states) make the evidence of particles discontinuous in the parameters.
SMOOTH = zoo.dear(lambda member: member.name != "ParticleFilter")


@pytest.mark.parametrize("member", SMOOTH)
def test_9_gradient_is_the_slope(member: Member) -> None:
    model, ys, us, drawing = setting(member)
    mask = member.mask(TOTAL, 2)
    flat, evidence = flat_evidence(model, ys, us, mask=mask, **drawing)
    gradient, slope = gradient_and_slope(evidence, flat)
    np.testing.assert_allclose(gradient, slope, **DIFFERENCES)
    assert np.abs(slope).max() > 1e-2  # there was something to compare


@pytest.mark.parametrize("member", zoo.dear(lambda member: not member.is_symbolic and member.name != "ParticleFilter"))
def test_9_gradient_by_the_data_is_the_slope(member: Member) -> None:
    model, ys, us, drawing = setting(member)
    data, unravel = ravel_pytree((jnp.asarray(ys), us))
    mask = member.mask(TOTAL, 2)
    evidence = lambda vector: ssm.log_prob(model, *unravel(vector), mask=mask, **drawing)
    gradient, slope = gradient_and_slope(evidence, data)
    np.testing.assert_allclose(gradient, slope, **DIFFERENCES)
    missing = np.zeros(ys.shape, bool)
    missing[~mask] = True
    assert (gradient[: ys.size][missing.ravel()] == 0).all()


# Of a linear-Gaussian model only where noises are regular and nothing varies in time; elsewhere it has no Q.
HAS_Q = {"LinearGaussian-plain", "LinearGaussian-inputs"}


@pytest.mark.parametrize("member", [*zoo.dear(lambda member: member.is_markov), *zoo.slow(HAS_Q)])
def test_9_gradient_is_that_of_expected_statistics(member: Member) -> None:
    model, ys, us, _ = setting(member, total=TOTAL)
    statistics = ssm.expected_statistics(model, ys, us)
    by_identity, _ = ravel_pytree(eqx.filter_grad(lambda m: ssm.Q(m, statistics, ys, us))(model))
    gradient, _ = ravel_pytree(eqx.filter_grad(lambda m: ssm.log_prob(m, ys, us))(model))
    np.testing.assert_allclose(gradient, by_identity, **EXACT)


@pytest.mark.parametrize("member", zoo.dear(lambda member: member.is_markov and member.name != "HMM-banded"))
def test_9_gradient_is_that_of_the_plain_forward_algorithm(member: Member) -> None:
    model, ys, us, _ = setting(member)

    def plain(model: Any) -> jax.Array:
        table = model.emission.log_likelihoods(jnp.asarray(ys), None)
        return oracles.plain_forward(model.initial, model.transition, table)

    expected, _ = ravel_pytree(eqx.filter_jit(eqx.filter_grad(plain))(model))
    gradient, _ = ravel_pytree(eqx.filter_grad(lambda m: ssm.log_prob(m, ys))(model))
    np.testing.assert_allclose(gradient, expected, **EXACT)


@pytest.mark.parametrize("member", zoo.dear(lambda member: member.is_gaussian))
def test_9_gradient_is_that_of_the_plain_kalman_filter(member: Member) -> None:
    model, ys, us, _ = setting(member)
    plain = lambda m: oracles.plain_kalman(oracles.system_of(m, us, TOTAL, jnp), jnp.asarray(ys))
    expected, _ = ravel_pytree(eqx.filter_jit(eqx.filter_grad(plain))(model))
    gradient, _ = ravel_pytree(eqx.filter_grad(lambda m: ssm.log_prob(m, ys, us))(model))
    # The covariance form subtracts, and loses as many digits as the condition of its innovations.
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "name",
    [
        "HMM-categorical",
        pytest.param("LinearGaussian-plain", marks=pytest.mark.slow),
        pytest.param("HMM-normal-vector", marks=pytest.mark.slow),
        pytest.param("HMM-banded", marks=pytest.mark.slow),
        pytest.param("RNN-inputs", marks=pytest.mark.slow),
    ],
)
def test_9_hessian_is_the_slope_of_the_gradient(name: str) -> None:
    model, ys, us, _ = setting(next(member for member in zoo.MEMBERS if member.name == name))
    flat, evidence = flat_evidence(model, ys, us)
    hessian = jax.jit(jax.jacrev(jax.grad(evidence)))(flat)
    slope = oracles.central_differences(jax.jit(jax.grad(evidence)), flat)
    np.testing.assert_allclose(hessian, slope, **DIFFERENCES)
    np.testing.assert_allclose(hessian, hessian.T, **EXACT)


@pytest.mark.parametrize(
    "schedule", [ssm.schedules.Associative(), ssm.schedules.Blocked(2), ssm.schedules.FixedPoint()]
)
@pytest.mark.parametrize(
    "name", ["HMM-normal-scalar", pytest.param("LinearGaussian-plain", marks=pytest.mark.slow), "RNN-inputs"]
)
def test_9_gradient_is_the_same_under_every_schedule(name: str, schedule: Any) -> None:
    member = next(member for member in zoo.MEMBERS if member.name == name)
    if type(schedule) not in map(type, member.schedules):
        with pytest.raises(TypeError, match="does not support"):
            ssm.log_prob(*setting(member)[:3], schedule=schedule)
        return
    model, ys, us, _ = setting(member)
    one, two = (
        ravel_pytree(eqx.filter_grad(lambda m: ssm.log_prob(m, ys, us, schedule=each))(model))[0]
        for each in (ssm.schedules.Sequential(), schedule)
    )
    np.testing.assert_allclose(two, one, **EXACT)


# Single components may be missing where there are any: those who know them know whole steps, asked with --slow.
MASKED = [
    pytest.param(
        member,
        components,
        id=f"{member.name}-{'components' if components else 'steps'}",
        marks=zoo.marks(member) or ([] if components != member.is_symbolic else [pytest.mark.slow]),
    )
    for member in zoo.MEMBERS
    if member.gaps
    for components in (False, True)
]


@pytest.mark.parametrize("member, components", MASKED)
def test_7_a_masked_value_touches_nothing(member: Member, components: bool) -> None:
    model, ys, us, drawing = setting(member)
    if components and not model.event_shape:
        assert ys.ndim == 1  # one number a step: whole steps are all there is to miss
        return
    mask = np.ones(ys.shape if components else TOTAL, bool)
    mask.reshape(TOTAL, -1)[[0, 2, 4], 0] = False
    hidden = np.broadcast_to(mask.reshape(mask.shape + (1,) * (ys.ndim - mask.ndim)), ys.shape)
    worst = np.nan if model.event_kind == "real" else 10**6
    other = np.where(hidden, ys, worst)
    value = jax.jit(lambda model, ys: ssm.log_prob(model, ys, us, mask=mask, **drawing))
    value_and_gradient = eqx.filter_jit(eqx.filter_value_and_grad(value))
    expected, slope = value_and_gradient(model, jnp.asarray(ys))
    answer, gradient = value_and_gradient(model, jnp.asarray(other))
    assert np.isfinite(expected)
    np.testing.assert_array_equal(answer, expected)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(slope), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()


@pytest.mark.parametrize("member", zoo.dear(lambda member: member.gaps and not member.is_symbolic))
def test_7_nan_is_a_mask_under_jit_too_and_poisons_where_nothing_is_missing(member: Member) -> None:
    model, ys, us, drawing = setting(member)
    ys[2] = np.nan
    expected = ssm.log_prob(model, ys, us, mask=np.arange(TOTAL) != 2, **drawing)
    np.testing.assert_array_equal(ssm.log_prob(model, ys, us, **drawing), expected)
    traced = lambda **said: jax.jit(lambda ys: ssm.log_prob(model, ys, us, **drawing, **said))(ys)
    np.testing.assert_allclose(traced(), expected, rtol=1e-12)  # another program, rounded in another order
    assert np.isnan(traced(missing=False))


def bound(log_evidence: np.ndarray) -> float:
    """How far a float32 evidence may be off.

    Each increment is a handful of roundings of numbers as large as itself, or as one, whichever is larger; the
    filter forgets, so that a belief carries the errors of the last few steps only, not of all. Errors of both
    signs mostly cancel in the sum, but this bound does not count on it: 16 roundings of 2**-24 a step.
    """
    return 16 * 2.0**-24 * float(np.sum(np.maximum(1, np.abs(log_evidence))))


@pytest.mark.parametrize("total", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "member",
    zoo.dear(
        lambda member: (
            (member.is_markov or member.is_gaussian or member.name.startswith("RNN")) and "in-time" not in member.name
        )
    ),
)
def test_12_float32_is_within_its_bound(member: Member, total: int) -> None:
    model, ys, us, _ = setting(member, total=total)
    ys = np.asarray(ssm.simulate(model, jax.random.key(0), total, us)[1])
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), model)
    # Both from the same rounded numbers, so that only the arithmetic differs.
    double = jax.tree.map(lambda leaf: leaf.astype(np.float64), single)
    narrow = lambda array: array.astype(np.float32) if array is not None and array.dtype == float else array
    ys, us = narrow(ys), narrow(us)
    truth = ssm.filter(double, ys, us)
    answer = ssm.filter(single, ys, us)
    assert answer.log_evidence.dtype == np.float32
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(answer.filtered) if leaf.dtype.kind == "f")
    off = float(np.sum(np.asarray(answer.log_evidence, float))) - float(truth.log_prob)
    assert abs(off) < bound(np.asarray(truth.log_evidence))


def test_the_slope_of_a_covariance_where_variances_begin() -> None:
    # Rows without variance, first and between, and one that the rows above explain.
    random = np.random.default_rng(0)
    matrix, change = random.normal(size=(2, 5, 7))
    matrix[[0, 2]] = 0
    matrix[4] = 2 * matrix[1] - matrix[3]
    root, slope = jax.jvp(triangular_root, (jnp.asarray(matrix),), (jnp.asarray(change),))
    np.testing.assert_allclose(root @ root.T, matrix @ matrix.T, atol=1e-14)  # rounding of numbers of size 10
    found, truth = root @ slope.T, matrix @ change.T
    np.testing.assert_allclose(found + found.T, truth + truth.T, atol=1e-13)
