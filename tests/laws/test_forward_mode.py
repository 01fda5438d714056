"""Derivatives forwards: of members with a gradient of their own they are those backwards, to any order."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax.flatten_util import ravel_pytree
from test_gradients import DIFFERENCES, EXACT, flat_evidence, setting
from zoo import Member

import ssm
from ssm.parameters.freezing import trainable

pytestmark = pytest.mark.usefixtures("float64")

STEP = 1e-5


# Of those that do not draw.
@pytest.mark.parametrize("member", zoo.dear(lambda member: member.name not in {"ParticleFilter", "VRNN"}))
def test_forwards_is_backwards_is_the_slope(member: Member) -> None:
    model, ys, us, drawing = setting(member)
    flat, evidence = flat_evidence(model, ys, us, mask=member.mask(len(ys), 2), **drawing)
    direction = jnp.asarray(np.random.default_rng(1).normal(size=flat.size))

    @jax.jit
    def all_of(at: jax.Array) -> tuple[Any, ...]:
        value, along = jax.jvp(evidence, (at,), (direction,))
        around = jax.lax.map(evidence, jnp.stack([at + STEP * direction, at - STEP * direction, at]))
        return jax.jacfwd(evidence)(at), jax.grad(evidence)(at), value, along, around

    forwards, backwards, value, along, around = all_of(flat)
    np.testing.assert_allclose(forwards, backwards, **EXACT)
    np.testing.assert_allclose(along, backwards @ direction, rtol=1e-8)
    np.testing.assert_allclose(along, (around[0] - around[1]) / (2 * STEP), **DIFFERENCES)
    np.testing.assert_allclose(value, around[2], rtol=1e-12)


CASES = {
    "one": ("HMM-categorical", (6,), "auto"),
    "a batch": ("HMM-categorical", (3, 5), "auto"),
    "a batch in lanes": ("HMM-categorical", (8, 5), "auto"),
    "one in lanes": ("HMM-categorical", (40,), "side_by_side"),
    "Kalman": ("LinearGaussian-plain", (5,), "auto"),
    "Kalman, a batch": ("LinearGaussian-plain", (3, 5), "auto"),
    "Kalman in lanes": ("LinearGaussian-plain", (40,), "side_by_side"),
}
SLOW = {"Kalman", "Kalman, a batch", "Kalman in lanes", "one in lanes"}


def weighted(case: str) -> tuple[jax.Array, Any]:
    """A vector of parameters, and the evidence, a sum over the batch with weights."""
    name, shape, schedule = CASES[case]
    model = next(member for member in zoo.MEMBERS if member.name == name).model(0)
    rng = np.random.default_rng(0)
    ys, weights = zoo.observations(model, rng, *shape), rng.normal(size=shape[:-1])
    free, given = eqx.partition(model, trainable(model))
    flat, unravel = ravel_pytree(free)
    evidence = lambda v: jnp.sum(weights * ssm.log_prob(eqx.combine(unravel(v), given), ys, schedule=schedule))
    return flat, evidence


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] * (c in SLOW)) for c in CASES])
def test_a_batch_of_any_schedule_has_the_same_derivatives(case: str) -> None:
    flat, evidence = weighted(case)
    forwards, backwards = jax.jit(lambda at: (jax.jacfwd(evidence)(at), jax.jacrev(evidence)(at)))(flat)
    np.testing.assert_allclose(forwards, backwards, **EXACT)
    assert np.abs(forwards).max() > 1e-2


ORDERS = {
    "jacrev(grad)": lambda f: jax.jacrev(jax.grad(f)),
    "jacrev(jacfwd)": lambda f: jax.jacrev(jax.jacfwd(f)),
    "jacfwd(jacfwd)": lambda f: jax.jacfwd(jax.jacfwd(f)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["one", "a batch in lanes", "Kalman"])
@pytest.mark.parametrize("order", ORDERS)
def test_second_derivatives_in_any_order_are_one(order: str, case: str) -> None:
    flat, evidence = weighted(case)
    hessian, other = jax.jit(lambda at: (jax.hessian(evidence)(at), ORDERS[order](evidence)(at)))(flat)
    np.testing.assert_allclose(other, hessian, **EXACT)


def test_linearised_and_mapped() -> None:
    """Over models, over data, and over both; a linear approximation is the derivative."""
    flat, evidence = weighted("one")
    several = jnp.stack([flat, flat + 0.1])
    found = jax.jit(jax.vmap(jax.jacfwd(evidence)))(several)
    expected = jax.jit(jax.vmap(jax.grad(evidence)))(several)
    np.testing.assert_allclose(found, expected, **EXACT)
    value, along = jax.linearize(evidence, flat)
    np.testing.assert_allclose(jax.vmap(along)(jnp.eye(flat.size)), expected[0], **EXACT)
    np.testing.assert_allclose(value, evidence(flat), rtol=1e-12)


def test_by_the_data_forwards() -> None:
    model, ys = zoo.MEMBERS[1].model(0), jnp.asarray(np.random.default_rng(0).normal(size=(2, 5)))
    evidence = lambda ys: ssm.log_prob(model, ys)
    forwards, backwards = jax.jit(lambda ys: (jax.jacfwd(evidence)(ys), jax.jacrev(evidence)(ys)))(ys)
    np.testing.assert_allclose(forwards, backwards, **EXACT)
    assert (np.abs(forwards[0, 0]) > 0).all() and (forwards[0, 1] == 0).all()  # each is of its own data alone
