"""Counts, positive numbers and angles: as emissions of hidden Markov models, at their borders, and their quantiles."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.stats
from emission_families import FAMILIES, STATES
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import ssm
from ssm.distributions import WeightedMixture, quantile, student_t
from ssm.distributions import counts as of_counts
from ssm.distributions.angles import von_mises
from ssm.distributions.positive import exponential, gamma
from ssm.emissions import (
    Bernoulli,
    Binomial,
    Exponential,
    Gamma,
    Multinomial,
    NegativeBinomial,
    Poisson,
    VonMises,
)
from ssm.numeric.logspace import log
from ssm.parameters import constrain

pytestmark = pytest.mark.usefixtures("float64")

NAMES = ["bernoulli", "binomial", "multinomial", "poisson", "negative-binomial", "exponential", "gamma", "von-mises"]
STEPS = 5


def dear(*always: str) -> list[Any]:
    """All families, as pytest parameters: those named in every run, the others with --slow."""
    return [pytest.param(name, marks=[] if name in always else [pytest.mark.slow]) for name in NAMES]


KEY = jax.random.key(0)
FEW = settings(max_examples=3, deadline=None, derandomize=True)


def model_of(emission: Any, rng: np.random.Generator) -> ssm.HMM:
    return ssm.HMM(rng.dirichlet(np.ones(STATES)), rng.dirichlet(np.ones(STATES), STATES), emission)


@pytest.mark.parametrize("name", dear("multinomial", "negative-binomial", "von-mises"))
def test_evidence_and_its_gradient(name: str) -> None:
    """All paths enumerated; the gradient is that of Q at the expected statistics, and the slope."""
    rng = np.random.default_rng(1)
    emission, ys = FAMILIES[name].make(rng)
    model, ys, mask = model_of(emission, rng), ys[:STEPS], np.arange(STEPS) != 2
    flat, unravel = ravel_pytree(model)

    def evidence(flat: Any) -> Any:
        return ssm.log_prob(unravel(flat), ys, mask=mask)

    @jax.jit
    def answers(flat: Any) -> Any:
        value, gradient = jax.value_and_grad(evidence)(flat)
        statistics = ssm.expected_statistics(unravel(flat), ys, mask=mask)
        by_identity = jax.grad(lambda flat: ssm.Q(unravel(flat), statistics, ys, mask=mask))(flat)
        steps = 1e-5 * jnp.concatenate([jnp.eye(flat.size), -jnp.eye(flat.size)])
        return value, gradient, by_identity, jax.vmap(evidence)(flat + steps)

    value, gradient, by_identity, around = answers(flat)
    seen = np.broadcast_to(mask.reshape(-1, *[1] * (ys.ndim - 1)), ys.shape)
    table = FAMILIES[name].table(emission, ys, seen)
    truth = oracles.enumerate_paths(np.asarray(model.initial), np.asarray(model.transition), table)
    np.testing.assert_allclose(value, truth.log_evidence.sum(), rtol=1e-10)  # float64, one sum in two orders
    np.testing.assert_allclose(gradient, by_identity, rtol=1e-8, atol=1e-9)  # two exact ways
    slope = (around[: flat.size] - around[flat.size :]) / 2e-5
    # Differences err by the third derivative times step² and by 1e-16 times the evidence over the step.
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-7)
    assert np.abs(slope).max() > 1e-2


@pytest.mark.parametrize("name", dear("poisson"))
@FEW
@given(seed=st.integers(0, 1000))
def test_em_never_lowers_the_evidence(name: str, seed: int) -> None:
    """Also with missing components; 1e-9 of the evidence is rounding of its sum in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        emission, ys = FAMILIES[name].make(rng)
        mask = rng.random(ys.shape) < 0.8
        start = model_of(emission.restart(jax.random.key(seed), jnp.asarray(ys), None, None), rng)
        fit = ssm.fit(start, ys, ssm.EM(max_iters=6, tol=0.0), mask=mask)
    history = np.append(fit.start_log_prob, fit.log_probs)
    assert history[-1] > history[0]
    assert np.all(np.diff(history) > -1e-9 * np.abs(history[:-1]))


def families() -> dict[str, tuple[Any, Any]]:
    """Distributions of three components, and SciPy's."""
    half = np.array([0.5, 3.0, 1000.0])
    size = np.array([0.3, 2.5, 50.0])
    scale = {"scale": 1 / half}
    parts = jnp.asarray
    probs = np.array([0.1, 0.5, 0.99])
    negative = scipy.stats.nbinom(size, size / (size + half))
    return {
        "poisson": (of_counts.poisson(parts(half)), scipy.stats.poisson(half)),
        "negative-binomial": (of_counts.negative_binomial(parts(size), parts(half)), negative),
        "binomial": (of_counts.binomial(10, parts(probs)), scipy.stats.binom(10, probs)),
        "exponential": (exponential(parts(half)), scipy.stats.expon(**scale)),
        "gamma": (gamma(parts(size), parts(half)), scipy.stats.gamma(size, **scale)),
        "multinomial": (of_counts.multinomial(6, parts([0.2, 0.3, 0.5])), scipy.stats.binom(6, [0.2, 0.3, 0.5])),
    }


@pytest.mark.parametrize("name", ["poisson", "negative-binomial", "binomial", "exponential", "gamma", "multinomial"])
def test_quantiles_and_moments_are_scipys(name: str) -> None:
    ours, truth = families()[name]
    levels = np.array([1e-4, 0.05, 0.5, 0.9, 0.9999])

    @jax.jit
    def answers(levels: Any) -> tuple:
        return jax.vmap(lambda q: quantile(ours, q))(levels), ours.mean(), ours.variance()

    answer, mean, variance = answers(levels)
    expected = np.stack([truth.ppf(q) for q in levels])
    np.testing.assert_allclose(answer, expected, rtol=1e-9, atol=1e-12)  # distribution functions differ by rounding
    np.testing.assert_allclose(mean, truth.mean(), rtol=1e-10)
    np.testing.assert_allclose(variance, truth.var(), rtol=1e-10)


def test_quantiles_of_angles() -> None:
    levels = np.array([0.001, 0.05, 0.5, 0.9, 0.999])
    spread, loc = np.tile([0.5, 5.0, 40.0], 3), np.repeat([-3.0, 0.5, 3.0], 3)
    ours = lambda: von_mises(jnp.asarray(loc), jnp.asarray(spread))
    answer = np.asarray(jax.jit(jax.vmap(lambda q: quantile(ours(), q)))(levels))
    truth = scipy.stats.vonmises(spread, loc=loc)
    reached = truth.cdf(answer) - truth.cdf(np.full_like(answer, -np.pi))
    np.testing.assert_allclose(reached, levels[:, None].repeat(9, 1), atol=1e-5)  # Hill's approximation errs by 1e-6
    assert (np.abs(answer) <= np.pi).all()


def test_quantiles_of_mixtures_of_counts() -> None:
    rates, weights = np.array([1.0, 50.0]), np.array([0.4, 0.6])
    parts = WeightedMixture(
        lambda k: of_counts.poisson(jnp.asarray(rates)[k]), jnp.arange(2), log(jnp.asarray(weights))
    )
    cumulative = lambda y: scipy.stats.poisson(rates).cdf(y[:, None]) @ weights
    levels = np.array([1e-4, 0.14, 0.3, 0.4, 0.41, 0.9, 0.9999])
    answer = np.asarray(jax.jit(jax.vmap(lambda q: quantile(parts, q)))(levels))
    assert (answer == np.round(answer)).all()
    assert (cumulative(answer) >= levels).all() and (cumulative(answer - 1) < levels).all()


def test_what_has_no_weight_may_be_infinite() -> None:
    """A Student t of 1.5 degrees of freedom has no variance, one of half a degree no mean: beside a weight of one."""
    df, loc = jnp.asarray([5.0, 1.5, 0.5]), jnp.asarray([[2.0, 3.0], [0.0, 1.0], [1.0, -1.0]])
    given = lambda k: student_t(loc[k], jnp.ones(2), jnp.broadcast_to(df[k], (2,)))
    alone = WeightedMixture(given, jnp.arange(3), log(jnp.asarray([1.0, 0.0, 0.0])))
    np.testing.assert_array_equal(alone.mean(), [2.0, 3.0])
    np.testing.assert_allclose(alone.variance(), [5 / 3, 5 / 3], rtol=1e-12)  # df / (df - 2)
    shared = WeightedMixture(given, jnp.arange(3), log(jnp.asarray([0.5, 0.5, 0.0])))
    np.testing.assert_array_equal(shared.variance(), np.inf)


@pytest.mark.parametrize("name", dear("poisson", "multinomial", "von-mises"))
def test_predictions_are_what_draws_do(name: str) -> None:
    """Mean, spread and quantiles of a mixture against 4000 draws of it; five standard errors."""
    rng = np.random.default_rng(3)
    emission, probs = constrain(FAMILIES[name].make(rng)[0]), jnp.asarray(rng.dirichlet(np.ones(STATES)))

    @jax.jit
    def answers(probs: Any, keys: Any) -> Any:
        mixture = emission.mixture(probs, None)
        draws = jax.vmap(lambda key: mixture.sample(seed=key))(keys)
        return draws, mixture.mean(), mixture.variance(), quantile(mixture, jnp.asarray(0.3))

    draws, mean, variance, low = (np.asarray(part) for part in answers(probs, jax.random.split(KEY, 4000)))
    assert draws.dtype == np.float64 and draws.shape[1:] == emission.event_shape
    error = 5 * np.sqrt(0.3 * 0.7 / 4000)
    assert ((draws <= low).mean(0) > 0.3 - error).all() and ((draws < low).mean(0) < 0.3 + error).all()
    if name == "von-mises":
        resultant = np.exp(1j * draws).mean(0)
        np.testing.assert_allclose(np.exp(-variance / 2), np.abs(resultant), atol=5 / np.sqrt(4000))
        # The direction errs by the spread across it over the length: at most 5 / (R √4000).
        assert (np.abs(np.angle(resultant * np.exp(-1j * mean))) < 5 / np.sqrt(4000) / np.abs(resultant)).all()
        return
    assert (np.abs(draws.mean(0) - mean) < 5 * np.sqrt(variance / 4000)).all()
    fourth = ((draws - mean) ** 4).mean(0)
    assert (np.abs(((draws - mean) ** 2).mean(0) - variance) < 5 * np.sqrt(fourth / 4000)).all()


BORDERS = {
    "bernoulli": (
        Bernoulli([[0.0, 1.0], [0.0, 0.5]]),
        [[0.0, 1.0], [1.0, 1.0]],
        [[0.0, np.log(0.5)], [-np.inf, -np.inf]],
    ),
    "binomial": (Binomial(2, [0.0, 1.0]), [0.0, 2.0, 1.0], [[0.0, -np.inf], [-np.inf, 0.0], [-np.inf, -np.inf]]),
    "multinomial": (
        Multinomial(2, [[0.0, 1.0], [1.0, 0.0]]),
        [[0.0, 2.0], [1.0, 1.0], [2.0, 2.0]],
        [[0.0, -np.inf], [-np.inf, -np.inf], [-np.inf, -np.inf]],
    ),
    "poisson": (Poisson([0.0, 1.0]), [0.0, 1.0, -1.0, 0.5], [[0, -1], [-np.inf, -1], [-np.inf] * 2, [-np.inf] * 2]),
    "negative-binomial": (
        NegativeBinomial([1.0, 1.0], [0.0, 1.0]),
        [0.0, 1.0],
        [[0, np.log(0.5)], [-np.inf, np.log(0.25)]],
    ),
    "exponential": (Exponential([1.0, 2.0]), [0.0, -1.0], [[0.0, np.log(2)], [-np.inf, -np.inf]]),
    "gamma": (Gamma([1.0, 2.0], [1.0, 1.0]), [1.0, 0.0], [[-1.0, -1.0], [-np.inf, -np.inf]]),
}


@pytest.mark.parametrize("name", BORDERS)
def test_the_impossible_is_never_nan(name: str) -> None:
    """Density -inf, and finite derivatives wherever the evidence is."""
    with jax.enable_x64(True):
        old, ys, truth = BORDERS[name]
        emission = jax.tree.map(lambda leaf: leaf.astype(float), old)
        table = jax.jit(lambda emission, ys: constrain(emission).log_likelihoods(ys, None))
        ys = jnp.asarray(ys)
        np.testing.assert_allclose(table(emission, ys), truth, atol=1e-7)  # parameters were made in float32
        poisoned = table(emission, ys.at[0].set(jnp.nan))
        assert jnp.isnan(poisoned[0]).all() and not jnp.isnan(poisoned[1:]).any()
        possible = lambda emission: jnp.sum(jnp.where(jnp.isfinite(table(emission, ys)), table(emission, ys), 0))
        slopes, _ = ravel_pytree(jax.jit(jax.grad(possible))(emission))
        assert jnp.isfinite(slopes).all()


@pytest.mark.parametrize("name", NAMES)
def test_values_outside_the_support_are_named(name: str) -> None:
    rng = np.random.default_rng(0)
    emission, ys = FAMILIES[name].make(rng)
    model, bad = model_of(emission, rng), np.array(ys)
    bad[3] = FAMILIES[name].impossible
    with pytest.raises(ValueError, match=type(emission).__name__):
        ssm.log_prob(model, bad)
    mask = np.arange(len(ys)) != 3
    assert np.isfinite(ssm.log_prob(model, bad, mask=mask))  # what is masked may be anything


def test_borders_stay_in_training() -> None:
    weights = jnp.ones((3, 2)).at[2, 0].set(0.0)
    ys = jnp.asarray([0.0, 0.0, 1.0])
    for emission in (Bernoulli([0.5, 0.5]), Poisson([1.0, 1.0])):
        new = constrain(emission).maximise(weights, ys, None, None)
        value = new.probs if isinstance(new, Bernoulli) else new.rate
        assert value[0] == 0 and value[1] == pytest.approx(1 / 3)
        assert constrain(new).log_likelihoods(ys, None)[2, 0] == -jnp.inf
    Probability = type(Bernoulli([0.5])._probs)
    np.testing.assert_array_equal(Probability.of(jnp.asarray([0.0, 1.0])).probs, [0, 1])


@pytest.mark.parametrize(
    "make",
    [lambda ys: Gamma([1.0, 1.0], [1.0, 1.0]), lambda ys: VonMises([0.0, 0.0], [1.0, 1.0])],
    ids=["gamma", "von-mises"],
)
def test_a_state_on_one_point_stops_at_the_limit(make: Any) -> None:
    weights = jnp.asarray([[1.0, 0.5], [0.0, 0.5]])
    new = constrain(make(None)).maximise(weights, jnp.asarray([0.5, 2.0]), None, None)
    limit = new.shape[0] if isinstance(new, Gamma) else new.concentration[0]
    np.testing.assert_allclose(limit, 1e6, rtol=1e-6)


def test_frozen_parameters_stay_and_the_others_are_best_beside_them() -> None:
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.uniform(size=(12, 3)))
    for name, frozen in [("gamma", "rate"), ("gamma", "shape"), ("von-mises", "loc"), ("von-mises", "concentration")]:
        emission, ys = FAMILIES[name].make(rng)
        if frozen == "loc":  # near the data: elsewhere the concentration ends at its lower limit
            emission = VonMises(jnp.full((STATES, 2), 1.0), jnp.ones((STATES, 2)))
        step = eqx.filter_jit(lambda e, held: constrain(e).maximise(weights, jnp.asarray(ys), None, None, held))
        new = step(emission, frozenset([frozen]))
        np.testing.assert_allclose(getattr(new, frozen), getattr(emission, frozen), rtol=1e-12)
        total = lambda e: jnp.sum(weights * constrain(e).log_likelihoods(jnp.asarray(ys), None))
        free = ssm.parameters.freezing.trainable(new, (frozen,))
        gradient = eqx.filter(eqx.filter_jit(eqx.filter_grad(total))(new), free)
        for leaf in jax.tree.leaves(gradient):
            np.testing.assert_allclose(leaf, 0, atol=1e-8)  # stationary, up to float64 sums of twelve terms


def test_random_and_from_data() -> None:
    rng = np.random.default_rng(0)
    makers = {
        "bernoulli": (lambda: Bernoulli.random(KEY, 3, 2), lambda ys: Bernoulli.from_data(KEY, 3, ys)),
        "binomial": (lambda: Binomial.random(KEY, 3, 5), lambda ys: Binomial.from_data(KEY, 3, 5, ys)),
        "multinomial": (lambda: Multinomial.random(KEY, 3, 6, 3), lambda ys: Multinomial.from_data(KEY, 3, 6, ys)),
        "poisson": (lambda: Poisson.random(KEY, 3, 2), lambda ys: Poisson.from_data(KEY, 3, ys)),
        "negative-binomial": (
            lambda: NegativeBinomial.random(KEY, 3),
            lambda ys: NegativeBinomial.from_data(KEY, 3, ys),
        ),
        "exponential": (lambda: Exponential.random(KEY, 3), lambda ys: Exponential.from_data(KEY, 3, ys)),
        "gamma": (lambda: Gamma.random(KEY, 3, 2), lambda ys: Gamma.from_data(KEY, 3, ys)),
        "von-mises": (lambda: VonMises.random(KEY, 3, 2), lambda ys: VonMises.from_data(KEY, 3, ys)),
    }
    for name, (random, from_data) in makers.items():
        assert random().num_states == 3
        ys = FAMILIES[name].make(rng)[1]
        emission = from_data(np.concatenate([ys, ys[:1] * np.nan]))
        table = eqx.filter_jit(lambda e, ys: constrain(e).log_likelihoods(ys, None))(emission, jnp.asarray(ys))
        assert np.isfinite(table).all() and np.std(table, axis=1).max() > 1e-3  # nothing impossible, states differ
