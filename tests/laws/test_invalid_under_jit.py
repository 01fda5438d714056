"""Parameters that constructors refuse: where they cannot be looked at, under jit, the evidence is NaN."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm import conjugate, durations, emissions, transitions
from ssm.parameters import Simplex, constrain

pytestmark = pytest.mark.usefixtures("float64")


HALF, EVEN, EYE = np.array([0.5, 0.5]), np.full((2, 2), 0.5), np.eye(2)
TWO = np.array([1.0, 2.0])
ROWS = np.array([[0.3, 0.7], [0.6, 0.4]])
NO_ROWS = [np.array([[1.3, -0.3], [0.6, 0.4]]), np.array([[0.3, 0.6], [0.6, 0.4]])]  # negative; not summing to one
NOT_POSITIVE = [np.array([1.0, -2.0]), np.array([0.0, 2.0]), np.array([np.inf, 2.0])]
NOT_FINITE = [np.array([np.nan, 2.0]), np.array([np.inf, 2.0])]
NO_PROBABILITIES = [np.array([1.5, 0.5]), np.array([-0.5, 0.5])]
MATRICES = np.stack([EYE, 2 * EYE])
SLOPES = np.ones((2, 1))

Case = tuple[Any, np.ndarray, list[np.ndarray]]  # make(parameter), a valid parameter, such as are refused

EMISSIONS: dict[str, Case] = {
    "AdditiveNormal": (lambda v: emissions.AdditiveNormal([TWO], v), np.array(1.0), [np.array(0.0), np.array(-1.0)]),
    "Bernoulli": (emissions.Bernoulli, HALF, NO_PROBABILITIES),
    "Binomial": (lambda v: emissions.Binomial(3, v), HALF, NO_PROBABILITIES),
    "Categorical": (emissions.Categorical, ROWS, NO_ROWS),
    "CategoricalRegression": (
        lambda v: emissions.CategoricalRegression(v * np.ones((2, 2, 1)), EVEN),
        HALF[:1],
        [[np.inf]],
    ),
    "Exponential": (emissions.Exponential, TWO, NOT_POSITIVE),
    "FactorNormal": (lambda v: emissions.FactorNormal(EYE, EYE[..., None], v * np.ones((2, 2))), TWO, NOT_POSITIVE),
    "Gamma": (lambda v: emissions.Gamma(v, TWO), TWO, NOT_POSITIVE),
    "Gamma rate": (lambda v: emissions.Gamma(TWO, v), TWO, NOT_POSITIVE),
    "Labelled": (lambda v: emissions.Labelled(emissions.Normal(TWO, v)), TWO, NOT_POSITIVE),
    "LinearRegression": (lambda v: emissions.LinearRegression(SLOPES, TWO, v), TWO, NOT_POSITIVE),
    "LogisticRegression": (lambda v: emissions.LogisticRegression(SLOPES, v), TWO, NOT_FINITE),
    "Mixture": (lambda v: emissions.Mixture(v, emissions.Normal([0.0, 1.0, 2.0, 3.0], np.ones(4))), ROWS, NO_ROWS),
    "Multinomial": (lambda v: emissions.Multinomial(1, v), ROWS, NO_ROWS),
    "MultivariateLinearRegression": (
        lambda v: emissions.MultivariateLinearRegression(SLOPES[..., None] * np.ones((2, 2, 1)), v * EVEN, MATRICES),
        TWO,
        NOT_FINITE,
    ),
    "MultivariateNormal": (lambda v: emissions.MultivariateNormal(v * EVEN, MATRICES), TWO, NOT_FINITE),
    "MultivariateStudentT": (lambda v: emissions.MultivariateStudentT(EYE, MATRICES, v), TWO, NOT_POSITIVE),
    "NegativeBinomial": (lambda v: emissions.NegativeBinomial(v, TWO), TWO, NOT_POSITIVE),
    "NegativeBinomial mean": (lambda v: emissions.NegativeBinomial(TWO, v), TWO, [np.array([1.0, -2.0]), *NOT_FINITE]),
    "NoisyNormal": (lambda v: emissions.NoisyNormal(TWO, v), TWO, NOT_POSITIVE),
    "Normal": (lambda v: emissions.Normal(TWO, v), TWO, NOT_POSITIVE),
    "Poisson": (emissions.Poisson, TWO, [np.array([1.0, -2.0]), *NOT_FINITE]),
    "PoissonRegression": (lambda v: emissions.PoissonRegression(SLOPES, v), TWO, NOT_FINITE),
    "Product": (lambda v: emissions.Product(emissions.Normal(TWO, v), emissions.Poisson(TWO)), TWO, NOT_POSITIVE),
    "Shared": (lambda v: emissions.Shared(lambda p: emissions.Normal(p, p), v), TWO, NOT_POSITIVE),
    "SharedScaleNormal": (lambda v: emissions.SharedScaleNormal(TWO, v), TWO[:1], [np.array([-1.0]), np.array([0.0])]),
    "StudentT": (lambda v: emissions.StudentT(TWO, v, TWO), TWO, NOT_POSITIVE),
    "StudentT df": (lambda v: emissions.StudentT(TWO, TWO, v), TWO, NOT_POSITIVE),
    "Tied": (lambda v: emissions.Tied(emissions.Normal(TWO, v), [0, 1]), TWO, NOT_POSITIVE),
    "TiedMultivariateNormal": (lambda v: emissions.TiedMultivariateNormal(v * EVEN, EYE), TWO, NOT_FINITE),
    "VonMises": (lambda v: emissions.VonMises(TWO, v), TWO, NOT_POSITIVE),
}
normals = lambda: emissions.Normal(TWO, TWO)
fours = lambda: emissions.Normal([0.0, 1.0, 2.0, 3.0], np.ones(4))
hsmm = lambda family: ssm.HSMM(HALF, EVEN, family, normals())
hmm = lambda transition, emission=None: ssm.HMM(HALF, transition, emission or normals())
quarters = np.full(4, 0.25)
TABLE = np.broadcast_to(HALF, (2, 2, 2))
segment = lambda make: lambda v: ssm.ChangePoint(make(v), 0.1, 3)
square = lambda **changed: ssm.LinearGaussian(
    **(
        dict(initial_mean=np.zeros(2), initial_covariance=EYE, transition_matrix=EYE / 2, transition_covariance=EYE)
        | dict(emission_matrix=EYE, emission_covariance=EYE)
        | changed
    )
)

MODELS: dict[str, Case] = {
    "HMM": (lambda v: ssm.HMM(v, EVEN, normals()), HALF, [np.array([0.5, 0.6]), np.array([1.5, -0.5])]),
    "HMM stationary": (lambda v: ssm.HMM("stationary", v, normals()), ROWS, NO_ROWS),
    "Homogeneous": (hmm, ROWS, NO_ROWS),
    "TimeVarying": (lambda v: hmm(transitions.TimeVarying(jnp.stack([v, v, v]))), ROWS, NO_ROWS),
    "Driven": (lambda v: hmm(transitions.Driven(v, np.ones((2, 2, 1)))), ROWS, NO_ROWS),
    "Sparse": (lambda v: hmm(transitions.Sparse([[0, 1], [1, 0]], v)), ROWS, NO_ROWS),
    "LowRank": (lambda v: hmm(transitions.LowRank(v, ROWS)), ROWS, NO_ROWS),
    "LowRank enter": (lambda v: hmm(transitions.LowRank(ROWS, v)), ROWS, NO_ROWS),
    "Recent": (lambda v: ssm.HMM(quarters, transitions.Recent(v, 2), fours()), ROWS, NO_ROWS),
    "Factorial": (lambda v: ssm.FactorialHMM([HALF, HALF], [v, ROWS], fours()), ROWS, NO_ROWS),
    "Factorial start": (lambda v: ssm.FactorialHMM([v[0], HALF], [ROWS, ROWS], fours()), ROWS, NO_ROWS),
    "Coupled": (
        lambda v: ssm.HMM(None, transitions.Coupled([v * np.ones((2, 2, 2)), TABLE], [HALF, HALF]), fours()),
        ROWS,
        NO_ROWS,
    ),
    "Durations": (lambda v: ssm.HSMM(HALF, v, durations.Poisson(TWO, 2), normals()), ROWS, NO_ROWS),
    "durations.Categorical": (lambda v: hsmm(durations.Categorical(v)), ROWS, NO_ROWS),
    "durations.Geometric": (lambda v: hsmm(durations.Geometric(v, 2)), HALF, NO_PROBABILITIES),
    "durations.Poisson": (lambda v: hsmm(durations.Poisson(v, 2)), TWO, NOT_POSITIVE),
    "durations.NegativeBinomial": (lambda v: hsmm(durations.NegativeBinomial(v, TWO, 2)), TWO, NOT_POSITIVE),
    "ChangePoint": (
        lambda v: ssm.ChangePoint(conjugate.NormalMean(0.0, 1.0, 1.0), v, 3),
        HALF,
        NO_PROBABILITIES,
    ),
    "NormalMean": (segment(lambda v: conjugate.NormalMean(0.0, v[0], v[1])), TWO, NOT_POSITIVE),
    "NormalInverseGamma": (segment(lambda v: conjugate.NormalInverseGamma(0.0, v[0], v[1], 1.0)), TWO, NOT_POSITIVE),
    "NormalInverseWishart": (
        segment(lambda v: conjugate.NormalInverseWishart(np.zeros(2), v[0], v[1], EYE)),
        TWO,
        [*NOT_POSITIVE, np.array([1.0, 0.5])],
    ),
    "BetaBernoulli": (segment(lambda v: conjugate.BetaBernoulli(v[0], v[1])), TWO, NOT_POSITIVE),
    "GammaPoisson": (segment(lambda v: conjugate.GammaPoisson(v[0], v[1])), TWO, NOT_POSITIVE),
    "DirichletCategorical": (segment(conjugate.DirichletCategorical), TWO, NOT_POSITIVE),
    "LinearGaussian": (lambda v: square(emission_matrix=v * EVEN), TWO, NOT_FINITE),
    "Diagonal": (
        lambda v: square(emission_covariance=ssm.Diagonal(v)),
        TWO,
        [np.array([1.0, -1.0]), *NOT_FINITE],
    ),
    "Tied": (
        lambda v: square(transition_matrix=ssm.Tied(v, [[0, 1], [1, 0]])),
        EYE / 2,
        [np.array([[0.3, 0.1], [0.2, 0.3]])],
    ),
    "ARHMM": (lambda v: ssm.ARHMM(HALF, v, np.zeros((2, 2, 2)), EYE, MATRICES), ROWS, NO_ROWS),
}


def evidence(model: Any) -> Any:
    """log p of two observations that every model of the table can make."""
    ys = jnp.zeros((2, *model.event_shape), int if model.event_kind == "symbol" else float)
    return ssm.log_prob(model, ys, jnp.ones((2, 1)) if model.num_inputs else None, schedule="sequential")


def likelihood(emission: Any) -> Any:
    """log p of two observations that every family of the table can make, in every state."""
    ones = jnp.ones((2, *emission.event_shape), int if emission.event_kind == "symbol" else float)
    ones = ones.at[:, 1:].set(0) if isinstance(emission, emissions.Multinomial) else ones
    us = {"labels": jnp.full(2, -1)} if isinstance(emission, emissions.Labelled) else jnp.ones((2, 1))
    return constrain(emission).log_likelihoods(ones, us if emission.num_inputs != 0 else None)


@pytest.mark.parametrize("name", EMISSIONS)
def test_families_with_parameters_that_are_none(name: str) -> None:
    make, valid, invalid = EMISSIONS[name]
    total = jax.jit(lambda v: jnp.sum(likelihood(make(v))))
    assert np.isfinite(total(valid))
    for bad in invalid:
        if name != "Shared":  # calls its function under jit alone
            with pytest.raises(ValueError):
                make(np.asarray(bad))
        assert np.isnan(total(np.asarray(bad))), bad


@pytest.mark.parametrize("name", MODELS)
def test_models_with_parameters_that_are_none(name: str) -> None:
    make, valid, invalid = MODELS[name]
    total = jax.jit(lambda v: evidence(make(v)))
    assert np.isfinite(total(valid))
    for bad in invalid:
        with pytest.raises(ValueError):
            make(bad)
        assert np.isnan(total(bad)), bad


def test_every_family_is_in_the_table() -> None:
    tables = {name.split(" ")[0] for name in (*EMISSIONS, *MODELS)}
    made_by_others = {"Distribution", "Segment", "Tabulated"}  # a function's; what HSMM and durations make
    for module, prefix in ((emissions, ""), (transitions, ""), (conjugate, ""), (durations, "durations.")):
        classes = [n for n, item in vars(module).items() if inspect.isclass(item) and not n.startswith("Abstract")]
        missing = [n for n in classes if prefix + n not in tables and n not in made_by_others]
        assert not missing, missing


def test_gradients_of_what_is_valid_do_not_see_the_checks() -> None:
    ys = jnp.array([0, 1, 1, 0])

    def value(logit: Any, zero: Any) -> Any:
        p = jax.nn.sigmoid(logit)
        start, matrix = jnp.stack([p, 1 - p, zero]), jnp.stack([jnp.stack([1 - p, p, zero])] * 3)
        return ssm.log_prob(ssm.HMM(start, matrix, emissions.Categorical([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])), ys)

    at = jnp.array(0.3)
    slope = jax.jit(jax.grad(value))(at, jnp.array(0.0))
    step = 1e-5  # truncation 1e-10 and rounding 1e-11 of the central difference
    np.testing.assert_allclose(slope, (value(at + step, 0.0) - value(at - step, 0.0)) / (2 * step), rtol=1e-8)
    stored = jax.jit(lambda v: Simplex.of(v).constrained())(jnp.array([[0.5, 0.5, 0.0], [jnp.nan, 0.5, 0.0]]))
    np.testing.assert_array_equal(stored[0], [0.5, 0.5, 0.0])
    assert np.isnan(stored[1]).all()


def test_a_fit_that_is_traced_ends_in_nan() -> None:
    def gradient(scale: Any) -> Any:
        model = hmm(EVEN, emissions.Normal(TWO, scale))
        return eqx.filter_value_and_grad(lambda m: ssm.log_prob(m, jnp.zeros(4)))(model)[0]

    batch = jax.vmap(gradient)(jnp.array([[1.0, 1.0], [1.0, -1.0]]))
    assert np.isfinite(batch[0]) and np.isnan(batch[1])
