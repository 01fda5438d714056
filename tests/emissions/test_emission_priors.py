"""A prior inside another emission: it counts in what the M-step climbs, and a part that is frozen ignores it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import ssm
from ssm.emissions import (
    AbstractEmission,
    Bernoulli,
    Categorical,
    Labelled,
    Mixture,
    Multinomial,
    Poisson,
    Product,
    Shared,
    Tied,
)
from ssm.parameters import constrain

pytestmark = pytest.mark.usefixtures("float64")

TOTAL, STATES = 9, 2


def biased(num_states: int) -> Bernoulli:
    """With a prior that speaks against the data's frequencies."""
    return Bernoulli(np.linspace(0.3, 0.6, num_states), (0.5, 4.0))


WRAPPERS = {
    "labelled": lambda: Labelled(biased(2)),
    "tied": lambda: Tied(biased(2), [1, 0]),
    "product": lambda: Product(biased(2), Poisson([1.0, 2.0])),
    "mixture": lambda: Mixture([[0.4, 0.6], [0.7, 0.3]], biased(4)),
    "shared": lambda: Shared(lambda p: Bernoulli(jax.nn.sigmoid(p + jnp.arange(2.0)), (0.5, 4.0)), 0.3),
    "nested": lambda: Labelled(Tied(Product(biased(1), Poisson([1.0])), [0, 0])),
}
ALONE = {"labelled", "tied", "product"}  # "nested" is all three


def data(emission: AbstractEmission) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    ys = rng.integers(0, 2, (TOTAL, *emission.event_shape)).astype(float)
    return jnp.asarray(rng.uniform(size=(TOTAL, STATES))), jnp.asarray(ys)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ALONE)) for n in WRAPPERS])
def test_the_m_step_climbs_the_prior_of_what_is_inside(name: str) -> None:
    """To where the weighted log-likelihood plus `log_prior` has no slope, up to what EM leaves after its steps."""
    start = WRAPPERS[name]()
    weights, ys = data(start)

    def objective(emission: Any) -> jax.Array:
        plain = constrain(emission)
        return jnp.sum(weights * plain.log_likelihoods(ys, None)) + plain.log_prior()

    def step(emission: Any, _: None) -> tuple[Any, jax.Array]:
        best = constrain(emission).maximise(weights, ys, None, None)
        return best, objective(emission)

    steps, tolerance = {"mixture": (400, 1e-6), "shared": (3, 1e-6)}.get(name, (2, 1e-9))

    @eqx.filter_jit
    def run(emission: Any) -> tuple[jax.Array, Any]:
        best, reached = jax.lax.scan(step, emission, length=steps)
        return jnp.append(reached, objective(best)), jax.grad(objective)(best)

    reached, slopes = run(start)
    assert (np.diff(reached) > -1e-9).all() and reached[-1] > reached[0] + 0.1
    np.testing.assert_allclose(ravel_pytree(slopes)[0], 0, atol=tolerance)


def test_the_prior_is_that_of_what_is_inside() -> None:
    inside = biased(2).log_prior()
    np.testing.assert_allclose(Product(biased(2), biased(2), Poisson([1.0, 2.0])).log_prior(), 2 * inside, rtol=1e-12)
    made = Bernoulli(jax.nn.sigmoid(0.3 + np.arange(2.0)), (0.5, 4.0))
    np.testing.assert_allclose(WRAPPERS["shared"]().log_prior(), made.log_prior(), rtol=1e-12)
    assert Poisson([1.0]).log_prior() == 0


def test_a_particle_filter_has_the_prior_of_its_model() -> None:
    model = ssm.HMM([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], biased(2))
    assert ssm.ParticleFilter(model, 4).log_prior() == model.log_prior() != 0


@pytest.mark.parametrize(("name", "part"), [("product", "parts.0"), ("mixture", "parts"), ("tied", "emission")])
def test_a_frozen_part_does_not_move_to_its_prior(name: str, part: str) -> None:
    emission = WRAPPERS[name]()
    weights, ys = data(emission)
    new = eqx.filter_jit(lambda e: constrain(e).maximise(weights, ys, None, None, frozenset([part])))(emission)
    old, new = (each.parts[0] if name == "product" else getattr(each, part) for each in (emission, new))
    np.testing.assert_allclose(new.probs, old.probs, rtol=1e-12)


# -- symbols that were not seen ------------------------------------------------------------------------------------


def symbols(counts: Any) -> ssm.HMM:
    return ssm.HMM([0.6, 0.4], [[0.9, 0.1], [0.2, 0.8]], Categorical([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], counts))


def test_pseudo_counts_of_symbols_are_the_highest_posterior() -> None:
    """Against shares of what was counted now and beforehand, hard zeros left out, and a state without data."""
    weights = jnp.asarray([[1.0, 0.0], [2.0, 0.0], [0.5, 0.0]])
    ys, before = jnp.asarray([0, 0, 1]), np.array([[0.5, 1.0, 2.0], [1.0, 3.0, 0.0]])
    start = Categorical([[0.4, 0.4, 0.2], [0.5, 0.5, 0.0]], before)
    new = eqx.filter_jit(lambda e: constrain(e).maximise(weights, ys, None, None))(start)
    np.testing.assert_allclose(new.probs, [[3.5 / 7, 1.5 / 7, 2 / 7], [1 / 4, 3 / 4, 0]], rtol=1e-12)
    np.testing.assert_allclose(start.log_prior(), np.sum(before * np.log([[0.4, 0.4, 0.2], [0.5, 0.5, 1]])), rtol=1e-12)
    np.testing.assert_array_equal(Categorical([[0.5, 0.5, 0.0]], 2.0).pseudo_counts, [[2, 2, 0]])
    counts = Multinomial(3, [[0.4, 0.4, 0.2]], 1.0)
    new = constrain(counts).maximise(jnp.asarray([[0.5]]), jnp.asarray([[3.0, 0.0, 0.0]]), None, None)
    np.testing.assert_allclose(new.probs, [[2.5 / 4.5, 1 / 4.5, 1 / 4.5]], rtol=1e-12)


def test_em_with_pseudo_counts_ends_where_gradients_find_nothing_higher() -> None:
    ys = np.random.default_rng(0).integers(0, 2, 40)
    fit = ssm.fit(symbols(0.7), ys, ssm.EM(2000, tol=1e-12))
    assert (np.diff(fit.log_probs) > -1e-9).all()
    assert (np.asarray(fit.model.emission.probs) > 0.01).all()  # the third symbol, never seen
    again = ssm.fit(fit.model, ys, ssm.LBFGS(100, tol=1e-13))
    np.testing.assert_allclose(again.start_log_prob, fit.objective, rtol=1e-12)
    np.testing.assert_allclose(again.objective, fit.objective, atol=1e-6)  # what EM leaves, linear in its last gains


def test_batches_keep_what_was_counted_beforehand() -> None:
    ys = np.random.default_rng(0).integers(0, 2, (6, 10))
    method = ssm.StochasticEM(num_epochs=2, batch_size=6)
    whole = ssm.fit(symbols(0.7), ys, ssm.EM(1)).model.emission.probs
    first = ssm.fit(symbols(0.7), ys, ssm.StochasticEM(1, batch_size=6), key=jax.random.key(0)).model.emission
    np.testing.assert_allclose(first.probs, whole, rtol=1e-9)
    again = ssm.fit(symbols(0.7), ys, method, key=jax.random.key(0)).model.emission
    np.testing.assert_array_equal(again.pseudo_counts, np.full((2, 3), 0.7))


@pytest.mark.parametrize("wrong", [-1.0, [[1.0, 1.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
def test_pseudo_counts_that_make_no_sense(wrong: Any) -> None:
    with pytest.raises(ValueError, match="pseudo_counts: expected"):
        Categorical([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]], wrong)


def test_a_comparison_says_why_an_evidence_is_infinite() -> None:
    seen, new = np.array([0, 1, 0, 0, 1, 1, 0, 1]), np.array([[0, 1, 1, 0], [0, 1, 2, 0]])
    models = {name: ssm.fit(symbols(counts), seen, ssm.EM(5)).model for name, counts in [("free", None), ("kept", 0.5)]}
    table = ssm.compare(models, new)
    assert [row.name for row in table.rows] == ["kept", "free"] and np.isfinite(table.rows[0].log_prob)
    assert table.rows[0].impossible == ""
    assert "free: the observation 2 at time step 2 of sequence 1 is impossible" in str(table)
    assert "pseudo_counts" in str(table)
    alone = ssm.compare({"free": models["free"]}, new[1])
    assert alone.rows[0].difference == 0 and "2 at time step 2 is impossible" in alone.rows[0].impossible
