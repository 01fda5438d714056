"""Data that cannot be looked at: NaN means missing under jit as it does elsewhere, and nothing else is plausible."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from zoo import Member

import ssm
from ssm.emissions import Categorical, MultivariateNormal, MultivariateStudentT, Normal, Product

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(0)
TOTAL = 6
# Two programs for one formula in float64, of numbers of order one and a few steps: a thousand roundings and more.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}

Verb = Callable[..., Any]


def numbers(answer: Any) -> list[np.ndarray]:
    """All arrays of an answer; of square roots, which have more than one form, their covariances."""
    gaussian = lambda node: hasattr(node, "covariance") and hasattr(node, "mean")
    plain = lambda node: (node.mean, node.covariance) if gaussian(node) else node
    leaves = jax.tree.leaves(jax.tree.map(plain, answer, is_leaf=gaussian))
    keys = lambda leaf: jnp.issubdtype(getattr(leaf, "dtype", float), jax.dtypes.prng_key)
    return [np.asarray(leaf) for leaf in leaves if eqx.is_array_like(leaf) and not keys(leaf)]


def assert_same(actual: Any, expected: Any) -> None:
    for a, b in zip(numbers(actual), numbers(expected), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def data(member: Member, model: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Observations with a step and a component missing, where that may be; inputs."""
    rng = np.random.default_rng(0)
    ys, us = zoo.observations(model, rng, TOTAL).astype(float), zoo.inputs(model, rng, TOTAL)
    ys[2 if member.gaps else -1] = np.nan
    if member.gaps and ys.ndim > 1:
        ys[4, 0] = np.nan
    return ys, us


REAL = zoo.dear(lambda member: not member.is_symbolic, also={"Autoregressive"})


@pytest.mark.parametrize("member", REAL)
def test_nan_means_missing_under_jit(member: Member) -> None:
    model = member.model()
    ys, us = data(member, model)
    drawing = {"key": KEY} if model.is_stochastic else {}
    answer = lambda model, ys: ssm.filter(model, ys, us, **drawing)
    traced = eqx.filter_jit(answer)
    assert_same(traced(model, jnp.asarray(ys)), answer(model, ys))
    bad = np.where(np.isnan(ys), 0.0, ys)
    bad[2] = np.inf
    found = traced(model, jnp.asarray(bad))
    assert np.isnan(found.log_prob) and np.isfinite(found.log_evidence[:2]).all()


def hmm(emission: Any) -> ssm.HMM:
    return ssm.HMM([0.4, 0.6], [[0.7, 0.3], [0.2, 0.8]], emission)


def level() -> ssm.LinearGaussian:
    one = np.ones((1, 1))
    return ssm.LinearGaussian(np.zeros(2), np.eye(2), 0.5 * np.eye(2), np.eye(2), np.ones((1, 2)), one)


def chain() -> ssm.HMM:
    return hmm(Normal([0.0, 1.0], [1.0, 2.0]))


def forecast(model: Any, ys: Any, **options: Any) -> Any:
    ahead = ssm.forecast(model, ys, 2, **options)
    return ahead.mean, ahead.interval(), ahead.sample(KEY, 2)


def slopes(model: Any, ys: Any, **options: Any) -> Any:
    return eqx.filter_grad(lambda model: ssm.log_prob(model, ys, **options))(model)


def sample(model: Any, ys: Any, **options: Any) -> Any:
    return ssm.posterior_sample(model, KEY, ys, 3, **options)


def stream(model: Any, ys: Any, **options: Any) -> Any:
    state = ssm.init(model)
    for y in ys:
        state, _ = ssm.step(model, state, y)
    return state.belief


def lags(model: Any, ys: Any, **options: Any) -> Any:
    return ssm.fixed_lag_smooth(model, ys, 1, **options).smoothed


VERBS: dict[str, tuple[Callable[[], Any], Verb]] = {
    "forecast": (chain, forecast),
    "sample": (chain, sample),
    "gradient": (chain, slopes),
    "smooth": (chain, ssm.smooth),
    "statistics": (chain, ssm.expected_statistics),
    "decode": (chain, ssm.decode),
    "decode_best": (chain, lambda model, ys, **options: ssm.decode_best(model, ys, 2, **options)),
    "pairs": (chain, lambda model, ys, **options: ssm.smooth_pairs(model, ys, np.array([0, 3]), **options)),
    "lags": (chain, lags),
    "residuals": (chain, ssm.residuals),
    "step": (chain, stream),
    "gaussian forecast": (level, forecast),
    "gaussian gradient": (level, slopes),
    "gaussian sample": (level, sample),
    "gaussian smooth": (level, ssm.smooth),
    "gaussian statistics": (level, ssm.expected_statistics),
    "gaussian innovations": (level, ssm.innovations),
    "gaussian auxiliary": (level, ssm.auxiliary_residuals),
    "gaussian step": (level, stream),
}
CHEAP = ("forecast", "sample", "gradient", "decode", "decode_best", "gaussian gradient", "gaussian forecast")
ALL_VERBS = [pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow) for name in VERBS]


@pytest.mark.parametrize("name", ALL_VERBS)
def test_every_verb_under_jit(name: str) -> None:
    make, verb = VERBS[name]
    model = make()
    ys = np.random.default_rng(1).normal(size=(TOTAL, *model.event_shape))
    ys[2] = np.nan
    traced = eqx.filter_jit(lambda model, ys: verb(model, ys))
    assert_same(traced(model, jnp.asarray(ys)), verb(model, ys))
    # An infinite number, and a NaN where the caller says that there is none: never a plausible answer.
    answers = [traced(model, jnp.asarray(np.where(np.isnan(ys), np.inf, ys)))]
    if "step" not in name:
        answers.append(eqx.filter_jit(lambda model, ys: verb(model, ys, missing=False))(model, jnp.asarray(ys)))
    for answer in answers:
        leaves = numbers(answer)
        invalid = [np.isnan(leaf).any() if leaf.dtype.kind == "f" else (leaf == -1).all() for leaf in leaves]
        by_data = "gaussian" not in name  # covariances of a linear-Gaussian model do not depend on the data
        assert all(invalid) if by_data and name not in ("gradient", "residuals") else any(invalid), leaves


@pytest.mark.parametrize("make", [chain, level])
def test_nan_under_vmap_and_in_a_gradient_of_the_data(make: Callable[[], Any]) -> None:
    model = make()
    ys = np.random.default_rng(2).normal(size=(3, TOTAL, *model.event_shape))
    ys[1, 3] = np.nan
    alone = lambda y: ssm.log_prob(model, y)
    each = np.array([alone(y) for y in ys])
    np.testing.assert_allclose(jax.vmap(alone)(jnp.asarray(ys)), each, **CLOSE)
    slope = jax.jit(jax.vmap(jax.grad(alone)))(jnp.asarray(ys))
    assert np.isfinite(slope).all() and (slope[1, 3] == 0).all()  # what is missing has no slope
    np.testing.assert_allclose(slope[1], jax.grad(alone)(jnp.asarray(ys[1])), **CLOSE)


FAMILIES = {
    "normal": lambda: MultivariateNormal(np.eye(2), np.stack([np.eye(2), 2 * np.eye(2)])),
    "student": lambda: MultivariateStudentT(np.eye(2), np.stack([np.eye(2), 2 * np.eye(2)]), [3.0, 4.0]),
    "product": lambda: Product(Normal([0.0, 1.0], [1.0, 2.0]), Categorical([[0.3, 0.7], [0.6, 0.4]])),
}


@pytest.mark.parametrize("name", [pytest.param(f, marks=[pytest.mark.slow] * (f == "student")) for f in FAMILIES])
def test_steps_may_be_missing_whole_or_in_part(name: str) -> None:
    model = hmm(FAMILIES[name]())
    ys = np.array([[0.3, 1.0], [0.5, 0.0], [-1.0, 1.0], [0.1, 1.0]])
    whole, partly = ys.copy(), ys.copy()
    whole[1], partly[1, 0], partly[2] = np.nan, np.nan, np.nan
    traced = eqx.filter_jit(eqx.filter_value_and_grad(lambda model, ys: ssm.log_prob(model, ys)))
    for each in (ys, whole, partly):
        expected = eqx.filter_value_and_grad(lambda model: ssm.log_prob(model, each))(model)
        assert_same(traced(model, jnp.asarray(each)), expected)


def test_what_cannot_be_left_out_in_part_is_nan() -> None:
    rng = np.random.default_rng(3)
    ys = rng.normal(size=(4, 2))
    model = next(member for member in zoo.MEMBERS if member.name == "Autoregressive").model()
    evidence = jax.jit(lambda ys: ssm.log_prob(model, ys))
    assert np.isfinite(evidence(ys))
    for gap in ((1, slice(None)), (1, 0), (3, 1)):
        broken = ys.copy()
        broken[gap] = np.nan
        with pytest.raises(ValueError, match="nothing may be missing"):
            ssm.log_prob(model, broken)
        assert np.isnan(evidence(broken)), gap


def test_a_nan_in_padding_or_where_masked_is_not_looked_at() -> None:
    model, ys = chain(), np.array([0.1, 0.5, np.nan, np.nan])
    padded = jax.jit(lambda ys, length: ssm.log_prob(model, ys, lengths=length, missing=False))
    np.testing.assert_allclose(padded(ys, 2), ssm.log_prob(model, ys[:2]), **CLOSE)
    masked = jax.jit(lambda ys, mask: ssm.log_prob(model, ys, mask=mask, missing=False))
    np.testing.assert_allclose(masked(ys, np.array([True, True, False, False])), padded(ys, 2), **CLOSE)
    assert np.isnan(masked(ys, np.array([True, True, True, False])))


def test_inputs_are_known() -> None:
    model = zoo.linear_gaussian(num_inputs=2)(KEY)
    ys, us = np.zeros((3, 2)), np.zeros((3, 2))
    evidence = jax.jit(lambda us: ssm.log_prob(model, ys, us))
    assert np.isfinite(evidence(us))
    for bad in (np.nan, np.inf):
        us[1, 0] = bad
        assert np.isnan(evidence(us))


def test_missing_is_none_or_false() -> None:
    for wrong in (True, 0.5, "no"):
        with pytest.raises(ValueError, match=r"missing: expected None .* or False"):
            ssm.log_prob(chain(), np.zeros(3), missing=wrong)
    with pytest.raises(ValueError, match="finite"):
        ssm.log_prob(chain(), np.array([0.0, np.nan]), missing=False)
