"""States that data speak against until their share cannot be held, and then for: nothing may be lost."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import Chain, central_differences, walk_logarithms

import ssm
from ssm import durations
from ssm.emissions import Normal
from ssm.schedules import Associative, Blocked
from ssm.transitions import Coupled, Driven, Factorial, LowRank, Recent, Sparse, TimeVarying

TOTAL = 72
# Logarithms of the shares here reach 900, of which float32 holds 900 · 6e-8 = 5e-5 at every step.
CLOSE = {"float64": {"rtol": 1e-9, "atol": 1e-9}, "float32": {"rtol": 1e-4, "atol": 1e-4}}
SCHEDULES = ["auto", "sequential", "associative", "blocked", "side_by_side", Blocked(7, Associative())]


@pytest.fixture(params=["float32", "float64"])
def digits(request: pytest.FixtureRequest) -> Iterator[dict]:
    """How close answers are, in either precision."""
    with jax.enable_x64(request.param == "float64"):
        yield CLOSE[request.param]


def normals(*loc: float) -> Normal:
    return Normal(np.array(loc), np.ones(len(loc)))


def left_to_right() -> tuple[ssm.HMM, np.ndarray]:
    """Data for the second state, which never lets go, and then more against it: 768 nats, and float64 holds 708."""
    model = ssm.HMM([1.0, 0.0], [[0.999, 0.001], [0.0, 1.0]], normals(-1, 1))
    return model, np.repeat([12.0, -12.0], [32, 40])


def closed() -> tuple[ssm.HMM, np.ndarray]:
    """Two states that never change: a hundred nats against the one that wins, and float32 holds 87."""
    return ssm.HMM([0.5, 0.5], np.eye(2), normals(-1, 1)), np.repeat([3.0, -3.0, np.nan], [17, 18, TOTAL - 35])


def unlikely() -> tuple[ssm.HMM, np.ndarray]:
    """A start of share 2e-35, less than which the first observations leave."""
    ys = np.full(TOTAL, np.nan)
    ys[:4] = [0.0, 3.0, 12.0, 15.0]
    return ssm.HMM([1.0, 2e-35], np.eye(2), normals(0, 10)), ys


def impossible_start() -> tuple[ssm.HMM, np.ndarray]:
    """The likeliest state by far is one that cannot be."""
    ys = np.full(TOTAL, np.nan)
    ys[0] = 15.5
    return ssm.HMM([1.0, 0.0], [[0.5, 0.5], [0.5, 0.5]], normals(0, 15.5)), ys


def mixing() -> tuple[ssm.HMM, np.ndarray]:
    """Nothing to lose: the quick forms hold."""
    return ssm.HMM([0.2, 0.8], [[0.9, 0.1], [0.3, 0.7]], normals(-1, 1)), np.random.default_rng(0).normal(size=TOTAL)


CASES = {case.__name__: case for case in (left_to_right, closed, unlikely, impossible_start, mixing)}


def answer(model: Any, ys: np.ndarray, us: Any = None) -> Chain:
    """By logarithms in NumPy."""
    seen = ~np.isnan(ys)
    table = np.asarray(model.emission.log_likelihoods(jnp.where(seen, ys, 0), None), float)
    prepared = model.dynamics.prepare(us, jnp.arange(len(ys)))
    at = lambda t: jax.tree.map(lambda leaf: leaf[t], prepared)
    moves = np.stack([np.asarray(model.dynamics.matrix(at(t)), float) for t in range(len(ys))])
    return walk_logarithms(np.asarray(model.initial, float), moves, np.where(seen[:, None], table, 0))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s if isinstance(s, str) else "blocks-composed")
def test_no_state_is_lost(schedule: Any, digits: dict) -> None:
    close = lambda found, expected, name: np.testing.assert_allclose(found, expected, err_msg=name, **digits)
    for name, case in CASES.items():
        model, ys = case()
        ys = np.asarray(ys, jnp.zeros(()).dtype)
        truth = answer(model, ys)
        filtered, smoothed = ssm.filter(model, ys, schedule=schedule), ssm.smooth(model, ys, schedule=schedule)
        close(ssm.log_prob(model, ys, schedule=schedule), truth.log_evidence.sum(), name)
        close(filtered.log_evidence, truth.log_evidence, name)
        close(filtered.filtered.probs, truth.filtered, name)
        close(filtered.predicted.probs, truth.predicted, name)
        close(smoothed.smoothed.probs, truth.smoothed, name)
        path, score = ssm.decode(model, ys, schedule=schedule)
        close(score, truth.path_log_prob, name)
        np.testing.assert_array_equal(path, truth.path, name)


@pytest.mark.parametrize("schedule", ["auto", "sequential", "associative"])
def test_gradients_are_expected_statistics_of_what_came_back(schedule: str) -> None:
    with jax.enable_x64(True):
        for case in (left_to_right, closed, mixing):
            model, ys = case()
            truth = answer(model, ys)
            counts = ssm.expected_statistics(model, ys, schedule=schedule)
            np.testing.assert_allclose(counts.transitions, truth.transitions, **CLOSE["float64"])
            np.testing.assert_allclose(counts.states, truth.smoothed, **CLOSE["float64"])
            free, unravel = ravel_pytree(model.emission)
            evidence = lambda flat, model=model, unravel=unravel, ys=ys: ssm.log_prob(
                eqx.tree_at(lambda m: m.emission, model, unravel(flat)), ys, schedule=schedule
            )
            # Differences of an evidence of 1e4 with steps of 1e-5 are right to 1e4 · 1e-16 / 1e-5 = 1e-7.
            expected = central_differences(evidence, free)
            np.testing.assert_allclose(jax.grad(evidence)(free), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("schedule", ["auto", "sequential"])
def test_in_a_batch_under_vmap_and_under_jit(schedule: str, digits: dict) -> None:
    model, ys = left_to_right()
    batch = np.stack([ys, -ys, ys]).astype(jnp.zeros(()).dtype)
    lengths = np.array([TOTAL, TOTAL, 50])
    rows = [answer(model, each[:size]) for each, size in zip(batch, lengths, strict=True)]
    expected = [row.log_evidence.sum() for row in rows]
    found = ssm.log_prob(model, batch, lengths=lengths, schedule=schedule)
    np.testing.assert_allclose(found, expected, **digits)
    smoothed = ssm.smooth(model, batch, lengths=lengths, schedule=schedule).smoothed.probs
    np.testing.assert_allclose(smoothed[0], rows[0].smoothed, **digits)
    np.testing.assert_allclose(smoothed[2, :50], rows[2].smoothed, **digits)
    one = lambda ys: ssm.log_prob(model, ys, schedule=schedule)
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(jnp.asarray(batch[:2])), expected[:2], **digits)
    moved = lambda model: jnp.sum(ssm.log_prob(model, batch, lengths=lengths, schedule=schedule))
    slope = eqx.filter_grad(moved)(model).emission.loc
    residuals = sum(
        (row.smoothed * (each[: len(row.smoothed), None] - np.array([-1, 1]))).sum(0)
        for each, row in zip(batch, rows, strict=True)
    )
    np.testing.assert_allclose(slope, residuals, **digits)


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def semi_markov(rng: np.random.Generator) -> ssm.HMM:
    """Stays of one to forty steps: a stay that began long ago is what the data turn out to have been."""
    return ssm.HSMM([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], durations.Categorical(rows(rng, 2, 40)), normals(-1, 1))


def closed_pairs(rng: np.random.Generator) -> np.ndarray:
    """Two closed classes of two states."""
    return np.kron(np.eye(2), rows(rng, 2, 2))


def with_dynamics(make: Callable) -> Callable:
    """Four states, of which the first two are of one kind."""

    def case(rng: np.random.Generator) -> ssm.HMM:
        return ssm.HMM(np.full(4, 0.25), make(rng), normals(-1, -1.5, 1, 1.5))

    return case


STRUCTURES: dict[str, Callable] = {
    "semi-markov": semi_markov,
    "sparse": with_dynamics(lambda rng: Sparse([[0, 1], [0, 1], [2, 3], [2, 3]], rows(rng, 4, 2))),
    "low-rank": with_dynamics(lambda rng: LowRank(np.repeat(np.eye(2), 2, 0), np.kron(np.eye(2), rows(rng, 1, 2)))),
    "factorial": with_dynamics(lambda rng: Factorial([np.eye(2), rows(rng, 2, 2)])),
    "coupled": with_dynamics(lambda rng: Coupled([np.broadcast_to(np.eye(2)[:, None], (2, 2, 2)), rows(rng, 2, 2, 2)])),
    "recent": with_dynamics(lambda rng: Recent(np.eye(2), 2)),
    "time-varying": with_dynamics(lambda rng: TimeVarying(np.stack([closed_pairs(rng) for _ in range(TOTAL)]))),
    "driven": with_dynamics(lambda rng: Driven(closed_pairs(rng), rng.normal(size=(4, 4, 1)))),
    "factorial of varying": with_dynamics(lambda rng: Factorial([np.eye(2), TimeVarying(rows(rng, TOTAL, 2, 2))])),
}


QUICK = ("semi-markov", "time-varying")  # each compiles programs of its own for ten seconds


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in STRUCTURES])
def test_every_structure_keeps_its_states(name: str) -> None:
    rng = np.random.default_rng(0)
    model = STRUCTURES[name](rng)
    ys = np.repeat([3.0, -3.0], [30, 42]).astype(np.float32)  # 180 nats against the states that win
    us = jnp.asarray(rng.normal(size=(TOTAL, 1)), jnp.float32) if name == "driven" else None
    truth = answer(model, ys, us)
    close = lambda found, expected: np.testing.assert_allclose(found, expected, **CLOSE["float32"])
    close(ssm.log_prob(model, ys, us), truth.log_evidence.sum())
    close(ssm.smooth(model, ys, us).smoothed.probs, truth.smoothed)
    close(ssm.smooth_pairs(model, ys, np.arange(TOTAL - 1), us).sum(0), truth.transitions)
    # Q is linear in the statistics: what the structure counted is what the pairs of all times say.
    statistics = ssm.expected_statistics(model, ys, us)
    close(statistics.states, truth.smoothed)
    prepared = model.dynamics.prepare(None if us is None else us[1:], jnp.arange(1, TOTAL))
    counted = model.dynamics.expected_log_prob(statistics.transitions, prepared)
    pairs = np.asarray(ssm.smooth_pairs(model, ys, np.arange(TOTAL - 1), us), float)
    at = lambda t: jax.tree.map(lambda leaf: leaf[t], prepared)
    table = np.stack([np.asarray(model.dynamics.matrix(at(t)), float) for t in range(TOTAL - 1)])
    expected = np.sum(np.where(pairs > 0, pairs * np.log(np.where(pairs > 0, table, 1)), 0))
    if name != "low-rank":  # whose classes are latent, too
        close(counted, expected)
    once = ssm.fit(model, ys, ssm.EM(2, tol=0), inputs=us)
    assert np.isfinite(once.log_probs).all()


def test_streams_lags_draws_and_residuals_see_what_came_back() -> None:
    model, ys = left_to_right()
    ys = ys.astype(np.float32)
    truth = answer(model, ys)
    state, total, stream = ssm.init(model), 0.0, ssm.fixed_lag(model, 5)
    window = stream.init()
    for y in ys:
        state, increment = ssm.step(model, state, y)
        window, _ = stream.step(window, y)
        total += float(increment)
    np.testing.assert_allclose(total, truth.log_evidence.sum(), **CLOSE["float32"])
    np.testing.assert_allclose(state.belief.probs, truth.filtered[-1], **CLOSE["float32"])
    np.testing.assert_allclose(window.smoothed.probs, truth.smoothed[-6:], **CLOSE["float32"])
    lagged = ssm.fixed_lag_smooth(model, ys, TOTAL - 2).smoothed.probs
    np.testing.assert_allclose(lagged, truth.smoothed, **CLOSE["float32"])
    paths = ssm.posterior_sample(model, jax.random.key(0), ys, 5)
    np.testing.assert_array_equal(paths, 0)  # the second state has 1e-30 of it
    ordinary = ssm.residuals(model, ys, kind="ordinary")
    # All under the first state; float32 has normal quantiles down to -13.
    np.testing.assert_allclose(ordinary.mid[32:], ys[32:] + 1, **CLOSE["float32"])
    ahead = ssm.forecast(model, ys, 1)
    np.testing.assert_allclose(ahead.mean, [-0.998], **CLOSE["float32"])
    assert ssm.decode_best(model, ys, 2)[1][0] == pytest.approx(truth.path_log_prob, rel=1e-5)


def test_an_autoregression_and_its_regimes() -> None:
    zero, one = np.zeros((2, 1, 1)), np.ones((2, 1, 1))
    model = ssm.ARHMM([0.5, 0.5], np.eye(2), zero, np.array([[-1.0], [1.0]]), one)
    ys = np.repeat([3.0, -3.0], [17, 18]).astype(np.float32)
    truth = answer(ssm.HMM([0.5, 0.5], np.eye(2), normals(-1, 1)), ys)
    for schedule in ("auto", "blocked"):
        found = ssm.log_prob(model, ys[:, None], schedule=schedule)
        np.testing.assert_allclose(found, truth.log_evidence.sum(), **CLOSE["float32"])
    np.testing.assert_allclose(ssm.smooth(model, ys[:, None]).smoothed.probs, truth.smoothed, **CLOSE["float32"])
    counts = ssm.expected_statistics(model, ys[:, None])
    np.testing.assert_allclose(counts.transitions, truth.transitions, **CLOSE["float32"])
