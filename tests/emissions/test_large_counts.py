"""Densities whose terms are large and whose sums are not: float32 against float64 of the same numbers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as stats

import ssm
from ssm.emissions import Binomial, Gamma, Multinomial, NegativeBinomial, Poisson, PoissonRegression, StudentT, VonMises
from ssm.parameters import constrain

STEPS = 1000

# Of one log-probability. What is left to rounding is z √n ε for data z deviations off with parameters known to ε: for
# n = 10⁶ and |z| < 4, 5e-4. The terms themselves are rounded by up to 1.
CLOSE = 1e-3

large = lambda array: np.asarray(array, np.float64)


def poisson(rng: np.random.Generator) -> tuple[Any, np.ndarray, Any]:
    rates = np.array([1e6, 1.001e6, 30.0])
    ys = np.append(rng.poisson(1e6, STEPS - 3), [0, 1, 29])
    return Poisson(rates), ys, lambda e, y: stats.poisson.logpmf(y[:, None], large(e.rate))


def binomial(rng: np.random.Generator) -> tuple[Any, np.ndarray, Any]:
    total, probs = 4_000_000, np.array([0.3, 0.3005, 1e-6])
    ys = np.append(rng.binomial(total, 0.3, STEPS - 3), [0, 2, total])
    return Binomial(total, probs), ys, lambda e, y: stats.binom.logpmf(y[:, None], total, large(e.probs))


def negative_binomial(rng: np.random.Generator) -> tuple[Any, np.ndarray, Any]:
    size, mean = np.array([1e5, 3.0, 0.1]), np.array([1e6, 1e6, 2.0])
    ys = np.append(rng.negative_binomial(1e5, 1e5 / 1.1e6, STEPS - 3), [0, 1, 40])
    oracle = lambda e, y: stats.nbinom.logpmf(
        y[:, None], large(e.size), large(e.size) / (large(e.size) + large(e.mean))
    )
    return NegativeBinomial(size, mean), ys, oracle


def multinomial(rng: np.random.Generator) -> tuple[Any, np.ndarray, Any]:
    total, probs = 3_000_000, np.array([[0.2, 0.3, 0.5], [0.2003, 0.2997, 0.5]])

    def oracle(e: Any, y: np.ndarray) -> np.ndarray:
        exact = large(e.probs) / large(e.probs).sum(1, keepdims=True)
        return np.stack([stats.multinomial.logpmf(y, total, row) for row in exact], axis=1)

    return Multinomial(total, probs), rng.multinomial(total, probs[0], STEPS), oracle


def gamma(rng: np.random.Generator) -> tuple[Any, np.ndarray, Any]:
    shape, rate = np.array([1e6, 9e5, 2.0]), np.array([1e4, 9e3, 0.1])
    oracle = lambda e, y: stats.gamma.logpdf(y[:, None], large(e.shape), scale=1 / large(e.rate))
    return Gamma(shape, rate), rng.gamma(1e6, 1e-4, STEPS), oracle


def von_mises(rng: np.random.Generator) -> tuple[Any, np.ndarray, Any]:
    loc, concentration = np.array([2.0, 2.001]), np.array([1e6, 1e5])
    oracle = lambda e, y: stats.vonmises.logpdf(y[:, None], large(e.concentration), large(e.loc))
    return VonMises(loc, concentration), rng.vonmises(2.0, 1e6, STEPS), oracle


def student_t(rng: np.random.Generator) -> tuple[Any, np.ndarray, Any]:
    oracle = lambda e, y: stats.t.logpdf(y[:, None], large(e.df), large(e.loc), large(e.scale))
    return StudentT([0.0, 1.0], [1.0, 1e-3], [1e6, 3.0]), rng.normal(size=STEPS), oracle


FAMILIES = (poisson, binomial, negative_binomial, multinomial, gamma, von_mises, student_t)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_large_parameters_keep_their_digits(family: Any) -> None:
    emission, ys, oracle = family(np.random.default_rng(0))
    emission, ys = constrain(emission), ys.astype(np.float32)
    found = np.asarray(jax.jit(lambda e, y: e.log_likelihoods(y, None))(emission, ys))
    truth = oracle(emission, ys.astype(np.float64))
    assert found.dtype == np.float32
    # Far from the data a log-probability is large itself, and right to float32's digits.
    np.testing.assert_allclose(found, truth, rtol=3e-6, atol=CLOSE)


def test_the_evidence_of_large_counts() -> None:
    """The sum over all steps, where errors of one sign would add up."""
    ys = np.random.default_rng(1).poisson(1e6, STEPS).astype(np.float32)
    model = ssm.HMM([1.0], [[1.0]], Poisson([1e6]))
    truth = stats.poisson.logpmf(ys.astype(np.float64), large(constrain(model).emission.rate)[0]).sum()
    np.testing.assert_allclose(ssm.log_prob(model, ys), truth, atol=STEPS * CLOSE / 10)


def test_a_regression_on_large_counts() -> None:
    rng = np.random.default_rng(2)
    us = np.abs(rng.normal(size=(STEPS, 1))).astype(np.float32)
    emission = PoissonRegression([[0.5], [-200.0]], [13.0, 0.0])
    rates = np.exp(large(us) * large(emission.weights)[:, 0] + large(emission.bias))
    ys = rng.poisson(rates[:, 0]).astype(np.float32)
    found = np.asarray(jax.jit(lambda e, y, u: e.log_likelihoods(y, u))(emission, ys, us))
    truth = stats.poisson.logpmf(large(ys)[:, None], rates)[:, 0]
    # The predictor is rounded by 1e-6: log-rates of 13 or more, times deviations of 2000.
    np.testing.assert_allclose(found[:, 0], truth, atol=5e-3)
    assert np.isfinite(found).all()  # a rate of exp(-200) is no zero


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_both_formulas_agree_with_their_slopes(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 the plain form is exact for these sizes: values and slopes of the other one are compared with it."""
    emission, ys, _ = family(np.random.default_rng(3))
    ys = jnp.asarray(ys[-40:], float)

    def both(emission: Any) -> Any:
        def total(emission: Any) -> jax.Array:
            table = constrain(emission).log_likelihoods(ys, None)
            return jnp.sum(jnp.where(jnp.isfinite(table), table, 0))

        return eqx.filter_value_and_grad(total)(emission)

    plain = both(emission)
    for module in ("poisson", "gamma", "von_mises", "bernoulli", "multinomial"):
        monkeypatch.setattr(
            f"ssm.emissions.counts.{module}.keeps_digits", lambda largest, dtype: jnp.zeros((), bool) & False
        )
    if family in (binomial, multinomial):
        for module in ("bernoulli", "multinomial"):
            monkeypatch.setattr(f"ssm.emissions.counts.{module}.keeps_digits", lambda largest, dtype: False)
    # Terms of 1e8 in the plain form, rounded by 1e-16 of themselves, forty of them.
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-6)
    jax.tree.map(compare, eqx.filter(both(emission), eqx.is_array), eqx.filter(plain, eqx.is_array))
