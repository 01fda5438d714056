"""Emissions that read inputs: against SciPy, all paths enumerated, differences, and every nearby alternative."""

from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import ssm
from ssm.emissions import (
    CategoricalRegression,
    Distribution,
    LinearRegression,
    LogisticRegression,
    MultivariateLinearRegression,
    PoissonRegression,
)
from ssm.parameters import constrain

pytestmark = pytest.mark.usefixtures("float64")

TOTAL, STATES, INPUTS = 12, 2, 2
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # float64, the same formula written twice
DIFFERENCES = {"rtol": 1e-6, "atol": 1e-7}  # central differences of numbers of order ten, with steps of 1e-5


class Case(NamedTuple):
    """An emission, data of its kind, and log p(y_n | k, u) (T, K, N) by SciPy; N = 1 for what has no components."""

    emission: Any
    ys: np.ndarray
    us: np.ndarray
    table: np.ndarray


def coefficients(rng: np.random.Generator, *event: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(STATES, *event, INPUTS)), rng.normal(size=(STATES, *event))


def predictor(emission: Any, us: np.ndarray) -> np.ndarray:
    return np.einsum("k...u,tu->tk...", emission.weights, us) + np.asarray(emission.bias)


def linear(rng: np.random.Generator, us: np.ndarray, *event: int) -> Case:
    emission = LinearRegression(*coefficients(rng, *event), rng.uniform(0.5, 2, (STATES, *event)))
    ys = rng.normal(size=(TOTAL, *event))
    table = scipy.stats.norm.logpdf(ys[:, None], predictor(emission, us), emission.scale)
    return Case(emission, ys, us, table.reshape(TOTAL, STATES, -1))


def multivariate(rng: np.random.Generator, us: np.ndarray) -> Case:
    root = rng.normal(size=(STATES, 3, 3))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.2 * np.eye(3)
    emission = MultivariateLinearRegression(*coefficients(rng, 3), covariance)
    ys, expected = rng.normal(size=(TOTAL, 3)), predictor(emission, us)
    density = lambda t, k: scipy.stats.multivariate_normal(expected[t, k], covariance[k]).logpdf(ys[t])
    return Case(emission, ys, us, np.array([[[density(t, k)] for k in range(STATES)] for t in range(TOTAL)]))


def logistic(rng: np.random.Generator, us: np.ndarray) -> Case:
    emission = LogisticRegression(*coefficients(rng, 3))
    ys = rng.integers(0, 2, (TOTAL, 3)).astype(float)
    probs = scipy.special.expit(predictor(emission, us))
    return Case(emission, ys, us, scipy.stats.bernoulli.logpmf(ys[:, None], probs))


def poisson(rng: np.random.Generator, us: np.ndarray) -> Case:
    emission = PoissonRegression(*coefficients(rng))
    ys = rng.poisson(2, TOTAL).astype(float)
    return Case(emission, ys, us, scipy.stats.poisson.logpmf(ys[:, None], np.exp(predictor(emission, us)))[..., None])


def categorical(rng: np.random.Generator, us: np.ndarray) -> Case:
    emission, ys = CategoricalRegression(*coefficients(rng, 3)), rng.integers(0, 3, TOTAL)
    logits = scipy.special.log_softmax(predictor(emission, us), axis=2)
    return Case(emission, ys, us, logits[np.arange(TOTAL), :, ys][..., None])


def anything(rng: np.random.Generator, us: np.ndarray) -> Case:
    weights, log_scale = rng.normal(size=(STATES, 2, INPUTS)), rng.normal(size=(STATES, 2)) / 2
    emission = Distribution(laplace, {"weights": weights, "log_scale": log_scale}, num_inputs=INPUTS)
    ys, expected = rng.normal(size=(TOTAL, 2)), np.einsum("knu,tu->tkn", weights, us)
    return Case(emission, ys, us, scipy.stats.laplace.logpdf(ys[:, None], expected, np.exp(log_scale)))


def laplace(parameters: Any, u: jax.Array) -> Any:
    return distrax.Laplace(parameters["weights"] @ u, jnp.exp(parameters["log_scale"]))


FAMILIES: dict[str, Callable] = {
    "linear-scalar": linear,
    "linear-vector": lambda rng, us: linear(rng, us, 2),
    "linear-wide": lambda rng, us: linear(rng, us, 9),  # more components than are summed one by one
    "multivariate": multivariate,
    "logistic": logistic,
    "poisson": poisson,
    "categorical": categorical,
    "anything": anything,
}
CLOSED = ["linear-scalar", "linear-vector", "multivariate"]
CONCAVE = ["logistic", "poisson"]


def case(name: str, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    return FAMILIES[name](rng, rng.normal(size=(TOTAL, INPUTS)))


@eqx.filter_jit
def likelihoods(emission: Any, *observations: jax.Array) -> jax.Array:
    return constrain(emission).log_likelihoods(*observations)


@pytest.mark.parametrize("name", FAMILIES)
def test_log_likelihoods_are_scipys(name: str) -> None:
    emission, ys, us, table = case(name, 0)
    answer = likelihoods(emission, jnp.asarray(ys), jnp.asarray(us))
    np.testing.assert_allclose(answer, table.sum(2), **CLOSE)


@pytest.mark.parametrize("name", ["linear-vector", "linear-wide", "logistic", "anything"])
def test_missing_components_are_left_out(name: str) -> None:
    emission, ys, us, table = case(name, 1)
    seen = np.random.default_rng(1).uniform(size=ys.shape) < 0.6
    hidden = jnp.asarray(np.where(seen, ys, 0))
    answer = likelihoods(emission, hidden, jnp.asarray(us), jnp.asarray(seen))
    np.testing.assert_allclose(answer, np.where(seen[:, None], table, 0).sum(2), **CLOSE)


def test_missing_correlated_components_are_integrated_out() -> None:
    emission, ys, us, _ = case("multivariate", 1)
    seen = np.random.default_rng(1).uniform(size=ys.shape) < 0.6
    answer = likelihoods(emission, jnp.asarray(ys), jnp.asarray(us), jnp.asarray(seen))
    expected = predictor(emission, us)
    for t, k in np.ndindex(TOTAL, STATES):
        if seen[t].any():
            covariance = np.asarray(emission.covariance)[k][np.ix_(seen[t], seen[t])]
            truth = scipy.stats.multivariate_normal(expected[t, k][seen[t]], covariance).logpdf(ys[t][seen[t]])
            np.testing.assert_allclose(answer[t, k], truth, **CLOSE)


@pytest.mark.parametrize("name", FAMILIES)
def test_given_and_mixture_are_the_densities(name: str) -> None:
    emission, ys, us, table = case(name, 2)
    probs = np.array([0.3, 0.7])

    @jax.jit
    def densities(y: jax.Array, u: jax.Array) -> tuple:
        plain = constrain(emission)
        each = [plain.given(jnp.asarray(k), u).log_prob(y) for k in range(STATES)]
        return jnp.stack(each), plain.mixture(jnp.asarray(probs), u).log_prob(y)

    each, mixed = densities(jnp.asarray(ys[0]), jnp.asarray(us[0]))
    np.testing.assert_allclose(each, table[0].sum(1), **CLOSE)
    np.testing.assert_allclose(mixed, np.log(np.exp(table[0].sum(1)) @ probs), **CLOSE)


# -- M-steps ---------------------------------------------------------------------------------------------------


def problem(name: str, seed: int, observed: Any = None) -> tuple[Any, Callable, Callable]:
    """A constrained emission, its M-step under `frozen` names, and what the M-step maximises."""
    emission, ys, us, _ = case(name, seed)
    shares = jnp.asarray(np.random.default_rng(seed).uniform(size=(TOTAL, STATES)))
    ys, us = jnp.asarray(ys), jnp.asarray(us)
    maximise = lambda model, frozen=(): model.maximise(shares, ys, us, observed, frozenset(frozen))

    def objective(model: Any) -> jax.Array:
        table = constrain(model).log_likelihoods(ys, us, observed)
        if observed is not None:
            table = jnp.where(jnp.any(observed.reshape(TOTAL, -1), axis=1)[:, None], table, 0)
        return jnp.sum(shares * table)

    return constrain(emission), maximise, objective


@pytest.mark.parametrize("name", CLOSED + CONCAVE)
@pytest.mark.parametrize("missing", ["nothing", "components"])
def test_the_m_step_is_the_maximum(name: str, missing: str) -> None:
    ys = case(name, 3).ys
    seen = jnp.asarray(np.random.default_rng(3).uniform(size=ys.shape) < 0.8)
    observed = None if missing == "nothing" else seen
    if name == "multivariate" and missing == "components":
        observed = seen[:, 0]  # for single components an iteration is needed: see the next test
    emission, maximise, objective = problem(name, 3, observed)
    best = eqx.filter_jit(maximise)(emission)
    flat, unravel = ravel_pytree(best)
    rng, value = np.random.default_rng(4), lambda vector: objective(unravel(vector))
    around = flat + rng.normal(size=(50, flat.size)) * rng.choice([1e-3, 1e-1, 1], (50, 1))
    highest, slope, others = jax.jit(lambda v, more: (value(v), jax.grad(value)(v), jax.vmap(value)(more)))(
        flat, around
    )
    assert highest > objective(emission)
    # Stationary: to rounding for closed forms, to the square root of it where only the value says when to stop.
    np.testing.assert_allclose(slope, 0, atol=1e-8 if name in CLOSED else 1e-6)
    assert (others <= highest + 1e-9).all()


def test_frozen_parameters_stay_and_the_others_are_the_best_beside_them() -> None:
    for name, names in (("linear-vector", ("weights", "bias")), ("poisson", ("weights",))):
        emission, maximise, objective = problem(name, 5)

        @eqx.filter_jit
        def everything(emission: Any) -> tuple:
            best = [maximise(emission, (frozen,)) for frozen in names]
            return objective(emission), best, [eqx.filter_value_and_grad(objective)(each) for each in best]

        before, best, reached = everything(emission)
        for frozen, found, (value, gradient) in zip(names, best, reached, strict=True):
            np.testing.assert_allclose(getattr(found, frozen), getattr(emission, frozen), rtol=0, atol=0)
            for free in {"weights", "bias"} - {frozen}:
                np.testing.assert_allclose(getattr(gradient, free), 0, atol=1e-6)
            assert value > before


@pytest.mark.parametrize("name", ["multivariate", "categorical", "anything"])
def test_an_m_step_without_closed_form_climbs(name: str) -> None:
    ys = case(name, 6).ys
    observed = jnp.asarray(np.random.default_rng(6).uniform(size=ys.shape) < 0.7) if name == "multivariate" else None
    emission, maximise, objective = problem(name, 6, observed)
    improve = eqx.filter_jit(lambda model: (constrain(maximise(model)), objective(model)))
    values = []
    for _ in range(4):
        emission, value = improve(emission)
        values.append(value)
    assert (np.diff(values) > -1e-9).all() and values[1] > values[0] + 1e-3


@pytest.mark.parametrize("name", ["linear-vector", "multivariate", "logistic", "categorical", "anything"])
def test_a_state_without_weight_keeps_its_parameters(name: str) -> None:
    emission, ys, us, _ = case(name, 7)
    shares = jnp.asarray(np.random.default_rng(7).uniform(size=(TOTAL, STATES))).at[:, 1].set(0)
    ys, us, emission = jnp.asarray(ys), jnp.asarray(us), constrain(emission)
    new = constrain(eqx.filter_jit(lambda e: e.maximise(shares, ys, us, None))(emission))
    before, after = emission.log_likelihoods(ys, us), new.log_likelihoods(ys, us)
    np.testing.assert_allclose(after[:, 1], before[:, 1], **CLOSE)
    assert not np.allclose(after[:, 0], before[:, 0])


def test_collinear_inputs_move_only_what_the_data_tell_apart() -> None:
    rng = np.random.default_rng(8)
    u = rng.normal(size=(TOTAL, 1))
    us, ys = jnp.asarray(np.concatenate([u, 2 * u], axis=1)), jnp.asarray(3 * u[:, 0] + 1)
    emission = constrain(LinearRegression(np.zeros((1, 2)), np.zeros(1), np.ones(1), minimum_scale=1e-4))
    new = eqx.filter_jit(lambda e: e.maximise(jnp.ones((TOTAL, 1)), ys, us, None))(emission)
    np.testing.assert_allclose(new.weights @ np.array([1.0, 2.0]), 3, rtol=1e-8)
    np.testing.assert_allclose(new.scale, 1e-4, rtol=1e-6)  # a perfect fit stops at the smallest scale


def test_statistics_of_two_batches_blend_into_those_of_both() -> None:
    for name in ("linear-vector", "multivariate"):
        emission, ys, us, _ = case(name, 9)
        emission, ys, us = constrain(emission), jnp.asarray(ys + 100), jnp.asarray(us)
        shares = jnp.asarray(np.random.default_rng(9).uniform(size=(TOTAL, STATES)))

        @eqx.filter_jit
        def fits(emission: Any, ys: jax.Array, us: jax.Array, shares: jax.Array) -> tuple:
            halves = [emission.sums(shares[part], ys[part], us[part], None) for part in (slice(5), slice(5, None))]
            both = emission.fitted(emission.blend(*halves, jnp.asarray(0.5)))
            return both, emission.maximise(shares, ys, us, None)

        both, whole = fits(emission, ys, us, shares)
        np.testing.assert_allclose(ravel_pytree(both)[0], ravel_pytree(whole)[0], rtol=1e-7, atol=1e-8)


# -- in a chain ------------------------------------------------------------------------------------------------


def chain(emission: Any) -> ssm.HMM:
    return ssm.HMM([0.4, 0.6], [[0.8, 0.2], [0.3, 0.7]], emission)


IN_CHAINS = [
    pytest.param(name, marks=[] if name in {"linear-vector", "categorical"} else [pytest.mark.slow])
    for name in FAMILIES
    if name != "linear-wide"
]


@pytest.mark.parametrize("name", IN_CHAINS)
def test_a_chain_agrees_with_all_paths_and_its_gradient_with_differences(name: str) -> None:
    emission, ys, us, table = case(name, 10)
    total = 5
    ys, us, mask = ys[:total], us[:total], np.array([True, True, False, True, True])
    model = chain(emission)
    table = np.where(mask[:, None], table[:total].sum(2), 0)
    truth = oracles.enumerate_paths(np.asarray(model.initial), np.asarray(model.transition), table)
    flat, unravel = ravel_pytree(model)
    statistics = ssm.expected_statistics(model, ys, us, mask=mask)
    np.testing.assert_allclose(statistics.states, truth.smoothed, **CLOSE)

    @jax.jit
    def everything(vector: jax.Array, more: jax.Array) -> tuple:
        evidence = lambda v: ssm.log_prob(unravel(v), ys, us, mask=mask)
        expected = lambda v: ssm.Q(unravel(v), statistics, ys, us, mask=mask)
        return *jax.value_and_grad(evidence)(vector), jax.grad(expected)(vector), jax.lax.map(evidence, more)

    step = 1e-5
    moves = step * np.eye(flat.size)
    value, gradient, identity, around = everything(flat, jnp.concatenate([flat + moves, flat - moves]))
    np.testing.assert_allclose(value, truth.log_evidence.sum(), **CLOSE)
    np.testing.assert_allclose(gradient, identity, **CLOSE)
    np.testing.assert_allclose(gradient, (around[: flat.size] - around[flat.size :]) / (2 * step), **DIFFERENCES)


def test_a_forecast_reads_future_inputs() -> None:
    emission, ys, us, _ = case("linear-scalar", 11)
    model, future = chain(emission), np.array([[1.0, -2.0], [0.5, 3.0]])
    answer = ssm.forecast(model, ys, 2, us, future)
    belief = np.asarray(ssm.filter(model, ys, us).filtered.probs[-1])
    for t in range(2):
        belief = belief @ np.asarray(model.transition)
        means = predictor(emission, future)[t]
        np.testing.assert_allclose(answer.mean[t], belief @ means, **CLOSE)
        low, high = (side[t] for side in answer.interval(0.8))
        share = lambda y, means=means, belief=belief: belief @ scipy.stats.norm.cdf(y, means, emission.scale)
        np.testing.assert_allclose([share(low), share(high)], [0.1, 0.9], atol=1e-7)
    with pytest.raises(ValueError, match="future_inputs"):
        ssm.forecast(model, ys, 2, us)


@pytest.mark.parametrize("name", ["linear-vector", pytest.param("logistic", marks=pytest.mark.slow)])
@given(seed=st.integers(0, 99))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_em_never_falls(name: str, seed: int) -> None:
    emission, ys, us, _ = case(name, seed)
    mask = np.random.default_rng(seed).uniform(size=ys.shape) < 0.8
    mask[0] = True
    done = ssm.fit(chain(emission), ys, ssm.EM(max_iters=6, tol=0), us, mask=mask, progress=False)
    values = np.append(done.start_log_prob, done.log_probs)
    assert (np.diff(values) > -1e-8).all() and values[-1] > values[0]


def test_em_finds_the_regressions_that_made_the_data() -> None:
    truth = ssm.HMM([0.5, 0.5], [[0.95, 0.05], [0.05, 0.95]], LinearRegression([[2.0], [-1.0]], [0.0, 1.0], [0.3, 0.3]))
    us = np.random.default_rng(0).normal(size=(600, 1))
    _, ys = ssm.simulate(truth, jax.random.key(0), 600, us)
    start = ssm.HMM([0.5, 0.5], [[0.8, 0.2], [0.2, 0.8]], LinearRegression([[1.0], [0.0]], [0.0, 0.0], [1.0, 1.0]))
    found = ssm.fit(start, ys, ssm.EM(max_iters=60), us, progress=False).model
    # Some 300 observations a state: standard errors of about .3 / sqrt(300) = .02, of probabilities about .013.
    np.testing.assert_allclose(found.emission.weights, truth.emission.weights, atol=0.07)
    np.testing.assert_allclose(found.emission.bias, truth.emission.bias, atol=0.07)
    np.testing.assert_allclose(found.emission.scale, truth.emission.scale, atol=0.05)
    np.testing.assert_allclose(found.transition, truth.transition, atol=0.05)


def test_starts_come_from_the_data() -> None:
    key = jax.random.key(0)
    for name in ("linear-vector", "multivariate", "poisson", "categorical", "anything"):
        emission, ys, us, _ = case(name, 12)

        @eqx.filter_jit
        def begin(emission: Any, ys: jax.Array, us: jax.Array) -> tuple:
            new = constrain(constrain(emission).restart(key, ys, us, None))
            return new, new.log_likelihoods(ys, us)

        new, table = begin(emission, jnp.asarray(ys), jnp.asarray(us))
        assert jax.tree.structure(new) == jax.tree.structure(constrain(emission))
        assert np.isfinite(table).all()
    random = lambda family, *sizes: eqx.filter_eval_shape(family.random, key, 3, *sizes)
    assert random(LinearRegression, 2).event_shape == () and random(LinearRegression, 2, 4).num_inputs == 2
    assert random(LogisticRegression, 2, 4).event_shape == (4,)
    assert random(CategoricalRegression, 2, 5).num_classes == 5


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="bias: expected shape"):
        LinearRegression(np.zeros((2, 3, 1)), np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="0 or 1"):
        ssm.log_prob(chain(case("logistic", 0).emission), np.full((3, 3), 2.0), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="counts"):
        ssm.log_prob(chain(case("poisson", 0).emission), np.array([0.5]), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="reads 2 inputs"):
        ssm.log_prob(chain(case("poisson", 0).emission), np.ones(3))
    with pytest.raises(TypeError, match="expected a distribution"):
        Distribution(lambda p, u: p, np.zeros(2))
    with pytest.raises(ValueError, match="leading axis"):
        Distribution(laplace, {"weights": np.zeros((2, 1)), "log_scale": np.zeros(3)})


def test_any_distribution_may_be_of_symbols_and_read_nothing() -> None:
    logits = np.random.default_rng(13).normal(size=(STATES, 3))
    emission = Distribution(lambda p, u: distrax.Categorical(logits=p), logits)
    assert (emission.event_kind, emission.num_classes, emission.num_inputs) == ("symbol", 3, 0)
    plain = ssm.emissions.Categorical(scipy.special.softmax(logits, axis=1))
    ys = np.array([0, 2, 1, 1])
    answers = [ssm.log_prob(chain(each), ys) for each in (emission, plain)]
    np.testing.assert_allclose(*answers, **CLOSE)
    np.testing.assert_allclose(*(ssm.forecast(chain(each), ys, 2).probs for each in (emission, plain)), **CLOSE)
