"""Transitions as linear operators, and the chains that they move against all paths."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import ssm
from ssm.emissions import Categorical, Normal
from ssm.parameters import constrain
from ssm.transitions import AbstractTransition, Driven, Homogeneous, LowRank, Sparse, TimeVarying

pytestmark = pytest.mark.usefixtures("float64")

STATES, TOTAL, INPUTS = 3, 5, 2
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # float64, the same sums in another order


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random probabilities along the last axis."""
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def banded(rng: np.random.Generator) -> np.ndarray:
    """A left-to-right matrix."""
    stay = rng.uniform(0.2, 0.8, STATES)
    return np.diag(stay) + np.roll(np.diag(1 - stay), 1, axis=1)


def driven(rng: np.random.Generator) -> Driven:
    return Driven(banded(rng), rng.normal(size=(STATES, STATES, INPUTS)))


def sparse(rng: np.random.Generator) -> Sparse:
    return Sparse(np.array([[0, 1], [2, 1], [0, 2]]), rows(rng, STATES, 2))


KINDS: dict[str, Callable[[np.random.Generator], AbstractTransition]] = {
    "homogeneous": lambda rng: Homogeneous(rows(rng, STATES, STATES)),
    "banded": lambda rng: Homogeneous(banded(rng)),
    "sticky": lambda rng: Homogeneous(rows(rng, STATES, STATES), pseudo_counts=2 * np.eye(STATES)),
    "time-varying": lambda rng: TimeVarying(rows(rng, TOTAL + 2, STATES, STATES)),
    "driven": driven,
    "low-rank": lambda rng: LowRank(rows(rng, STATES, 2), rows(rng, 2, STATES)),
    "sparse": sparse,
}


def chain(kind: str, rng: np.random.Generator, initial: Any = None) -> ssm.HMM:
    return ssm.HMM(
        rows(rng, STATES) if initial is None else initial, KINDS[kind](rng), Categorical(rows(rng, STATES, 4))
    )


def inputs(model: ssm.HMM, rng: np.random.Generator, *lead: int) -> np.ndarray | None:
    return rng.normal(size=(*lead, INPUTS)) if model.num_inputs else None


def matrices(transition: AbstractTransition, us: np.ndarray | None, total: int) -> np.ndarray:
    """A_1 .. A_T, dense."""
    plain = constrain(transition)
    known = plain.prepare(None if us is None else jnp.asarray(us), jnp.arange(total))
    return np.stack([plain.matrix(jax.tree.map(lambda leaf, t=t: leaf[t], known)) for t in range(total)])


def except_slow(*slow: str) -> list[Any]:
    """The kinds; those whose code the laws of the zoo or another kind ask as well wait for --slow."""
    return [pytest.param(kind, marks=[pytest.mark.slow] if kind in slow else []) for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_an_operator_is_its_matrix(kind: str) -> None:
    rng = np.random.default_rng(0)
    transition = constrain(KINDS[kind](rng))
    us = transition.prepare(jnp.asarray(rng.normal(size=(TOTAL, INPUTS))), jnp.arange(TOTAL))
    u = jax.tree.map(lambda leaf: leaf[2], us)
    matrix, vector = np.asarray(transition.matrix(u)), jnp.asarray(rng.uniform(size=STATES))
    np.testing.assert_allclose(matrix.sum(1), 1, **CLOSE)
    np.testing.assert_allclose(transition.push(vector, u), vector @ matrix, **CLOSE)
    np.testing.assert_allclose(transition.pull(vector, u), matrix @ vector, **CLOSE)
    np.testing.assert_allclose(transition.row(jnp.asarray(1), u), matrix[1], **CLOSE)
    np.testing.assert_allclose(transition.column(jnp.asarray(1), u), matrix[:, 1], **CLOSE)
    with np.errstate(divide="ignore"):
        best = np.max(np.asarray(vector)[:, None] + np.log(matrix), axis=0)
    np.testing.assert_allclose(transition.best(vector, u), best, **CLOSE)


@pytest.mark.parametrize("kind", except_slow("homogeneous", "sticky"))
def test_a_chain_is_all_its_paths(kind: str) -> None:
    rng = np.random.default_rng(1)
    model = chain(kind, rng)
    us, ys, mask = inputs(model, rng, TOTAL), rng.integers(0, 4, TOTAL), np.array([1, 1, 0, 1, 1], bool)
    table = np.where(mask[:, None], np.log(np.asarray(model.emission.probs)[:, ys].T), 0)
    truth = oracles.enumerate_paths(np.asarray(model.initial), matrices(model.dynamics, us, TOTAL), table)

    @eqx.filter_jit
    def answers(model: ssm.HMM) -> tuple:
        read = {"inputs": us, "mask": mask}
        smoothed = [ssm.smooth(model, ys, **read, schedule=each).smoothed.probs for each in ("auto", "associative")]
        counts = ssm.expected_statistics(model, ys, **read).transitions
        return ssm.filter(model, ys, **read), smoothed, ssm.decode(model, ys, **read), counts

    filtered, smoothed, (path, score), counts = answers(model)
    np.testing.assert_allclose(filtered.log_evidence, truth.log_evidence, **CLOSE)
    np.testing.assert_allclose(filtered.predicted.probs, truth.predicted, **CLOSE)
    for probs in smoothed:
        np.testing.assert_allclose(probs, truth.smoothed, **CLOSE)
    np.testing.assert_array_equal(path, truth.path)
    np.testing.assert_allclose(score, truth.path_log_prob, **CLOSE)
    if kind in ("homogeneous", "banded", "sticky"):
        np.testing.assert_allclose(counts, truth.transitions, **CLOSE)
    if kind == "sparse":
        np.testing.assert_allclose(
            counts, np.take_along_axis(truth.transitions, np.asarray(model.dynamics.successors), 1)
        )


@pytest.mark.parametrize("kind", except_slow("homogeneous", "sticky"))
def test_the_gradient_is_that_of_differences(kind: str) -> None:
    rng = np.random.default_rng(2)
    model = chain(kind, rng)
    us, ys = inputs(model, rng, TOTAL), jnp.asarray(rng.integers(0, 4, TOTAL))
    free, fixed = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(free)
    value = lambda vector: ssm.log_prob(eqx.combine(unravel(vector), fixed), ys, us)

    @jax.jit
    def both(flat: Any) -> tuple:
        # Logits of hard zeros are the constant -1e9, where a difference of 1e-6 is lost: their derivative is zero.
        moved = jax.lax.map(lambda step: value(flat + step) - value(flat - step), 1e-6 * jnp.eye(len(flat)))
        return jax.grad(value)(flat), moved

    answer, moved = both(flat)
    # Central differences of a smooth function of size 10 at 1e-6: rounding leaves about 1e-9.
    np.testing.assert_allclose(answer, np.array(moved) / 2e-6, atol=1e-8)


def test_memory_of_an_input_driven_gradient_is_not_quadratic() -> None:
    size, total = 24, 400
    rng = np.random.default_rng(3)
    transition = Driven(rows(rng, size, size), rng.normal(size=(size, size, 1)))
    model = ssm.HMM(np.ones(size) / size, transition, Normal(np.arange(size, dtype=float), np.ones(size)))
    ys, us = jnp.asarray(rng.normal(size=total)), jnp.asarray(rng.normal(size=(total, 1)))
    gradient = jax.jit(jax.grad(lambda model: ssm.log_prob(model, ys, us)))
    used = gradient.lower(model).compile().memory_analysis().temp_size_in_bytes
    assert used < 8 * total * size * size / 2  # half of one (T, K, K) array of float64


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("kind", except_slow("homogeneous", "banded", "low-rank"))
def test_em_is_monotone(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = chain(kind, rng)
    ys, mask = rng.integers(0, 4, (2, TOTAL)), rng.uniform(size=(2, TOTAL)) < 0.8
    mask[:, 0] = True
    fit = ssm.fit(model, ys, ssm.EM(6, tol=0), inputs(model, rng, 2, TOTAL), mask=mask)
    assert (np.diff(np.append(fit.start_log_prob, fit.log_probs)) > -1e-9).all()
    assert fit.log_probs[-1] > fit.start_log_prob
    possible = np.asarray(model.dynamics.matrix(*stand_in(kind))) > 0
    assert (np.asarray(fit.model.dynamics.matrix(*stand_in(kind)))[~possible] == 0).all()


def stand_in(kind: str) -> tuple:
    """An argument for `matrix` where it needs one."""
    return (jnp.asarray(1),) if kind == "time-varying" else ()


def test_a_stationary_start_is_left_as_it_is_and_fits_as_by_gradient() -> None:
    rng = np.random.default_rng(4)
    model = chain("homogeneous", rng, "stationary")
    np.testing.assert_allclose(model.initial @ model.transition, model.initial, **CLOSE)
    ys = rng.integers(0, 4, 40)
    log_evidence = ssm.log_prob(model, ys)
    explicit = ssm.HMM(model.initial, model.transition, model.emission)
    np.testing.assert_allclose(log_evidence, ssm.log_prob(explicit, ys), **CLOSE)
    fit = ssm.fit(model, ys, ssm.EM(400, tol=0))
    assert (np.diff(fit.log_probs) > -1e-9).all()
    np.testing.assert_allclose(fit.model.initial @ fit.model.transition, fit.model.initial, **CLOSE)
    slope = jax.grad(lambda model: ssm.log_prob(model, jnp.asarray(ys)))(fit.model)
    # An optimum on the border of the simplex is approached, not reached: EM halves what is left ever more slowly.
    np.testing.assert_allclose(slope.dynamics._probs.logits, 0, atol=1e-2)


def test_a_sticky_prior_makes_states_last() -> None:
    rng = np.random.default_rng(5)
    ys = rng.integers(0, 4, 30)
    free = chain("homogeneous", rng)
    sticky = ssm.HMM(free.initial, Homogeneous(free.transition, 50 * np.eye(STATES)), free.emission)
    stays = [np.diagonal(ssm.fit(model, ys, ssm.EM(20)).model.transition).min() for model in (free, sticky)]
    assert stays[1] > 0.8 > stays[0]
    by_gradient = ssm.fit(sticky, ys, ssm.SGD(num_epochs=300)).model.transition
    assert np.diagonal(by_gradient).min() > 0.8
    np.testing.assert_array_equal(sticky.dynamics.pseudo_counts, 50 * np.eye(STATES))


BAD = {
    "stationary": (lambda: ssm.HMM("stationary", TimeVarying(np.ones((4, 2, 2)) / 2), two()), TypeError, "stationary"),
    "start": (lambda: ssm.HMM("static", np.eye(2), two()), ValueError, "stationary"),
    "states": (lambda: ssm.HMM([0.5, 0.5], Homogeneous(np.eye(3)), two()), ValueError, "K = 2"),
    "twice": (lambda: Sparse([[0, 0], [0, 1]], np.ones((2, 2)) / 2), ValueError, "twice"),
    "range": (lambda: Sparse([[0, 2], [0, 1]], np.ones((2, 2)) / 2), ValueError, "0 .. 1"),
    "impossible prior": (lambda: Homogeneous(np.eye(2), np.ones((2, 2))), ValueError, "pseudo_counts"),
    "negative prior": (lambda: Homogeneous(np.ones((2, 2)) / 2, -np.ones((2, 2))), ValueError, "pseudo_counts"),
    "ranks": (lambda: LowRank(np.ones((3, 2)) / 2, np.ones((3, 2)) / 2), ValueError, "enter"),
    "weights": (lambda: Driven(np.eye(2), np.zeros((2, 3, 1))), ValueError, "weights"),
    "inputs": (lambda: ssm.log_prob(moved_by(Driven(np.eye(2), np.zeros((2, 2, 1)))), [0, 1]), ValueError, "inputs"),
    "steps": (lambda: ssm.log_prob(moved_by(TimeVarying(np.ones((2, 2, 2)) / 2)), [0, 1, 0]), ValueError, "cover"),
}  # fmt: skip


def two() -> Categorical:
    return Categorical(np.ones((2, 3)) / 3)


def moved_by(transition: AbstractTransition) -> ssm.HMM:
    return ssm.HMM([0.5, 0.5], transition, two())


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_named(name: str) -> None:
    make, error, words = BAD[name]
    with pytest.raises(error, match=words):
        make()
