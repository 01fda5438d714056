"""Data that a family cannot emit: an error that names them where they are seen, no plausible number under jit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm import conjugate, heads
from ssm.emissions import (
    Bernoulli,
    Binomial,
    Categorical,
    CategoricalRegression,
    Exponential,
    Gamma,
    Labelled,
    LogisticRegression,
    Mixture,
    Multinomial,
    NegativeBinomial,
    Normal,
    Poisson,
    PoissonRegression,
    Product,
    Shared,
    Tied,
    VonMises,
)
from ssm.parameters import constrain

KEY = jax.random.key(0)
EVEN = np.full((2, 2), 0.5)
TWO = [1.0, 2.0]
SLOPES, LEVELS = [[0.5], [1.0]], [0.0, 0.1]
INPUTS = np.ones((3, 1), np.float32)


def hmm(emission: Any) -> ssm.HMM:
    return ssm.HMM([0.5, 0.5], EVEN, emission)


# A family, three observations that it can emit, and some that it cannot.
FAMILIES: dict[str, tuple[Any, list, list]] = {
    "bernoulli": (lambda: Bernoulli([0.2, 0.7]), [0.0, 1.0, 1.0], [7.0, -1.0, 0.5]),
    "binomial": (lambda: Binomial(3, [0.2, 0.7]), [0.0, 3.0, 1.0], [7.0, -1.0, 0.5]),
    "multinomial": (lambda: Multinomial(3, EVEN), [[0.0, 3.0], [1.0, 2.0], [2.0, 1.0]], [[4.0, -1.0], [0.5, 2.5]]),
    "poisson": (lambda: Poisson(TWO), [0.0, 3.0, 9.0], [-1.0, 0.5]),
    "negative-binomial": (lambda: NegativeBinomial(TWO, TWO), [0.0, 3.0, 9.0], [-1.0, 0.5]),
    "exponential": (lambda: Exponential(TWO), [0.0, 3.0, 0.5], [-1.0]),
    "gamma": (lambda: Gamma(TWO, TWO), [0.1, 3.0, 0.5], [-1.0]),
    "von-mises": (lambda: VonMises(TWO, TWO), [-np.pi, 3.0, np.pi], [180.0, -7.0]),
    "logistic": (lambda: LogisticRegression(SLOPES, LEVELS), [0.0, 1.0, 1.0], [7.0, -1.0, 0.5]),
    "poisson-regression": (lambda: PoissonRegression(SLOPES, LEVELS), [0.0, 3.0, 9.0], [-1.0, 0.5]),
    "categorical": (lambda: Categorical(EVEN), [0, 1, 1], [2, -1]),
    "categorical-regression": (lambda: CategoricalRegression(np.ones((2, 2, 1)), EVEN), [0, 1, 1], [2, -1]),
}


def cases(name: str) -> tuple[Any, Any, list[Any]]:
    """The emission, possible observations, and such as have one among them that is not."""
    make, possible, impossible = FAMILIES[name]
    possible = np.array(possible)
    return make(), possible, [np.concatenate([possible[:2], np.array([bad])]) for bad in impossible]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_cannot_be_emitted_is_an_error_or_no_number(name: str) -> None:
    emission, possible, impossible = cases(name)
    us = jnp.asarray(INPUTS) if emission.num_inputs else None
    model = hmm(emission)
    table = jax.jit(lambda ys: constrain(emission).log_likelihoods(ys, us))
    # The density that forecasts and particles use, at the last observation.
    density = jax.jit(lambda y: constrain(emission).given(jnp.array(0), None if us is None else us[0]).log_prob(y))
    in_dtype = lambda ys: jnp.asarray(ys) if ys.dtype.kind == "i" else jnp.asarray(ys, jnp.float32)
    assert np.isfinite(table(in_dtype(possible))).all() and np.isfinite(density(in_dtype(possible)[-1]))
    for ys in impossible:
        with pytest.raises(ValueError, match="ys: "):
            ssm.log_prob(model, ys, us)
        assert not np.isfinite(table(in_dtype(ys))[-1]).any(), ys
        assert not np.isfinite(density(in_dtype(ys)[-1])), ys


@pytest.mark.parametrize("wrap", ["product", "labelled", "shared", "tied", "mixture", "nested"])
@pytest.mark.parametrize("name", ["logistic", "von-mises", "categorical", "poisson"])
def test_what_is_inside_is_asked(name: str, wrap: str) -> None:
    emission, possible, impossible = cases(name)
    us = INPUTS if emission.num_inputs else None
    beside = lambda ys: np.column_stack([ys - 0.5, ys])  # what no part but a normal could emit comes first
    if wrap in ("product", "nested"):
        possible, impossible = beside(possible), [beside(ys) for ys in impossible]
    product = lambda: Product(Normal([0.0, 1.0], [1.0, 1.0]), emission)
    wrapped = {
        "product": product,
        "labelled": lambda: Labelled(emission),
        "shared": lambda: Shared(lambda p: emission, {"unused": 0.0}),
        "tied": lambda: Tied(emission, [0, 1]),
        "mixture": lambda: Mixture([[1.0], [1.0]], emission),
        "nested": lambda: Labelled(Tied(product(), [1, 0])),
    }[wrap]()
    model = hmm(wrapped)
    labels = {"labels": np.full(3, -1), **({} if us is None else {"inputs": us})}
    us = labels if isinstance(wrapped, Labelled) else us
    ssm.data.observe(model, possible, us)
    column = "ys: column 1, of parts.1: " if wrap in ("product", "nested") else "ys: "
    for ys in impossible:
        with pytest.raises(ValueError, match=column):
            ssm.log_prob(model, ys, us)
    gap = impossible[0].astype(float)
    gap[-1] = np.nan
    ssm.data.observe(model, gap, us)  # what is missing is not looked at


def test_columns_of_a_product_are_checked_before_a_fit() -> None:
    model = hmm(Product(LogisticRegression(SLOPES, LEVELS), Normal([0.0, 1.0], [1.0, 1.0])))
    ys = np.array([[1.0, 0.2], [2.0, 0.3], [1.0, 0.4]])
    with pytest.raises(ValueError, match=r"column 0, of parts\.0: .* 0 or 1, got 2"):
        ssm.fit(model, ys, ssm.EM(), inputs=INPUTS, progress=False)


def test_symbols_in_a_column_are_whole_numbers() -> None:
    model = hmm(Product(Multinomial(3, EVEN), Categorical(EVEN)))
    ys = np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.7]])
    with pytest.raises(ValueError, match=r"column 2, of parts\.1: symbols are whole numbers, got 0\.7"):
        ssm.log_prob(model, ys)
    with pytest.raises(ValueError, match=r"columns 0 to 1, of parts\.0: .*got 2\.5"):
        ssm.log_prob(model, np.array([[0.5, 2.5, 0.0]])[:, [1, 0, 2]])
    assert np.isnan(jax.jit(lambda ys: ssm.log_prob(model, ys))(jnp.asarray(ys, jnp.float32)))


OTHERS = {
    "Bernoulli head": lambda: ssm.RNN(ssm.cells.GRU(1, 2, key=KEY), heads.Bernoulli(2, key=KEY)),
    "BetaBernoulli": lambda: ssm.ChangePoint(conjugate.BetaBernoulli(1.0, 1.0), 0.1, 3),
    "GammaPoisson": lambda: ssm.ChangePoint(conjugate.GammaPoisson(1.0, 1.0), 0.1, 3),
}


@pytest.mark.parametrize("name", OTHERS)
def test_heads_and_conjugate_families_too(name: str) -> None:
    model = OTHERS[name]()
    evidence = jax.jit(lambda ys: ssm.log_prob(model, ys))
    assert np.isfinite(evidence(jnp.array([0.0, 1.0, 1.0])))
    for bad in (0.5, -1.0):
        assert not np.isfinite(evidence(jnp.array([0.0, bad, 1.0])))
