"""The autoregressive hidden Markov model: against all paths, least squares, differences, and its own stream."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.stats
from jax.flatten_util import ravel_pytree

import ssm

pytestmark = pytest.mark.usefixtures("float64")

TOTAL, SIZE, LAGS, STATES = 5, 2, 2, 2
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # two float64 computations of the same numbers


def model(past: np.ndarray | None = None) -> ssm.ARHMM:
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(STATES, SIZE, LAGS * SIZE)) / 3, rng.normal(size=(STATES, SIZE))
    root = rng.normal(size=(STATES, SIZE, SIZE))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.2 * np.eye(SIZE)
    return ssm.ARHMM([0.3, 0.7], [[0.8, 0.2], [0.4, 0.6]], weights, bias, covariance, past)


def series(total: int = TOTAL, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(total, SIZE))


def table(each: ssm.ARHMM, ys: np.ndarray, past: np.ndarray) -> np.ndarray:
    """log N(y_t; Σ_l W_kl y_{t-l} + b_k, S_k) (T, K), lag by lag."""
    whole = np.concatenate([past, ys])
    weights = np.asarray(each.weights).reshape(STATES, SIZE, LAGS, SIZE)
    out = np.zeros((len(ys), STATES))
    for t, k in np.ndindex(out.shape):
        mean = each.bias[k] + sum(weights[k, :, lag - 1] @ whole[LAGS + t - lag] for lag in range(1, LAGS + 1))
        out[t, k] = scipy.stats.multivariate_normal(mean, each.covariance[k]).logpdf(ys[t])
    return out


@pytest.mark.parametrize("given", [False, True])
def test_enumerating_all_paths(given: bool) -> None:
    past = series(LAGS, 2) if given else np.zeros((LAGS, SIZE))
    each, ys = model(past if given else None), series()
    truth = oracles.enumerate_paths(np.asarray(each.initial), np.asarray(each.transition), table(each, ys, past))
    answer, statistics = ssm.filter(each, ys), ssm.expected_statistics(each, ys)
    np.testing.assert_allclose(answer.log_evidence, truth.log_evidence, **CLOSE)
    np.testing.assert_allclose(answer.predicted.probs, truth.predicted, **CLOSE)
    np.testing.assert_allclose(answer.filtered.probs, truth.filtered, **CLOSE)
    np.testing.assert_allclose(ssm.smooth(each, ys).smoothed.probs, truth.smoothed, **CLOSE)
    np.testing.assert_allclose(statistics.transitions, truth.transitions, **CLOSE)
    path, log_prob = ssm.decode(each.chain, ys, each.lags(jnp.asarray(ys)))
    np.testing.assert_array_equal(path, truth.path)
    np.testing.assert_allclose(log_prob, truth.path_log_prob, **CLOSE)


def test_batches_padding_packing_and_streams_give_the_same_numbers() -> None:
    each, first, second = model(), series(), series(3, 5)
    alone = ssm.log_prob(each, first), ssm.log_prob(each, second)  # the quick form; what follows takes the plain one
    padded, lengths = ssm.pad([first, second])
    np.testing.assert_allclose(ssm.log_prob(each, padded, lengths=lengths), alone, **CLOSE)
    packed, starts = np.concatenate([first, second]), np.arange(TOTAL + 3) == TOTAL
    np.testing.assert_allclose(ssm.log_prob(each, packed, starts=starts), sum(alone), **CLOSE)
    state, total = ssm.init(each), 0.0
    for y in first:
        state, increment = ssm.step(each, state, y)
        total += increment
    np.testing.assert_allclose(total, alone[0], **CLOSE)
    np.testing.assert_allclose(state.belief.past, first[:-3:-1], **CLOSE)


def test_the_gradient_is_that_of_expected_statistics_and_of_differences() -> None:
    each, ys = model(), series()
    flat, unravel_chain = ravel_pytree(each.chain)  # all but the past, which is given and has no gradient
    unravel = lambda vector: eqx.tree_at(lambda m: m.chain, each, unravel_chain(vector))
    statistics = ssm.expected_statistics(each, ys)
    step = 1e-5
    moves = step * np.eye(flat.size)

    @jax.jit
    def everything(vector: jax.Array, more: jax.Array) -> tuple:
        evidence = lambda v: ssm.log_prob(unravel(v), ys)
        expected = lambda v: ssm.Q(unravel(v), statistics, ys)
        return jax.grad(evidence)(vector), jax.grad(expected)(vector), jax.lax.map(evidence, more)

    gradient, identity, around = everything(flat, jnp.concatenate([flat + moves, flat - moves]))
    np.testing.assert_allclose(gradient, identity, **CLOSE)
    differences = (around[: flat.size] - around[flat.size :]) / (2 * step)
    # Numbers of order ten at steps of 1e-5: 1e-10 of rounding and of curvature, with room for a thousand of each.
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-7)


def test_one_state_is_least_squares() -> None:
    ys = series(40)
    start = ssm.ARHMM([1.0], [[1.0]], np.zeros((1, SIZE, LAGS * SIZE)), np.zeros((1, SIZE)), [np.eye(SIZE)])
    found = ssm.fit(start, ys, ssm.EM(max_iters=2), progress=False).model
    before = np.concatenate([np.zeros((LAGS, SIZE)), ys])
    design = np.concatenate([before[1:-1], before[:-2], np.ones((len(ys), 1))], axis=1)
    coefficients, *_ = np.linalg.lstsq(design, ys, rcond=None)
    residuals = ys - design @ coefficients
    np.testing.assert_allclose(found.weights[0], coefficients[:-1].T, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found.bias[0], coefficients[-1], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found.covariance[0], residuals.T @ residuals / len(ys), rtol=1e-7)


def test_draws_follow_the_states_they_name() -> None:
    quiet = eqx.tree_at(
        lambda m: m.chain,
        model(),
        ssm.ARHMM(
            [0.3, 0.7], [[0.8, 0.2], [0.4, 0.6]], model().weights, model().bias, [1e-12 * np.eye(SIZE)] * STATES
        ).chain,
    )
    states, ys = ssm.simulate(quiet, jax.random.key(0), 30)
    lags = quiet.lags(ys)
    expected = jnp.einsum("tnl,tl->tn", quiet.weights[states], lags) + quiet.bias[states]
    np.testing.assert_allclose(ys, expected, atol=1e-4)  # noise of 1e-6, a hundred times
    assert set(np.asarray(states)) == {0, 1}


def test_the_next_observation_is_the_mixture_of_regressions() -> None:
    each, ys = model(), series()
    ahead = np.asarray(ssm.filter(each, ys).filtered.probs[-1]) @ np.asarray(each.transition)
    means = np.asarray(each.bias) + np.asarray(each.weights) @ np.concatenate([ys[-1], ys[-2]])
    drawn = ssm.forecast(each, ys, 2, num_samples=4000, key=jax.random.key(1))
    error = np.asarray(drawn.stddev[0]) / np.sqrt(4000)
    assert (np.abs(drawn.mean[0] - ahead @ means) < 5 * error).all()  # five standard errors
    more = series(2, 9)
    joint = ssm.log_prob(each, np.concatenate([ys, more])) - ssm.log_prob(each, ys)
    np.testing.assert_allclose(drawn.log_prob(more), joint, **CLOSE)
    paths = ssm.posterior_sample(each, jax.random.key(2), ys, 2000)
    smoothed = np.asarray(ssm.smooth(each, ys).smoothed.probs[:, 1])
    assert (np.abs(paths.mean(0) - smoothed) < 5 * 0.5 / np.sqrt(2000)).all()


def test_gaps_are_named_and_never_guessed() -> None:
    each, ys = model(), series()
    gap, end = ys.copy(), ys.copy()
    gap[2], end[-2:] = np.nan, np.nan
    with pytest.raises(ValueError, match="time step 2 has a missing value"):
        ssm.log_prob(each, gap)
    partly = ys.copy()
    partly[-1, 0] = np.nan
    with pytest.raises(ValueError, match="time step 4"):
        ssm.filter(each, partly)
    np.testing.assert_allclose(ssm.log_prob(each, end), ssm.log_prob(each, ys[:-2]), **CLOSE)
    gradient = eqx.filter_grad(lambda m: ssm.log_prob(m, end))(each)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    unseen = jax.jit(lambda mask: ssm.log_prob(each, ys, mask=mask))
    assert np.isnan(unseen(np.arange(TOTAL) != 2)) and np.isfinite(unseen(np.arange(TOTAL) != TOTAL - 1))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="one N x N matrix per lag"):
        ssm.ARHMM([1.0], [[1.0]], np.zeros((1, 2, 3)), np.zeros((1, 2)), [np.eye(2)])
    with pytest.raises(ValueError, match="past: expected shape"):
        model(np.zeros((1, SIZE)))


@pytest.mark.slow
def test_em_never_falls_and_finds_the_dynamics_that_made_the_data() -> None:
    slow, fast = 0.95 * np.eye(SIZE), -0.6 * np.eye(SIZE)
    noise = [0.1 * np.eye(SIZE)] * 2
    truth = ssm.ARHMM([0.5, 0.5], [[0.95, 0.05], [0.05, 0.95]], [slow, fast], np.zeros((2, SIZE)), noise)
    _, ys = ssm.simulate(truth, jax.random.key(0), 800)
    start = ssm.ARHMM([0.5, 0.5], [[0.8, 0.2], [0.2, 0.8]], [slow / 2, fast / 2], np.zeros((2, SIZE)), noise)
    done = ssm.fit(start, ys, ssm.EM(max_iters=50), progress=False)
    assert (np.diff(done.log_probs) > -1e-8).all()
    np.testing.assert_allclose(done.model.weights, truth.weights, atol=0.15)  # some four standard errors of .04
    np.testing.assert_allclose(done.model.transition, truth.transition, atol=0.06)
