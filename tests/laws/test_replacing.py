"""`model.replace(name=value)`: every model and every family, against its constructor."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import distrax
import emission_families
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from oracles import central_differences

import ssm
from ssm.parameters import plain
from ssm.parameters.replacing import AbstractReplaceable

KEY = jax.random.key(0)
CLOSE = {"rtol": 2e-6, "atol": 1e-6}  # float32: a value, its logarithm or root, and back


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def chain(transition: Callable[[np.random.Generator], Any], size: int = 3) -> Callable[[np.random.Generator], ssm.HMM]:
    """A chain over three normals, or over as many as fit."""

    def make(rng: np.random.Generator) -> ssm.HMM:
        emission = ssm.emissions.Normal(rng.normal(size=3), rng.uniform(1, 2, 3), 0.01)
        return ssm.HMM(rows(rng, size), transition(rng), ssm.emissions.Tied(emission, 3) if size == 9 else emission)

    return make


def system(**options: Any) -> Callable[[np.random.Generator], ssm.LinearGaussian]:
    def make(rng: np.random.Generator) -> ssm.LinearGaussian:
        matrix = np.diag(rng.uniform(0.2, 0.8, 2))
        return ssm.LinearGaussian(rng.normal(size=2), np.eye(2), matrix, np.eye(2), np.eye(2), np.eye(2), **options)

    return make


def structured(rng: np.random.Generator) -> ssm.LinearGaussian:
    return ssm.LinearGaussian(
        np.zeros(2),
        ssm.Diagonal(rng.uniform(1, 2, 2)),
        ssm.Tied(rng.uniform(0.1, 0.9) * np.eye(2), np.eye(2, dtype=int)),
        ssm.Spherical(rng.uniform(1, 2), 2),
        np.eye(2),
        ssm.BlockDiagonal([np.eye(1), np.eye(1)]),
        emission_bias=rng.normal(size=2),
    )


def segments(kind: Callable, *sizes: Any) -> Callable[[np.random.Generator], ssm.ChangePoint]:
    return lambda rng: ssm.ChangePoint(kind(*(rng.uniform(1, 2, size) for size in sizes)), rng.uniform(0.1, 0.2), 5)


# What is neither in the zoo nor an emission family of the tests.
OTHERS: dict[str, Callable[[np.random.Generator], Any]] = {
    "sticky": chain(lambda rng: ssm.transitions.Homogeneous(rows(rng, 3, 3), 2.0)),
    "stationary": lambda rng: ssm.HMM("stationary", rows(rng, 3, 3), ssm.emissions.Categorical(rows(rng, 3, 3))),
    "driven": chain(lambda rng: ssm.transitions.Driven(rows(rng, 3, 3), rng.normal(size=(3, 3, 2)))),
    "in time": chain(lambda rng: ssm.transitions.TimeVarying(rows(rng, 4, 3, 3))),
    "low rank": chain(lambda rng: ssm.transitions.LowRank(rows(rng, 3, 2), rows(rng, 2, 3))),
    "sparse": chain(lambda rng: ssm.transitions.Sparse(np.array([[0, 1], [2, 1], [0, 2]]), rows(rng, 3, 2))),
    "recent": chain(lambda rng: ssm.transitions.Recent(rows(rng, 3, 3), 2), size=9),
    "labelled": lambda rng: ssm.emissions.Labelled(ssm.emissions.Categorical(rows(rng, 3, 3))),
    "stable": system(stable=True),
    "correlated": system(cross_covariance=0.3 * np.eye(2)),
    "diffuse": system(diffuse=np.array([True, False])),
    "structured": structured,
    "regression": lambda rng: ssm.emissions.LinearRegression(rng.normal(size=(3, 2)), np.ones(3), np.ones(3), 0.01),
    "symbols of inputs": lambda rng: ssm.emissions.CategoricalRegression(rng.normal(size=(3, 4, 2)), np.ones((3, 4))),
    "additive": lambda rng: ssm.emissions.AdditiveNormal([rng.normal(size=2), rng.normal(size=2)], 0.5, 0.01),
    "noisy": lambda rng: ssm.emissions.NoisyNormal(rng.normal(size=3), rng.uniform(1, 2, 3)),
    "shared": lambda rng: ssm.emissions.Shared(spread, {"loc": rng.normal(size=3), "log_scale": 0.1}),
    "any": lambda rng: ssm.emissions.Distribution(bell, {"loc": rng.normal(size=3)}),
    "counts": segments(ssm.conjugate.GammaPoisson, (), ()),
    "bits": segments(ssm.conjugate.BetaBernoulli, 2, 2),
    "symbols": segments(ssm.conjugate.DirichletCategorical, 4),
    "vectors": segments(lambda m, c, f: ssm.conjugate.NormalInverseWishart(m, c, f + 2, np.eye(2)), 2, (), ()),
    "durations": lambda rng: ssm.durations.NegativeBinomial(rng.uniform(1, 2, 2), rng.uniform(1, 2, 2), 3),
    "functions": lambda rng: ssm.StateSpaceModel(
        Start(jnp.asarray(rng.normal())), walk, walk, example_input={"a": jnp.zeros(2)}
    ),
}


@functools.cache
def made(name: str, seed: int = 0) -> Any:
    """One of all models and families, with parameters drawn from `seed`."""
    rng = np.random.default_rng(seed)
    if name in OTHERS:
        return OTHERS[name](rng)
    if name in emission_families.FAMILIES:
        return emission_families.FAMILIES[name].make(rng)[0]
    return next(member for member in zoo.MEMBERS if member.name == name).model(seed)


class Start(eqx.Module):
    """A start with a parameter, which reads an input."""

    loc: jax.Array

    def __call__(self, u: Any) -> Any:
        return distrax.Normal(self.loc + u["a"][0], 1.0)


def walk(x: Any, u: Any) -> Any:
    return distrax.Normal(x + u["a"][1], 1.0)


def bell(parameters: Any, u: Any) -> Any:
    return distrax.Normal(parameters["loc"], 1.0)


def spread(p: Any) -> Any:
    return ssm.emissions.Normal(p["loc"], jnp.full(3, jnp.exp(p["log_scale"])))


NAMES = [*(member.name for member in zoo.MEMBERS), *emission_families.FAMILIES, *OTHERS]
# Members of one class, and families of one structure, stand for each other in every run.
TWINS = {
    "HMM-normal-scalar",
    "HMM-normal-vector",
    "HMM-multivariate-normal",
    "Factorial-additive",
    "LinearGaussian-plain",
    "LinearGaussian-in-time",
    "LinearGaussian-singular",
    "RNN-categorical",
    "RNN-inputs",
    "vector",
    "tied",
    "spherical",
    "heavy-scalar",
    "heavy-vector",
    "tied-scalar",
    "exponential",
    "binomial",
}
SOME = [pytest.param(name, marks=[pytest.mark.slow] if name in TWINS else []) for name in NAMES]


def same(one: Any, other: Any) -> None:
    """One structure, with its options, and close values."""
    one, other = plain(one), plain(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def argument_names(model: AbstractReplaceable) -> list[str]:
    return [*model._arguments()]


@pytest.mark.parametrize("name", SOME)
def test_its_own_values_change_nothing_and_leave_the_rest_as_it_is(name: str) -> None:
    model = made(name)
    numbers, rest = eqx.partition(model._arguments(), eqx.is_inexact_array)
    assert rest

    @eqx.filter_jit  # one program; and it may be traced
    def replaced(model: Any, numbers: dict[str, Any]) -> list[Any]:
        return [model.replace(**{name: value}) for name, value in eqx.combine(numbers, rest).items()]

    for argument, new in zip(rest, replaced(model, numbers), strict=True):
        same(new, model)
        for field in dataclasses.fields(model):
            if argument not in model._sources(field.name):
                leaves = [jax.tree.leaves(eqx.filter(getattr(each, field.name), eqx.is_array)) for each in (model, new)]
                assert all(map(np.array_equal, *leaves)), field.name  # bit by bit


@pytest.mark.parametrize("name", SOME)
def test_other_values_are_those_of_the_constructor(name: str) -> None:
    model, other = made(name), made(name, 1)
    if isinstance(model, ssm.VRNN | ssm.ARHMM | ssm.emissions.Product):
        pytest.skip("by names of its own, below")
    for argument, value in other._arguments().items():
        same(model.replace(**{argument: value}), type(model)(**(model._arguments() | {argument: value})))
    same(model.replace(**other._arguments()), other)


def test_names_are_those_that_are_frozen() -> None:
    model = made("sticky")
    new = model.replace(**{"emission.loc": [7.0, 8.0, 9.0], "transition.probs": np.full((3, 3), 1 / 3)})
    np.testing.assert_array_equal(new.emission.loc, [7, 8, 9])
    np.testing.assert_allclose(new.transition, 1 / 3, rtol=1e-6)  # float32
    assert new.emission._scale.log is model.emission._scale.log
    assert new.emission.minimum_scale == 0.01
    network = zoo.categorical_rnn(KEY)
    weight = network.head.linear.weight + 1
    moved = network.replace(**{"head.linear.weight": weight})
    np.testing.assert_array_equal(moved.head.linear.weight, weight)
    assert moved.head.linear.bias is network.head.linear.bias
    stacked = zoo.stacked_rnn(KEY)
    moved = stacked.replace(**{"cell.cells.1.bias": np.ones(2)})
    np.testing.assert_array_equal(moved.cell.cells[1].bias, [1, 1])
    assert moved.cell.cells[0].cell.bias is stacked.cell.cells[0].cell.bias
    mixture = made("mixture").replace(**{"parts.loc": np.ones((6, 2))})
    np.testing.assert_array_equal(mixture.parts.loc, 1)
    shared = made("shared").replace(**{"parameters.log_scale": 1.5})
    np.testing.assert_allclose(shared.emission.scale, np.exp(1.5), rtol=1e-6)
    regression = zoo.autoregressive_hmm(KEY)
    new = regression.replace(bias=np.ones((2, 2)), transition=np.eye(2), past=np.ones((2, 2)))
    np.testing.assert_array_equal([new.bias, new.transition, new.past], [np.ones((2, 2)), np.eye(2), np.ones((2, 2))])
    assert new.weights is regression.weights
    particles = zoo.particle_filter(KEY)
    new = particles.replace(num_particles=3, **{"model.transition_bias": np.ones(3)})
    assert new.num_particles == 3
    np.testing.assert_array_equal(new.model.transition_bias, 1)


def test_a_prior_and_hard_zeros_stay() -> None:
    banded = np.array([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7], [0.0, 0.0, 1.0]])
    model = ssm.HMM([1.0, 0.0, 0.0], ssm.transitions.Homogeneous(banded, 2.0), ssm.emissions.Normal.random(KEY, 3))
    other = np.array([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8], [0.0, 0.0, 1.0]])
    new = model.replace(transition=other)
    same(new, ssm.HMM(model.initial, ssm.transitions.Homogeneous(other, 2.0), model.emission))
    np.testing.assert_array_equal(new.transition == 0, other == 0)
    with pytest.raises(ValueError, match="pseudo_counts: .* 0 for impossible moves"):
        model.replace(transition=np.eye(3))


def test_correlated_noises_are_replaced_one_by_one(float64: None) -> None:
    model = OTHERS["correlated"](np.random.default_rng(0))
    for name in ("transition_covariance", "emission_covariance", "cross_covariance"):
        value = 2 * getattr(model, name) if name != "cross_covariance" else getattr(model, name) / 2
        new = model.replace(**{name: value})
        for each in ("transition_covariance", "emission_covariance", "cross_covariance"):
            expected = value if each == name else getattr(model, each)
            np.testing.assert_allclose(getattr(new, each), expected, rtol=1e-12, atol=1e-12)  # float64, two roots


def test_a_gradient_is_that_of_differences(float64: None) -> None:
    model = ssm.HMM([0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], ssm.emissions.Normal([-1.0, 1.0], [1.0, 0.5]))
    ys = np.random.default_rng(0).normal(size=6)

    @jax.jit
    def value(loc: Any) -> Any:
        return ssm.log_prob(model.replace(**{"emission.loc": loc[:2], "transition": softmax(loc[2:])}), ys)

    softmax = lambda logits: jax.nn.softmax(logits.reshape(2, 2), axis=-1)
    at = jnp.array([-1.0, 0.5, 0.3, -0.2, 0.1, 0.4])
    np.testing.assert_allclose(
        jax.grad(value)(at), central_differences(value, at), atol=1e-7
    )  # steps of 1e-6 in size 10


@pytest.mark.parametrize(
    ("use", "kind", "said"),
    [
        (
            lambda: zoo.banded_hmm(KEY).replace(transitions=np.eye(3)),
            TypeError,
            "HMM.replace: there is no 'transitions'; expected initial, transition, emission$",
        ),
        (
            lambda: zoo.banded_hmm(KEY).replace(**{"emission.mean": 1.0}),
            TypeError,
            "Normal.replace: there is no 'mean'; expected loc, scale, minimum_scale",
        ),
        (
            lambda: zoo.banded_hmm(KEY).replace(**{"initial.logits": 1.0}),
            TypeError,
            "HMM.replace: initial is a .* without named parts, got logits",
        ),
        (
            lambda: zoo.banded_hmm(KEY).replace(emission=zoo.scalar_normal(KEY), **{"emission.loc": 1.0}),
            TypeError,
            "got 'emission' and also 'emission.loc'",
        ),
        (lambda: zoo.banded_hmm(KEY).replace(transition=np.ones((3, 3))), ValueError, "transition: prob.* sum to one"),
        (lambda: zoo.banded_hmm(KEY).replace(transition=np.eye(4)), ValueError, "transition: "),
        (
            lambda: zoo.banded_hmm(KEY).replace(**{"emission.scale": -np.ones(3)}),
            ValueError,
            "scale: expected positive",
        ),
        (
            lambda: zoo.categorical_rnn(KEY).replace(**{"head.linear.weight": np.ones((4, 4))}),
            ValueError,
            r"weight: expected shape \(4, 3\), got \(4, 4\)",
        ),
        (
            lambda: zoo.variational_rnn(KEY).replace(cell=ssm.cells.GRU(4, 5, key=KEY)),
            TypeError,
            "cell: expected a GRU of the sizes and options that are there",
        ),
        (lambda: zoo.categorical_rnn(KEY).replace(reads="futures"), ValueError, "reads: expected one of past"),
    ],
)
def test_misuse_says_what_was_expected(use: Callable[[], Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        use()
