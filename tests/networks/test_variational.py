"""The variational recurrent network against its own formulas, quadrature over z, and the network without z."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import central_differences

import ssm
from ssm.cells import GRU, LSTM
from ssm.heads import Categorical, Normal

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(5)
EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64: the same sums in another order
T, N, HIDDEN = 5, 2, 3
YS = np.random.default_rng(0).normal(size=(T, N))


def network(latent: int = 1) -> ssm.VRNN:
    """A network with random parameters, large enough for z to matter."""
    keys = jax.random.split(KEY, 3)
    model = ssm.VRNN(GRU(N + latent, HIDDEN, key=keys[0]), Normal(HIDDEN, N, key=keys[1]), latent, key=keys[2])
    return jax.tree.map(lambda leaf: 1.5 * leaf, model)


# -- the model in NumPy ---------------------------------------------------------------------------------------


def linear(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(layer.weight).T + np.asarray(layer.bias)


def normal_of(net: Any, *parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    loc, log_scale = np.split(linear(net.outer, np.tanh(linear(net.inner, np.concatenate(parts, -1)))), 2, -1)
    return loc, np.exp(log_scale)


def emission(model: ssm.VRNN, hidden: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    net = model.decoder
    correction = linear(net.outer, np.tanh(linear(net.inner, np.concatenate([hidden, z], -1))))
    loc, log_scale = np.split(linear(model.head.linear, hidden + correction), 2, -1)
    return loc, np.exp(log_scale)


def log_normal(x: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return -0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def states_after(model: ssm.VRNN, hidden: np.ndarray, y: np.ndarray, zs: np.ndarray) -> np.ndarray:
    """h_t for every z (M, 1)."""
    hidden, y, zs = jnp.asarray(hidden), jnp.asarray(y), jnp.asarray(zs)
    return np.asarray(jax.vmap(lambda z: model.cell(hidden, jnp.concatenate([y, z])))(zs))


def quadrature(model: ssm.VRNN, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points z (M, 1) and weights p(z | h) dz: the trapezoidal rule, exact to rounding for smooth tails."""
    loc, scale = normal_of(model.prior, hidden)
    z = loc + scale * np.linspace(-8, 8, 161)[:, None]
    weights = np.exp(log_normal(z, loc, scale))[:, 0] * (z[1, 0] - z[0, 0])
    return z, weights


def likelihood(model: ssm.VRNN, hidden: np.ndarray, ys: np.ndarray) -> float:
    """p(y_{1:T} | h_0) by one integral inside the other; NaN where missing."""
    z, weights = quadrature(model, hidden)
    loc, scale = emission(model, np.broadcast_to(hidden, (len(z), HIDDEN)), z)
    here = np.exp(np.nansum(log_normal(ys[0], loc, scale), -1))
    if len(ys) == 1:
        return float(weights @ here)
    after = [likelihood(model, h, ys[1:]) for h in states_after(model, hidden, ys[0], z)]
    return float(weights @ (here * after))


# -- evidence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ys", [YS[:1], np.array([[np.nan, 0.7]]), YS[:2]], ids=["one step", "a missing component", "two steps"]
)
def test_the_increments_estimate_the_likelihood_without_bias_and_bound_its_logarithm(ys: np.ndarray) -> None:
    model, n = network(), 20_000
    mask = None if not np.isnan(ys).any() else ~np.isnan(ys)
    bounds = np.asarray(
        jax.vmap(lambda key: ssm.log_prob(model, np.nan_to_num(ys), mask=mask, key=key))(jax.random.split(KEY, n))
    )
    truth = likelihood(model, np.zeros(HIDDEN), ys)
    ratios = np.exp(bounds) / truth
    assert ratios.std() > 0.05  # the encoder is not the exact posterior, or there would be nothing to test
    assert abs(ratios.mean() - 1) < 5 * ratios.std() / np.sqrt(n)
    assert bounds.mean() < np.log(truth) - 5 * bounds.std() / np.sqrt(n)


def test_increments_follow_their_formula() -> None:
    model = network(latent=2)
    filtered = ssm.filter(model, YS, key=KEY)
    before, after = filtered.predicted.state, filtered.filtered.state
    hidden = np.zeros(HIDDEN)
    for t, y in enumerate(YS):
        z = np.asarray(after.z[t])
        assert np.abs(z - before.z[t]).max() > 1e-3  # drawn afresh, by the encoder
        increment = log_normal(y, *emission(model, hidden, z)).sum()
        increment += log_normal(z, *normal_of(model.prior, hidden)).sum()
        increment -= log_normal(z, *normal_of(model.encoder, hidden, y)).sum()
        np.testing.assert_allclose(filtered.log_evidence[t], increment, **EXACT)
        np.testing.assert_allclose(before.hidden[t], hidden, **EXACT)
        hidden = states_after(model, hidden, y, z[None])[0]
        np.testing.assert_allclose(after.hidden[t], hidden, **EXACT)


def test_without_its_latent_variable_it_is_the_recurrent_network() -> None:
    model = network()
    zero = lambda net: eqx.tree_at(lambda p: (p.outer.weight, p.outer.bias), net, replace_fn=jnp.zeros_like)
    parts = lambda m: (m.prior, m.encoder, m.decoder)
    model = eqx.tree_at(parts, model, tuple(map(zero, parts(model))))
    weights = lambda m: m.cell.cell.weight_ih
    model = eqx.tree_at(weights, model, weights(model).at[:, N:].set(0))
    plain_cell = eqx.tree_at(lambda c: c.cell.weight_ih, GRU(N, HIDDEN, key=KEY), weights(model)[:, :N])
    rest = lambda c: (c.cell.weight_hh, c.cell.bias, c.cell.bias_n)
    plain = ssm.RNN(eqx.tree_at(rest, plain_cell, rest(model.cell)), model.head)
    np.testing.assert_allclose(ssm.log_prob(model, YS, key=KEY), ssm.log_prob(plain, YS), **EXACT)


def test_gradient_is_that_of_finite_differences() -> None:
    model = network()
    mask = np.ones((T, N), bool)
    mask[1, 0], mask[3] = False, False
    flat, unravel = ravel_pytree(model)
    evidence = lambda flat: ssm.log_prob(unravel(flat), YS, mask=mask, key=KEY)
    # Central differences with steps of 1e-5 err by about 1e-10 of third derivatives of order 1e2.
    gradient = jax.jit(jax.grad(evidence))(flat)
    np.testing.assert_allclose(gradient, central_differences(evidence, flat), rtol=1e-6, atol=1e-6)


# -- laws -----------------------------------------------------------------------------------------------------


def test_a_stream_equals_the_batch_and_a_prefix_the_whole() -> None:
    model = network()
    observed = np.arange(T) != 2
    whole = ssm.filter(model, YS, mask=observed, key=KEY)
    prefix = ssm.filter(model, YS[:3], mask=observed[:3], key=KEY)
    np.testing.assert_allclose(prefix.log_evidence, whole.log_evidence[:3], **EXACT)
    state = ssm.init(model, key=KEY)
    for t in range(T):
        state, log_evidence = ssm.step(model, state, YS[t] if observed[t] else None, key=KEY)
        np.testing.assert_allclose(log_evidence, whole.log_evidence[t], **EXACT)
    np.testing.assert_allclose(state.belief.state.hidden, whole.filtered.state.hidden[-1], **EXACT)


def test_padding_changes_nothing_and_sequences_draw_for_themselves() -> None:
    model = network()
    batch = ssm.filter(model, np.stack([YS, YS, YS]), lengths=np.array([T, 3, T]), key=KEY)
    assert abs(batch.log_prob[0] - batch.log_prob[2]) > 1e-6
    for b, length in enumerate([T, 3, T]):
        single = ssm.filter(model, YS[:length], key=jax.random.fold_in(KEY, b))
        np.testing.assert_allclose(batch.log_evidence[b, :length], single.log_evidence, **EXACT)
    np.testing.assert_array_equal(batch.log_evidence[1, 3:], 0)


def test_blocks_change_nothing() -> None:
    model = network()
    blocked = ssm.filter(model, YS, schedule=ssm.schedules.Blocked(2), key=KEY)
    np.testing.assert_allclose(blocked.log_evidence, ssm.filter(model, YS, key=KEY).log_evidence, **EXACT)


def test_what_is_missing_is_read_as_the_prior_draw_leads_to_expect() -> None:
    model = network()
    ys = YS.copy()
    ys[1, 0], ys[2] = np.nan, np.nan
    filtered = ssm.filter(model, ys, key=KEY)
    before, after = filtered.predicted.state, filtered.filtered.state
    for t, z in ((1, after.z[1]), (2, before.z[2])):  # what is seen of y_1 has had its say on z_1
        expected, _ = emission(model, np.asarray(before.hidden[t]), np.asarray(before.z[t]))
        complete = np.where(np.isnan(ys[t]), expected, ys[t])
        hidden = states_after(model, before.hidden[t], complete, z[None])[0]
        np.testing.assert_allclose(after.hidden[t], hidden, **EXACT)
    assert filtered.log_evidence[2] == 0


# -- drawing --------------------------------------------------------------------------------------------------


def test_simulation_feeds_each_step_the_latent_variable_and_observation_that_it_drew() -> None:
    model = network()
    (hidden, z), ys = ssm.simulate(model, KEY, T)
    assert ys.shape == (T, N)
    state = np.zeros(HIDDEN)
    for t in range(T):
        np.testing.assert_allclose(hidden[t], state, **EXACT)
        state = states_after(model, state, ys[t], z[t][None])[0]
    draws = jax.vmap(lambda key: ssm.simulate(model, key, 1)[1][0])(jax.random.split(KEY, 10_000))
    grid, weights = quadrature(model, np.zeros(HIDDEN))
    loc, scale = emission(model, np.zeros((len(grid), HIDDEN)), grid)
    mean, square = weights @ loc, weights @ (loc**2 + scale**2)
    deviation = np.sqrt(square - mean**2)
    assert (np.abs(draws.mean(0) - mean) < 5 * deviation / 100).all()  # five standard errors of 10,000 draws


def test_the_first_forecast_averages_over_the_latent_variable() -> None:
    model = network()
    forecast = ssm.forecast(model, YS, 2, num_samples=1, key=KEY)  # one filtered draw, which all futures continue
    (hidden,) = np.asarray(forecast.beliefs.state.hidden)
    draws = np.asarray(forecast.sample(KEY, 10_000))
    grid, weights = quadrature(model, hidden)
    loc, _ = emission(model, np.broadcast_to(hidden, (len(grid), HIDDEN)), grid)
    error = draws[:, 0].std(axis=0) / 100
    assert (np.abs(draws[:, 0].mean(axis=0) - weights @ loc) < 5 * error).all()  # five standard errors of 10,000 draws
    assert np.isfinite(forecast.quantile(0.9)).all()
    assert np.isfinite(forecast.log_prob(YS[:2], key=KEY))


def test_it_takes_symbols_and_any_cell() -> None:
    cell = LSTM(3 + 2, HIDDEN, key=KEY)
    model = ssm.VRNN(cell, Categorical(HIDDEN, 3, key=KEY), 2, key=KEY)
    _, ys = ssm.simulate(model, KEY, 8)
    value, gradient = jax.jit(jax.value_and_grad(lambda m: ssm.log_prob(m, ys, key=KEY)))(model)
    assert -50 < value < 0
    assert all(np.isfinite(leaf).all() and (leaf != 0).any() for leaf in jax.tree.leaves(gradient))
    probs = ssm.forecast(model, ys, 1, num_samples=100, key=KEY).probs
    np.testing.assert_allclose(probs.sum(), 1, **EXACT)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ssm.VRNN(GRU(2, 3, key=KEY), Normal(3, 2, key=KEY), 1, key=KEY), ValueError, "cell: .* 3 numbers"),
        (lambda: ssm.VRNN(GRU(3, 4, key=KEY), Normal(3, 2, key=KEY), 1, key=KEY), ValueError, "head: reads 3.*shows 4"),
        (lambda: ssm.VRNN(GRU(3, 3, key=KEY), Normal(3, 2, key=KEY), 0, key=KEY), ValueError, "latent_size"),
        (lambda: ssm.log_prob(network(), YS), ValueError, "key"),
        (lambda: ssm.smooth(network(), YS, key=KEY), TypeError, "walks backwards"),
        (lambda: ssm.log_prob(network(), YS, schedule="fixed_point", key=KEY), TypeError, "does not support"),
    ],
)
def test_misuse_is_explained(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
