"""Shared scales, factors, heavy tails, mixtures, products and known noise: what test_emissions.py does not ask."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.stats
from emission_families import FAMILIES, STATES, TOTAL
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import ssm
from ssm.distributions import marginal_log_prob, multivariate_student_t, quantile, student_t
from ssm.distributions.marginals import marginals
from ssm.emissions import (
    Categorical,
    FactorNormal,
    Mixture,
    MultivariateNormal,
    MultivariateStudentT,
    NoisyNormal,
    Normal,
    Poisson,
    Product,
    SharedScaleNormal,
    StudentT,
    TiedMultivariateNormal,
)
from ssm.emissions.normals.student_t import TailSums, degrees_of_freedom
from ssm.parameters import constrain

pytestmark = pytest.mark.usefixtures("float64")

CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # float64, the same sums in another order
KEY = jax.random.key(0)
MINE = ["tied", "tied-multivariate", "factors", "heavy-vector", "heavy-multivariate", "mixture", "product"]
ADDITIVE = ["categorical", "vector", "multivariate", "tied", "tied-multivariate", "heavy-vector"]
ADDITIVE += ["heavy-multivariate", "mixture", "product"]
HEAVY = {"multivariate", "heavy-multivariate", "tied-multivariate", "product", "tied"}  # to compile
QUICK = {"mixture"}  # what compiles soonest stands for the others
DEAR = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MINE]


def leaves(emission: Any) -> jax.Array:
    """Constrained parameters; roots of covariances as the covariances."""
    return ravel_pytree(constrain(emission))[0]


# -- statistics that add up -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in HEAVY)) for n in ADDITIVE])
def test_blended_statistics_are_those_of_both_batches(name: str) -> None:
    rng = np.random.default_rng(6)
    emission, ys = FAMILIES[name].make(rng)
    emission, ys, rate = constrain(emission), jnp.asarray(ys), jnp.asarray(0.3)
    weights = jnp.asarray(rng.uniform(size=(TOTAL, STATES)))

    @jax.jit
    def both(emission: Any) -> tuple[Any, Any]:
        halves = [emission.sums(weights[half], ys[half], None, None) for half in (slice(0, 5), slice(5, None))]
        blended = emission.fitted(emission.blend(*halves, rate))
        shares = jnp.where(jnp.arange(TOTAL) < 5, 1 - rate, rate)[:, None] * weights
        return blended, emission.maximise(shares, ys, None, None)

    blended, whole = both(emission)
    np.testing.assert_allclose(leaves(blended), leaves(whole), **CLOSE)
    assert not np.allclose(leaves(whole), leaves(emission))


@pytest.mark.parametrize("family", [Normal, pytest.param(MultivariateNormal, marks=pytest.mark.slow)])
def test_blended_statistics_keep_their_digits_in_float32(family: Any) -> None:
    with jax.enable_x64(False):
        ys = np.random.default_rng(0).normal(1e4, 1.0, size=(40, 10, 2)).astype(np.float32)
        emission = constrain(family.from_data(KEY, 1, jnp.asarray(ys[0])))
        batch = jax.jit(lambda rows: emission.sums(jnp.ones((10, 1)), rows, None, None))
        blend = jax.jit(lambda old, new, rate: emission.blend(old, new, rate))
        total = batch(ys[0])
        for i, rows in enumerate(ys[1:], 2):
            total = blend(total, batch(rows), jnp.asarray(1 / i))
        new = constrain(emission.fitted(total))
        variance = new.scale[0] ** 2 if family is Normal else jnp.diagonal(new.covariance[0])
    # A difference of second moments of 1e8 would be off by 1e8 · 6e-8 = 6; deviations of size one keep five digits.
    np.testing.assert_allclose(variance, ys.astype(float).reshape(-1, 2).var(axis=0), rtol=1e-3)


def one_state(name: str) -> Any:
    """Emissions of one state, whose maximum is inside: to be fitted to what they emit."""
    if name == "factors":
        return FactorNormal([[0.0, 1.0, 2.0, 3.0]], [[[1.0], [1.5], [-1.0], [0.5]]], [[0.5, 1.0, 0.8, 1.2]])
    if name == "mixture":
        return Mixture([[0.3, 0.7]], Normal([[0.0, 0.0], [3.0, 3.0]], [[1.0, 0.5], [0.5, 1.0]]))
    return MultivariateStudentT([[0.0, 1.0]], [[[1.0, 0.5], [0.5, 1.0]]], [3.0])


@pytest.mark.parametrize(
    "name", ["factors", pytest.param("mixture", marks=pytest.mark.slow), pytest.param("heavy", marks=pytest.mark.slow)]
)
def test_many_m_steps_end_where_the_slope_is_zero(name: str) -> None:
    emission = constrain(one_state(name))
    draws = jax.vmap(lambda key: emission.given(jnp.asarray(0), None).sample(seed=key))(jax.random.split(KEY, 300))
    weights, seen = jnp.ones((300, 1)), jax.random.uniform(KEY, draws.shape) < 0.9
    step = lambda _, e: constrain(e.maximise(weights, draws, None, seen))
    flat, unravel = ravel_pytree(jax.jit(lambda e: jax.lax.fori_loop(0, 300, step, e))(emission))
    value = lambda vector: jnp.sum(unravel(vector).log_likelihoods(draws, None, seen))
    slope = jax.jit(jax.grad(value))(flat)
    if name == "mixture":
        slope = slope.at[:2].add(-slope[:2].mean())  # weights sum to one: along the simplex
    np.testing.assert_allclose(slope, 0, atol=1e-3)  # 300 steps of a map that at worst halves the distance in fifty


# -- inside a hidden Markov model -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEAR)
def test_evidence_and_gradient_are_those_of_enumerated_paths(name: str) -> None:
    rng, total = np.random.default_rng(7), 5
    emission, ys = FAMILIES[name].make(rng)
    mask = rng.uniform(size=ys.shape) < 0.7
    mask[3] = False
    model = ssm.HMM(rng.dirichlet(np.ones(STATES)), rng.dirichlet(np.ones(STATES), STATES), emission)
    table = FAMILIES[name].table(emission, ys, mask)[:total]
    truth = oracles.enumerate_paths(np.asarray(model.initial), np.asarray(model.transition), table)
    ys, mask = jnp.asarray(ys[:total]), jnp.asarray(mask[:total])
    flat, unravel = ravel_pytree(model)
    evidence = lambda vector: ssm.log_prob(unravel(vector), ys, mask=mask)
    value, gradient = jax.jit(jax.value_and_grad(evidence))(flat)
    np.testing.assert_allclose(value, truth.log_evidence.sum(), **CLOSE)
    # Differences of step 1e-5 err by 1e-10 times third derivatives, plus rounding of 1e-16 / 1e-5.
    slope = oracles.central_differences(jax.jit(evidence), flat)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-7)
    statistics = ssm.expected_statistics(model, ys, mask=mask)
    by_identity = jax.jit(jax.grad(lambda vector: ssm.Q(unravel(vector), statistics, ys, mask=mask)))(flat)
    np.testing.assert_allclose(gradient, by_identity, **CLOSE)


@pytest.mark.parametrize("name", DEAR)
def test_em_never_lowers_the_evidence(name: str) -> None:
    emission, _ = FAMILIES[name].make(np.random.default_rng(8))
    model = ssm.HMM(np.full(STATES, 1 / STATES), np.full((STATES, STATES), 1 / STATES), emission)

    @settings(max_examples=3, deadline=None, derandomize=True)
    @given(st.integers(0, 1000))
    def law(seed: int) -> None:
        rng = np.random.default_rng(seed)
        ys = FAMILIES[name].make(rng)[1]
        mask = rng.uniform(size=ys.shape) < 0.8
        log_probs = ssm.fit(model, ys, ssm.EM(max_iters=6, tol=0.0), mask=mask).log_probs
        assert (np.diff(log_probs) > -1e-9).all() and log_probs[-1] > log_probs[0]

    law()


# -- heavy tails ------------------------------------------------------------------------------------------------


def test_em_finds_the_best_student_t() -> None:
    ys = scipy.stats.t.rvs(3, 2.0, 0.5, size=400, random_state=0)
    emission = StudentT([0.0], [1.0], [10.0])
    step = lambda _, e: constrain(e.maximise(jnp.ones((400, 1)), jnp.asarray(ys), None, None))
    best = jax.jit(lambda e: jax.lax.fori_loop(0, 300, step, e))(constrain(emission))
    df, loc, scale = scipy.stats.t.fit(ys)  # a simplex search that stops at four digits
    np.testing.assert_allclose([best.df[0], best.loc[0], best.scale[0]], [df, loc, scale], rtol=1e-3)


def test_many_degrees_of_freedom_in_float32() -> None:
    df = np.array([1e2, 1e4, 1e6])
    with jax.enable_x64(False):
        emission = constrain(StudentT(jnp.zeros(3), jnp.ones(3), df))
        table = emission.log_likelihoods(jnp.asarray([0.5, 2.0]), None)
    truth = scipy.stats.t.logpdf(np.array([[0.5], [2.0]]), df)
    # log Γ(df/2) is 6e6 for the last: as a difference it would be off by 0.5.
    np.testing.assert_allclose(table, truth, rtol=3e-6)


def test_a_sample_without_tails_has_many_degrees_of_freedom() -> None:
    ys = jnp.asarray(scipy.stats.norm.ppf((np.arange(200) + 0.5) / 200))  # tails lighter than any Student t
    step = lambda _, e: constrain(e.maximise(jnp.ones((200, 1)), ys, None, None))
    best = jax.jit(lambda e: jax.lax.fori_loop(0, 100, step, e))(constrain(StudentT([0.0], [1.0], [5.0])))
    assert best.df[0] > 15
    nothing = TailSums(jnp.ones(1), None, jnp.zeros(1))  # all precisions equal
    np.testing.assert_allclose(degrees_of_freedom(nothing, jnp.ones(1)), 1e6, rtol=1e-6)


@pytest.mark.slow
def test_student_t_distributions() -> None:
    loc, scale, df = jnp.array([1.0, -2.0]), jnp.array([0.5, 2.0]), jnp.array([3.0, 8.0])
    one = student_t(loc, scale, df)
    levels = np.array([[0.05], [0.5], [0.9]])
    found = jax.jit(jax.vmap(lambda q: quantile(student_t(loc, scale, df), q)))(jnp.asarray(levels[:, 0]))
    np.testing.assert_allclose(found, scipy.stats.t.ppf(levels, df, loc, scale), rtol=1e-9, atol=1e-9)
    draws = one.sample(seed=KEY, sample_shape=(20_000,))
    share = (draws < scipy.stats.t.ppf(0.9, df, loc, scale)).mean(axis=0)
    np.testing.assert_allclose(share, 0.9, atol=0.01)  # four standard errors of 0.0021
    np.testing.assert_allclose(one.variance(), scipy.stats.t.var(df, loc, scale), **CLOSE)
    root = jnp.array([[1.0, 0.0], [0.8, 0.5]])
    joint, truth = multivariate_student_t(loc, root, df[1]), scipy.stats.multivariate_t(loc, root @ root.T, 8)
    draws = joint.sample(seed=KEY, sample_shape=(20_000,))
    np.testing.assert_allclose(joint.log_prob(draws[:3]), truth.logpdf(draws[:3]), **CLOSE)
    np.testing.assert_allclose(np.cov(draws.T), joint.covariance(), atol=0.08)  # sixth moments: four standard errors
    marginal = scipy.stats.t(8, -2.0, np.sqrt(0.89))
    np.testing.assert_allclose(marginals(joint).cdf(draws[0])[1], marginal.cdf(draws[0, 1]), **CLOSE)
    partial = marginal_log_prob(joint, draws[0], jnp.array([False, True]))
    np.testing.assert_allclose(partial, marginal.logpdf(draws[0, 1]), **CLOSE)
    heavy = student_t(loc, scale, jnp.array([1.0, 2.0]))
    assert np.isnan(heavy.mean()[0]) and np.isinf(heavy.variance()[1])


# -- known noise ------------------------------------------------------------------------------------------------


def noisy(rng: np.random.Generator) -> tuple[NoisyNormal, np.ndarray, np.ndarray]:
    emission = NoisyNormal(rng.normal(size=(STATES, 2)), rng.uniform(0.5, 2, (STATES, 2)))
    return emission, rng.normal(size=(TOTAL, 2)), rng.uniform(0, 2, (TOTAL, 2))


def test_known_noise_widens_the_density() -> None:
    rng = np.random.default_rng(9)
    emission, ys, us = noisy(rng)
    seen = rng.uniform(size=ys.shape) < 0.7
    scale = np.sqrt(np.asarray(emission.scale) ** 2 + us[:, None] ** 2)
    terms = scipy.stats.norm.logpdf(ys[:, None], emission.loc, scale)
    plain, ys, us = constrain(emission), jnp.asarray(ys), jnp.asarray(us)
    table = jax.jit(lambda ys, us, seen: plain.log_likelihoods(ys, us, seen))
    np.testing.assert_allclose(table(ys, us, None), terms.sum(2), **CLOSE)
    partly = table(ys, us, jnp.asarray(seen))
    np.testing.assert_allclose(partly, np.where(seen[:, None], terms, 0).sum(2), **CLOSE)
    np.testing.assert_allclose(plain.given(jnp.asarray(1), us[0]).log_prob(ys[0]), terms[0, 1].sum(), **CLOSE)
    probs = rng.dirichlet(np.ones(STATES))
    mixed = plain.mixture(jnp.asarray(probs), us[0]).log_prob(ys[0])
    np.testing.assert_allclose(mixed, np.log(np.exp(terms[0].sum(1)) @ probs), **CLOSE)


def test_the_m_step_of_known_noise_climbs_to_the_maximum() -> None:
    rng = np.random.default_rng(10)
    emission, ys, us = noisy(rng)
    ys, us, weights = jnp.asarray(2 * ys), jnp.asarray(us / 4), jnp.asarray(rng.uniform(size=(TOTAL, STATES)))
    value = lambda e: jnp.sum(weights * e.log_likelihoods(ys, us))

    def step(e: NoisyNormal, _: None) -> tuple[NoisyNormal, jax.Array]:
        return constrain(e.maximise(weights, ys, us, None)), value(e)

    best, values = eqx.filter_jit(lambda e: jax.lax.scan(step, e, length=2000))(constrain(emission))
    assert (np.diff(values) > -1e-10).all() and values[-1] > values[0] + 0.1
    slopes = eqx.filter_grad(value)(best)
    np.testing.assert_allclose(slopes.loc, 0, atol=1e-4)  # EM closes in by a factor each step: here 1e-4 is left


def test_no_noise_is_a_normal() -> None:
    rng = np.random.default_rng(11)
    emission, ys, us = noisy(rng)
    weights, ys = jnp.asarray(rng.uniform(size=(TOTAL, STATES))).at[:, 1].set(0), jnp.asarray(ys)
    plain = constrain(Normal(emission.loc, emission.scale))
    maximise = jax.jit(lambda e, us: e.maximise(weights, ys, us, None))
    new = maximise(constrain(emission), jnp.zeros_like(ys))
    np.testing.assert_allclose(leaves(new), leaves(maximise(plain, None)), **CLOSE)


def test_noise_is_an_input_of_the_model() -> None:
    model = ssm.HMM([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], NoisyNormal([-1.0, 1.0], [0.3, 0.3]))
    ys, us = np.array([-1.0, -0.8, 1.2, 0.9]), np.array([[0.1], [5.0], [0.1], [0.1]])
    table = scipy.stats.norm.logpdf(ys[:, None], np.array([-1.0, 1.0]), np.sqrt(0.09 + us**2))
    truth = oracles.enumerate_paths(np.asarray(model.initial), np.asarray(model.transition), table)
    np.testing.assert_allclose(ssm.log_prob(model, ys, us), truth.log_evidence.sum(), **CLOSE)
    with pytest.raises(ValueError, match="1 inputs per step"):
        ssm.log_prob(model, ys)


# -- mixtures, products, shared scales ----------------------------------------------------------------------------


def test_a_weightless_state_of_a_shared_scale_keeps_its_mean() -> None:
    rng = np.random.default_rng(12)
    ys, weights = jnp.asarray(rng.normal(size=(TOTAL, 2))), jnp.zeros((TOTAL, 2)).at[:, 0].set(1.0)
    for emission in (SharedScaleNormal.random(KEY, 2, 2), TiedMultivariateNormal.random(KEY, 2, 2)):
        plain = constrain(emission)
        maximise = jax.jit(lambda weights, e: e.maximise(weights, ys, None, None))
        new = maximise(weights, plain)
        np.testing.assert_allclose(new.loc, jnp.stack([ys.mean(0), emission.loc[1]]), **CLOSE)
        still = maximise(0 * weights, plain)
        np.testing.assert_allclose(leaves(still), leaves(emission), **CLOSE)


def test_frozen_parts_stay_and_zeros_stay() -> None:
    rng = np.random.default_rng(13)
    emission = Mixture([[1.0, 0.0], [0.4, 0.6]], Normal(rng.normal(size=4), np.ones(4)))
    ys, weights = jnp.asarray(rng.normal(size=TOTAL)), jnp.asarray(rng.uniform(size=(TOTAL, 2)))
    step = eqx.filter_jit(lambda e, ys, held: constrain(e).maximise(weights, ys, None, None, held))
    maximise = lambda frozen: step(emission, ys, frozenset(frozen))
    new = maximise([])
    assert new.weights[0, 1] == 0 and new.parts.loc[1] == emission.parts.loc[1]
    assert (maximise(["weights"]).weights == emission.weights).all()
    held = maximise(["parts"])
    np.testing.assert_allclose(leaves(held.parts), leaves(emission.parts), **CLOSE)
    assert jax.tree.structure(held) == jax.tree.structure(emission)
    kept = maximise(["parts.loc"])
    assert (kept.parts.loc == emission.parts.loc).all() and not np.allclose(kept.parts.scale, 1)
    both = Product(Normal(rng.normal(size=2), np.ones(2)), StudentT(rng.normal(size=2), np.ones(2), np.ones(2)))
    pairs = jnp.stack([ys, -ys], axis=1)
    new = step(both, pairs, frozenset(["parts.0", "parts.1.df"]))
    np.testing.assert_allclose(leaves(new.parts[0]), leaves(both.parts[0]), **CLOSE)
    assert (new.parts[1].df == 1).all() and not np.allclose(new.parts[1].loc, both.parts[1].loc)


def test_forecasts_of_mixtures_and_products() -> None:
    initial, transition = [0.3, 0.7], [[0.9, 0.1], [0.2, 0.8]]
    parts = Normal([0.0, 1.0, 4.0, 5.0], [0.5, 1.0, 0.5, 1.0])
    rate = jnp.array([1.0, 8.0])
    symbols = np.array([[0.9, 0.1, 0.0], [0.1, 0.1, 0.8]])
    model = ssm.HMM(
        initial, transition, Product(Mixture([[0.5, 0.5], [0.2, 0.8]], parts), Poisson(rate), Categorical(symbols))
    )
    ys = np.array([[0.2, 1.0, 0.0], [4.0, 7.0, 2.0]])
    forecast = ssm.forecast(model, ys, 1, key=KEY)
    ahead = np.asarray(ssm.filter(model, ys).filtered.probs[-1]) @ np.asarray(transition)
    means = np.stack([[0.5, 4.8], rate, symbols @ np.arange(3)], axis=1)
    np.testing.assert_allclose(forecast.mean[0], ahead @ means, **CLOSE)
    high = forecast.quantile(0.8)[0]
    weights = np.repeat(ahead, 2) * np.array([0.5, 0.5, 0.2, 0.8])
    assert np.isclose(weights @ scipy.stats.norm.cdf(high[0], parts.loc, parts.scale), 0.8, atol=1e-8)
    counts = ahead @ scipy.stats.poisson.cdf(np.arange(40), np.asarray(rate)[:, None])
    assert int(high[1]) == np.argmax(counts >= 0.8) and int(high[2]) == 2
    draws = forecast.sample(KEY, 4000)[:, 0]
    spread = np.asarray(forecast.stddev[0]) / np.sqrt(4000)
    assert (np.abs(draws.mean(axis=0) - ahead @ means) < 4 * spread).all()


@pytest.mark.slow
def test_starting_values_and_errors() -> None:
    rng = np.random.default_rng(14)
    ys = jnp.asarray(rng.normal(size=(60, 3)))
    for family, options in ((SharedScaleNormal, {}), (TiedMultivariateNormal, {}), (StudentT, {}), (NoisyNormal, {})):
        assert family.from_data(KEY, 2, ys).loc.shape == family.random(KEY, 2, 3).loc.shape == (2, 3), options
    assert SharedScaleNormal.from_data(KEY, 2, ys, shared="both").scale.shape == (1, 1)
    np.testing.assert_allclose(SharedScaleNormal.from_data(KEY, 2, ys).scale, [ys.std(axis=0)], **CLOSE)
    assert MultivariateStudentT.from_data(KEY, 2, ys).df.shape == (2,)
    factor = FactorNormal.from_data(KEY, 2, ys, num_factors=2)
    assert factor.factors.shape == FactorNormal.random(KEY, 2, 3, 2).factors.shape == (2, 3, 2)
    mixture = Mixture.from_data(KEY, 2, ys, num_parts=3, family=Normal)
    assert mixture.parts.loc.shape == Mixture.random(KEY, 2, 3, Normal, 3).parts.loc.shape == (6, 3)
    product = Product.random(KEY, 2, Normal.random, StudentT.random)
    assert product.event_shape == (2,) and product.restart(KEY, ys[:, :2], None, jnp.ones(60, bool)).num_states == 2
    with pytest.raises(ValueError, match="need 6 of them, got 4"):
        Mixture(np.full((2, 3), 1 / 3), Normal(np.zeros(4), np.ones(4)))
    with pytest.raises(ValueError, match="same number of states"):
        Product(Normal(np.zeros(2), np.ones(2)), Normal(np.zeros(3), np.ones(3)))
    with pytest.raises(ValueError, match="scale: expected shape"):
        SharedScaleNormal(np.zeros((3, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match="df: expected positive"):
        StudentT(np.zeros(2), np.ones(2), [1.0, 0.0])
