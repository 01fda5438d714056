"""Emissions against SciPy and distrax, and their M-steps against every nearby alternative."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emission_families import FAMILIES, STATES, TOTAL
from jax.flatten_util import ravel_pytree

from ssm.emissions import Categorical, MultivariateNormal, Normal
from ssm.parameters import constrain

pytestmark = pytest.mark.usefixtures("float64")

CLOSE = {"rtol": 1e-10, "atol": 1e-10}  # float64, the same formula written twice


def is_vector(name: str) -> bool:
    return FAMILIES[name].make(np.random.default_rng(0))[1].ndim == 2


VECTORS = [name for name, family in FAMILIES.items() if family.components and is_vector(name)]


def cases(climbs: bool) -> list[Any]:
    """(family, what is missing) for M-steps in closed form, or that climb; in every run the hardest for each family."""
    chosen = []
    for name, family in FAMILIES.items():
        kinds = ["nothing", "steps"] + ["components"] * (name in VECTORS)
        asked = [kind for kind in kinds if (kind in family.climbs) == climbs]
        for kind in asked:
            always = kind == asked[-1] or (name in ("vector", "multivariate", "heavy-scalar") and kind == "nothing")
            chosen.append(pytest.param(name, kind, marks=[] if always else [pytest.mark.slow]))
    return chosen


def flags(rng: np.random.Generator, ys: np.ndarray, components: bool) -> np.ndarray:
    return rng.uniform(size=ys.shape if components else TOTAL) < 0.7


def spread(flags: np.ndarray, ys: np.ndarray) -> np.ndarray:
    return np.broadcast_to(flags.reshape(flags.shape + (1,) * (ys.ndim - flags.ndim)), ys.shape)


@eqx.filter_jit
def densities(emission: Any, ys: Any, observed: Any = None) -> jax.Array:
    """log p(y_t | k)."""
    return constrain(emission).log_likelihoods(ys, None, observed)


@pytest.mark.parametrize("name", FAMILIES)
def test_log_likelihoods_are_scipys(name: str) -> None:
    emission, ys = FAMILIES[name].make(np.random.default_rng(0))
    truth = FAMILIES[name].table(emission, ys, np.ones(ys.shape, bool))
    np.testing.assert_allclose(densities(emission, jnp.asarray(ys)), truth, **CLOSE)


@pytest.mark.parametrize("name", VECTORS)
def test_missing_components_are_integrated_out(name: str) -> None:
    rng = np.random.default_rng(1)
    emission, ys = FAMILIES[name].make(rng)
    seen = flags(rng, ys, components=True)
    seen[0] = False
    truth = FAMILIES[name].table(emission, ys, seen)
    hidden = jnp.asarray(np.where(seen, ys, 1e6))
    np.testing.assert_allclose(densities(emission, hidden, jnp.asarray(seen)), truth, **CLOSE)


@pytest.mark.parametrize("name", FAMILIES)
def test_given_and_mixture_are_the_densities(name: str) -> None:
    rng = np.random.default_rng(2)
    emission, ys = FAMILIES[name].make(rng)
    ys, probs = jnp.asarray(ys), rng.dirichlet(np.ones(STATES))
    table = np.asarray(densities(emission, ys))[:3]

    @eqx.filter_jit
    def answers(emission: Any, ys: Any, probs: Any) -> Any:
        emission = constrain(emission)
        given = lambda k: [emission.given(k, None).log_prob(y) for y in ys]
        return jax.lax.map(given, jnp.arange(STATES)), [emission.mixture(probs, None).log_prob(y) for y in ys]

    given, mixed = answers(emission, ys[:3], jnp.asarray(probs))
    np.testing.assert_allclose(given, table, **CLOSE)
    np.testing.assert_allclose(mixed, np.log(np.exp(table) @ probs), **CLOSE)


def objective(emission: Any, weights: Any, ys: Any, observed: Any) -> Any:
    """What the M-step maximises: Σ weights log p over what was observed."""
    table = constrain(emission).log_likelihoods(ys, None, observed)
    if observed is not None and observed.ndim == 1:
        table = jnp.where(observed[:, None], table, 0)
    return jnp.sum(weights * table)


@pytest.mark.parametrize("name, missing", cases(climbs=False))
def test_the_m_step_is_the_maximum(name: str, missing: str) -> None:
    rng = np.random.default_rng(3)
    emission, ys = FAMILIES[name].make(rng)
    observed = None if missing == "nothing" else jnp.asarray(flags(rng, ys, missing == "components"))
    weights, ys = jnp.asarray(rng.uniform(size=(TOTAL, STATES))), jnp.asarray(ys)

    @eqx.filter_jit
    def answers(emission: Any, scales: Any) -> tuple:
        best = constrain(emission).maximise(weights, ys, None, observed)
        flat, unravel = ravel_pytree(best)
        value = lambda vector: objective(unravel(vector), weights, ys, observed)
        moves = scales[:, None] * jax.random.normal(jax.random.key(0), (len(scales), flat.size))
        highest, slope = jax.value_and_grad(value)(flat)
        return highest, objective(emission, weights, ys, observed), slope, jax.lax.map(value, flat + moves)

    highest, before, slope, around = answers(emission, jnp.asarray(rng.choice([1e-3, 1e-1, 1], 50)))
    assert highest > before
    np.testing.assert_allclose(slope, 0, atol=1e-8)  # stationary, up to float64 sums of twelve terms
    assert (around <= highest + 1e-9).all()


@pytest.mark.parametrize("name, missing", cases(climbs=True))
def test_the_m_step_without_closed_form_climbs(name: str, missing: str) -> None:
    rng = np.random.default_rng(4)
    emission, ys = FAMILIES[name].make(rng)
    observed = None if missing == "nothing" else jnp.asarray(flags(rng, ys, missing == "components"))
    weights = jnp.asarray(rng.uniform(size=(TOTAL, STATES)))
    clean = jnp.asarray(ys if observed is None else np.where(spread(np.asarray(observed), ys), ys, 0))

    @eqx.filter_jit
    def climbed(emission: Any) -> tuple:
        return constrain(emission).maximise(weights, clean, None, observed), objective(
            emission, weights, clean, observed
        )

    values = []
    for _ in range(6):
        emission, value = climbed(emission)
        values.append(value)
    assert (np.diff(values) > -1e-9).all() and values[1] > values[0]


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.shares])
def test_a_state_without_weight_keeps_its_parameters(name: str) -> None:
    rng = np.random.default_rng(5)
    emission, ys = FAMILIES[name].make(rng)
    weights, ys = jnp.asarray(rng.uniform(size=(TOTAL, STATES))).at[:, 1].set(0), jnp.asarray(ys)

    @eqx.filter_jit
    def tables(emission: Any) -> tuple:
        new = constrain(emission).maximise(weights, ys, None, None)
        return densities(emission, ys), densities(new, ys)

    before, after = tables(emission)
    np.testing.assert_allclose(after[:, 1], before[:, 1], **CLOSE)
    assert not np.allclose(after[:, 0], before[:, 0])


@pytest.mark.parametrize("family", [Normal, MultivariateNormal])
def test_a_state_on_one_point_stops_at_the_smallest_scale(family: Any) -> None:
    random = family.random(jax.random.key(0), 2, 2)
    emission = family(random.loc, random.scale if family is Normal else random.covariance, minimum_scale=1e-4)
    weights = jnp.zeros((TOTAL, 2)).at[3, 0].set(1.0)
    ys = jnp.asarray(np.random.default_rng(0).normal(size=(TOTAL, 2)))
    new = eqx.filter_jit(lambda e: constrain(e).maximise(weights, ys, None, None))(emission)
    np.testing.assert_allclose(new.loc[0], ys[3], **CLOSE)
    scale = new.scale[0] if family is Normal else jnp.sqrt(jnp.diagonal(new.covariance[0]))
    np.testing.assert_allclose(scale, 1e-4, rtol=1e-8)


def test_hard_zeros_stay() -> None:
    emission = Categorical([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    assert emission.probs[0, 2] == 0 and emission.probs[1, 0] == 0
    weights = jnp.asarray([[1.0, 0.0], [0.2, 0.8], [0.0, 1.0]])
    new = constrain(emission).maximise(weights, jnp.array([0, 1, 2]), None, None)
    np.testing.assert_allclose(new.probs, [[1 / 1.2, 0.2 / 1.2, 0], [0, 0.8 / 1.8, 1 / 1.8]], **CLOSE)


def test_random_and_from_data() -> None:
    key, rng = jax.random.key(0), np.random.default_rng(0)
    assert Categorical.random(key, 3, 4).probs.shape == (3, 4)
    assert Normal.random(key, 3).loc.shape == (3,) and Normal.random(key, 3, 2).loc.shape == (3, 2)
    assert MultivariateNormal.random(key, 3, 2).covariance.shape == (3, 2, 2)
    symbols = jnp.asarray(rng.choice(4, 500, p=[0.7, 0.1, 0.1, 0.1]))
    tilted = Categorical.from_data(key, 3, symbols)
    np.testing.assert_allclose(tilted.probs.sum(1), 1, **CLOSE)
    assert (tilted.probs > 0).all() and tilted.probs[:, 0].mean() > 0.4
    # Three clusters far apart: each state starts in one of its own.
    centres = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    ys = jnp.asarray(np.repeat(centres, 20, 0) + rng.normal(size=(60, 2)))
    for family in (Normal, MultivariateNormal):
        loc = eqx.filter_jit(family.from_data)(key, 3, ys).loc
        nearest = np.argmin(np.linalg.norm(np.asarray(loc)[:, None] - centres, axis=2), axis=1)
        assert sorted(nearest) == [0, 1, 2]
        seen = jnp.arange(60) < 20
        only = eqx.filter_jit(family.from_data)(key, 2, ys, seen).loc
        assert (jnp.linalg.norm(only, axis=1) < 10).all()
    scale = Normal.from_data(key, 2, ys).scale
    np.testing.assert_allclose(scale, np.broadcast_to(np.std(ys, axis=0), (2, 2)), **CLOSE)
