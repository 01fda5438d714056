"""Changepoints against all segmentations: each is a product of closed-form marginal likelihoods of its segments."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
import scipy.special as special
import scipy.stats
from jax.flatten_util import ravel_pytree

import ssm
from ssm.conjugate import (
    BetaBernoulli,
    DirichletCategorical,
    GammaPoisson,
    NormalInverseGamma,
    NormalInverseWishart,
    NormalMean,
)
from ssm.parameters import constrain

TOTAL = 6  # steps: 32 segmentations
# Two float64 computations of numbers of order one, a few steps long: roundings of 1e-16, a million times over.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


# -- the oracle -----------------------------------------------------------------------------------------------


class Segmentations(NamedTuple):
    """All 2^(T-1) segmentations of T steps."""

    runs: np.ndarray  # (S, T) run lengths
    log_joint: np.ndarray  # (S,) log p(segmentation, ys)

    @property
    def posterior(self) -> np.ndarray:
        """p(segmentation | ys)."""
        return special.softmax(self.log_joint)

    def shares(self, t: int) -> np.ndarray:
        """p(r_t = r | ys) for r = 0 .. TOTAL-1."""
        return np.bincount(self.runs[:, t], self.posterior, TOTAL)


def enumerate_segmentations(log_marginal: Callable, ys: np.ndarray, observed: np.ndarray, hazards: np.ndarray):
    """Every way to cut ys (T, N, ...) into segments; `log_marginal` is that of the observed values of one component."""
    total = len(ys)
    changes = np.array(list(itertools.product([False, True], repeat=total - 1)), bool)
    runs, log_joint = np.zeros((len(changes), total), int), np.zeros(len(changes))
    for s, change in enumerate(changes):
        for t in range(1, total):
            before = runs[s, t - 1]
            hazard = hazards[min(before, len(hazards) - 1)]
            runs[s, t] = 0 if change[t - 1] else before + 1
            log_joint[s] += np.log(hazard if change[t - 1] else 1 - hazard)
        starts = [0, *(np.flatnonzero(change) + 1), total]
        for first, last in zip(starts[:-1], starts[1:], strict=True):
            for n in range(ys.shape[1]):
                seen = ys[first:last, n][observed[first:last, n]]
                log_joint[s] += log_marginal(n, seen) if len(seen) else 0.0
    return Segmentations(runs, log_joint)


# Component n has prior parameters of its own; each is the joint density of a whole segment, no recursion.
LOCATION, COUNT, SHAPE, RATE = np.array([0.2, -0.5]), np.array([0.5, 2.0]), np.array([1.5, 3.0]), np.array([1.0, 0.7])


def student_segment(n: int, ys: np.ndarray) -> float:
    spread = (np.eye(len(ys)) + 1 / COUNT[n]) * RATE[n] / SHAPE[n]
    return scipy.stats.multivariate_t(np.full(len(ys), LOCATION[n]), spread, df=2 * SHAPE[n]).logpdf(ys)


def normal_segment(n: int, ys: np.ndarray) -> float:
    spread = RATE[n] ** 2 * np.eye(len(ys)) + COUNT[n] ** 2
    return scipy.stats.multivariate_normal(np.full(len(ys), LOCATION[n]), spread).logpdf(ys)


def count_segment(n: int, ys: np.ndarray) -> float:
    shape, rate = SHAPE[n] + ys.sum(), RATE[n] + len(ys)
    ratio = special.gammaln(shape) - special.gammaln(SHAPE[n]) + SHAPE[n] * np.log(RATE[n]) - shape * np.log(rate)
    return ratio - special.gammaln(ys + 1).sum()


def binary_segment(n: int, ys: np.ndarray) -> float:
    return special.betaln(SHAPE[n] + ys.sum(), RATE[n] + (1 - ys).sum()) - special.betaln(SHAPE[n], RATE[n])


WORTH, FREEDOM, MATRIX = 0.7, 3.4, np.array([[1.5, 0.6], [0.6, 0.8]])


def correlated_segment(n: int, ys: np.ndarray) -> float:
    """Two correlated components at once: what the constants of prior and posterior leave (Murphy 2007, section 9)."""
    size, mean = len(ys), ys.mean(axis=0)
    away = (ys - mean).T @ (ys - mean), np.outer(mean - LOCATION, mean - LOCATION)
    after = MATRIX + away[0] + away[1] * WORTH * size / (WORTH + size)
    half = np.array([FREEDOM, FREEDOM + size]) / 2
    volume = half * np.log([np.linalg.det(MATRIX), np.linalg.det(after)])
    gammas = special.multigammaln(half[1], 2) - special.multigammaln(half[0], 2)
    return gammas + volume[0] - volume[1] - size * np.log(np.pi) + np.log(WORTH / (WORTH + size))


COUNTS = np.array([0.5, 1.0, 2.0])


def symbol_segment(n: int, ys: np.ndarray) -> float:
    after = COUNTS + np.bincount(ys, minlength=3)
    log_beta = lambda counts: special.gammaln(counts).sum() - special.gammaln(counts.sum())
    return log_beta(after) - log_beta(COUNTS)


class Family(NamedTuple):
    """A conjugate prior, the marginal likelihood of its segments, data of its kind, hazards."""

    segment: Any
    log_marginal: Callable
    draw: Callable[[np.random.Generator], np.ndarray]
    hazard: Any
    hazards: np.ndarray  # by run length
    whole: bool = False  # vectors are observed or missing as a whole


def falling(run_lengths: jax.Array) -> jax.Array:
    """A hazard that falls with the run length."""
    return 1 / (run_lengths + 2.5)


FALLING = falling(np.arange(TOTAL, dtype=float))
RISING = np.array([0.1, 0.3, 0.6])


def correlated() -> NormalInverseWishart:
    return NormalInverseWishart(LOCATION, WORTH, FREEDOM, MATRIX)


def families() -> dict[str, Family]:
    """Made inside tests, in the precision of each."""
    reals = lambda rng: rng.normal(size=(TOTAL, 2)) + np.repeat([[0.0], [2.0]], TOTAL // 2, axis=0)
    students = NormalInverseGamma(LOCATION, COUNT, SHAPE, RATE)
    return {
        "normal-inverse-gamma": Family(students, student_segment, reals, RISING, RISING),
        "normal-mean": Family(NormalMean(LOCATION, COUNT, RATE), normal_segment, reals, falling, FALLING),
        "normal-inverse-wishart": Family(correlated(), correlated_segment, reals, falling, FALLING, whole=True),
        "gamma-poisson": Family(
            GammaPoisson(SHAPE, RATE), count_segment, lambda rng: rng.poisson(3.0, (TOTAL, 2)) * 1.0, 0.2, [0.2]
        ),
        "beta-bernoulli": Family(
            BetaBernoulli(SHAPE, RATE), binary_segment, lambda rng: rng.integers(0, 2, (TOTAL, 2)) * 1.0, 0.2, [0.2]
        ),
        "dirichlet-categorical": Family(
            DirichletCategorical(COUNTS), symbol_segment, lambda rng: rng.integers(0, 3, TOTAL), RISING, RISING
        ),
    }


FAMILIES = [
    "normal-inverse-gamma",
    "normal-mean",
    "normal-inverse-wishart",
    "gamma-poisson",
    "beta-bernoulli",
    "dirichlet-categorical",
]
# What compiles for long is asked of two families in every run.
FEW = {"normal-inverse-gamma", "dirichlet-categorical"}
SOME = [pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow]) for name in FAMILIES]


@eqx.filter_jit
def everything(model: Any, ys: jax.Array, mask: jax.Array) -> Any:
    """All verbs without draws, in one program."""
    past, whole = ssm.filter(model, ys, mask=mask), ssm.smooth(model, ys, mask=mask)
    length = lambda runs: (runs.by_length(TOTAL), runs.change)
    path, best = ssm.decode(model, ys, mask=mask)
    beliefs = length(past.predicted), length(past.filtered), length(whole.smoothed), past.filtered.log_kept
    return past.log_evidence, beliefs, path, best


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", FAMILIES)
def test_all_segmentations(name: str) -> None:
    family, rng = families()[name], np.random.default_rng(1)
    model = ssm.ChangePoint(family.segment, family.hazard, TOTAL)
    ys = family.draw(rng)
    table = ys[:, None] if family.whole else ys.reshape(TOTAL, -1)
    parts = rng.random(table.shape[:2]) > 0.25
    steps = np.broadcast_to((np.arange(TOTAL) != 1)[:, None], parts.shape)
    for observed in (parts, steps):
        mask = observed[:, 0] if family.whole else observed.reshape(ys.shape)
        truth = [
            enumerate_segmentations(family.log_marginal, table[:t], observed[:t], family.hazards)
            for t in range(1, TOTAL + 1)
        ]
        evidence, (predicted, filtered, smoothed, log_kept), path, best = everything(model, ys, mask)
        log_probs = [special.logsumexp(each.log_joint) for each in truth]
        np.testing.assert_allclose(evidence, np.diff(log_probs, prepend=0), **CLOSE)
        now = np.stack([each.shares(-1) for each in truth])
        later = np.stack([truth[-1].shares(t) for t in range(TOTAL)])
        for (lengths, change), expected in ((filtered, now), (smoothed, later)):
            np.testing.assert_allclose(lengths, expected, **CLOSE)
            np.testing.assert_allclose(change, expected[:, 0], **CLOSE)
        hazards = np.append(family.hazards, np.repeat(family.hazards[-1], TOTAL))[:TOTAL]
        np.testing.assert_allclose(predicted[1][1:], now[:-1] @ hazards, **CLOSE)
        np.testing.assert_allclose(best, truth[-1].log_joint.max(), **CLOSE)
        np.testing.assert_array_equal(path, truth[-1].runs[np.argmax(truth[-1].log_joint)])
        np.testing.assert_array_equal(log_kept, 0)  # as many runs as steps: nothing was dropped


# -- what is dropped ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("far", [0, 1], ids=["the-older-run-is-weaker", "the-younger-run-is-weaker"])
def test_the_weaker_run_is_dropped_and_what_is_left_is_counted(far: int) -> None:
    ys = np.array([[0.0, 0.0], [4.0, 4.0], [0.5, 0.5]]) if far == 0 else np.zeros((3, 2))
    every = enumerate_segmentations(student_segment, ys, np.ones_like(ys, bool), RISING)
    answer = ssm.filter(ssm.ChangePoint(NormalInverseGamma(LOCATION, COUNT, SHAPE, RATE), RISING, 2), ys)
    # Of the two runs at the second step, of lengths 1 and 0, one cannot go on to the third.
    dropped = every.runs[:, 2] == (2 if far == 0 else 1)
    kept = special.logsumexp(every.log_joint[~dropped])
    assert special.logsumexp(every.log_joint) - kept > 1e-3  # what was dropped counts
    np.testing.assert_allclose(answer.log_prob + answer.filtered.log_kept[-1], kept, **CLOSE)
    np.testing.assert_allclose(np.exp(answer.predicted.log_weights).sum(1), 1, **CLOSE)


@pytest.mark.usefixtures("float64")
def test_places_beyond_need_change_nothing() -> None:
    segment, ys = NormalInverseGamma(0.0, 1.0, 1.0, 1.0), np.random.default_rng(0).normal(size=5)
    exact, more = (ssm.log_prob(ssm.ChangePoint(segment, 0.3, size), ys) for size in (5, 9))
    np.testing.assert_allclose(more, exact, **CLOSE)


# -- drawing --------------------------------------------------------------------------------------------------


def test_drawn_segmentations_have_their_probabilities() -> None:
    ys, draws = np.array([[0.1, -0.4], [0.9, -0.2], [3.0, 0.5], [2.0, 0.1]]), 4000
    every = enumerate_segmentations(student_segment, ys, np.ones_like(ys, bool), RISING)
    model = ssm.ChangePoint(NormalInverseGamma(LOCATION, COUNT, SHAPE, RATE), RISING, 4)
    paths = ssm.posterior_sample(model, jax.random.key(0), ys, draws)
    codes = lambda runs: (np.asarray(runs)[:, 1:] == 0) @ [4, 2, 1]
    counts = np.bincount(codes(paths.run_length), minlength=8)
    expected = np.zeros(8)
    expected[codes(every.runs)] = every.posterior * draws
    spread = np.sqrt(expected * (1 - expected / draws)) + 1
    assert (np.abs(counts - expected) < 5 * spread).all()  # five standard deviations of a frequency
    # Of one whole segment, parameters are drawn from its posterior, once.
    whole = np.asarray(paths.run_length)[:, -1] == 3
    means, scales = (np.asarray(each)[whole] for each in paths.parameters)
    assert (means == means[:, :1]).all() and (scales == scales[:, :1]).all() and whole.sum() > 50
    posterior = (COUNT * LOCATION + ys.sum(0)) / (COUNT + 4)
    error = means[:, 0].std(0) / np.sqrt(whole.sum())
    assert (np.abs(means[:, 0].mean(0) - posterior) < 5 * error).all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SOME)
def test_simulated_segments(name: str) -> None:
    family, total = families()[name], 2000
    model = ssm.ChangePoint(family.segment, 0.25, 2)
    runs, ys = ssm.simulate(model, jax.random.key(1), total)
    lengths = np.asarray(runs.run_length)
    changed = lengths[1:] == 0
    assert lengths[0] == 0 and (lengths[1:][~changed] == lengths[:-1][~changed] + 1).all()
    assert abs(changed.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / total)
    for leaf in jax.tree.leaves(runs.parameters)[:1]:
        same = (np.asarray(leaf)[1:] == np.asarray(leaf)[:-1]).reshape(total - 1, -1).all(1)
        np.testing.assert_array_equal(same, ~changed)
    # Averaged over segments, y has the mean that the prior predicts; segments of 4 steps are the draws.
    expected = family.segment.predictive()
    symbols = name == "dirichlet-categorical"
    mean = np.asarray(expected.probs if symbols else expected.mean())
    drawn = np.asarray(jax.nn.one_hot(ys, 3) if symbols else ys)
    starts = np.flatnonzero(np.append(True, changed))
    sums, sizes = np.add.reduceat(drawn, starts), np.diff(np.append(starts, total))[:, None]
    error = np.sqrt(((sums - mean * sizes) ** 2).sum(0)) / total
    assert (np.abs(drawn.mean(0) - mean) < 5 * error).all()


@pytest.mark.usefixtures("float64")
def test_drawn_means_and_covariances_have_their_moments() -> None:
    """E[Σ] = S/(ν-N-1) and Var[Σ_ij] as of the inverse Wishart law (Gelman et al. 2013, A.1); Cov[μ] = E[Σ] / count."""
    prior, draws, size = NormalInverseWishart(LOCATION, WORTH, FREEDOM + 12, MATRIX), 5000, 2
    found = jax.jit(jax.vmap(prior.sample))(jax.random.split(jax.random.key(0), draws))
    spare = FREEDOM + 12 - size - 1
    squares = np.outer(np.diag(MATRIX), np.diag(MATRIX))
    expected = MATRIX / spare
    variance = ((spare + 2) * MATRIX**2 + spare * squares) / ((spare + 1) * spare**2 * (spare - 2))
    # Five standard errors of a mean; those of a variance as in a normal sample, twice over for heavier tails.
    error = 5 * np.sqrt(variance / draws)
    assert (np.abs(found.covariance.mean(0) - expected) < error).all()
    np.testing.assert_allclose(np.var(found.covariance, axis=0), variance, rtol=10 * np.sqrt(2 / draws))
    scatter = np.cov(np.asarray(found.mean).T)
    assert (np.abs(scatter - expected / WORTH) < 10 * np.sqrt((expected**2 + squares / spare**2) / draws) / WORTH).all()
    assert (np.abs(found.mean.mean(0) - LOCATION) < 5 * np.sqrt(np.diag(expected) / WORTH / draws)).all()


@pytest.mark.usefixtures("float64")
def test_forecasts_are_exact() -> None:
    model = ssm.ChangePoint(NormalInverseGamma(LOCATION, COUNT, SHAPE + 1, RATE), RISING, 8)
    ys = np.random.default_rng(0).normal(size=(6, 2))
    # The past alone, with both future steps, and with the second one alone.
    masks = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1]], bool)
    past, both, second = ssm.log_prob(model, np.stack([ys] * 3), mask=masks)
    ahead = ssm.forecast(model, ys[:4], 2)
    np.testing.assert_allclose(ahead.log_prob(ys[4:]), both - past, **CLOSE)
    mixture = model.emit(jax.tree.map(lambda leaf: leaf[1], ahead.predicted))
    np.testing.assert_allclose(mixture.log_prob(jnp.asarray(ys[5])), second - past, **CLOSE)
    draws = np.asarray(ahead.sample(jax.random.key(0), 4000))
    error = draws.std(0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - ahead.mean) < 5 * error).all()


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_intervals_hold_their_share_of_draws() -> None:
    ys = np.random.default_rng(0).normal(size=(4, 2))
    for segment in (NormalInverseGamma(LOCATION, COUNT, SHAPE, RATE), GammaPoisson(SHAPE, RATE)):
        ahead = ssm.forecast(ssm.ChangePoint(segment, RISING, 6), np.abs(ys).round(), 2)
        draws = np.asarray(ahead.sample(jax.random.key(0), 20_000))
        for q in (0.05, 0.5, 0.9):
            at = np.asarray(ahead.quantile(q))
            spread = 5 * np.sqrt(q * (1 - q) / len(draws))
            assert ((draws <= at).mean(0) > q - spread).all() and ((draws < at).mean(0) < q + spread).all()


@pytest.mark.slow
def test_a_particle_filter_agrees() -> None:
    model = ssm.ChangePoint(NormalInverseGamma(LOCATION, COUNT, SHAPE, RATE), 0.2, 5)
    ys = np.random.default_rng(2).normal(size=(5, 2))
    filter = ssm.ParticleFilter(model, 20_000)
    estimates = [float(ssm.log_prob(filter, ys, key=jax.random.key(seed))) for seed in range(4)]
    # 20,000 particles estimate a density of a few nats to about 1 %.
    np.testing.assert_allclose(np.mean(estimates), ssm.log_prob(model, ys), atol=0.05)


# -- learning -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SOME)
def test_gradients_are_differences(name: str) -> None:
    family, size = families()[name], 4  # fewer runs than steps: also through what is dropped
    ys, mask = family.draw(np.random.default_rng(1)), np.arange(TOTAL) != 2
    flat, rebuild = ravel_pytree(eqx.filter(ssm.ChangePoint(family.segment, family.hazard, size), eqx.is_array))
    static = eqx.filter(ssm.ChangePoint(family.segment, family.hazard, size), eqx.is_array, inverse=True)
    log_prob = lambda flat: ssm.log_prob(eqx.combine(rebuild(flat), static), ys, mask=mask)
    # Central differences of step 1e-5 err by 1e-10 and by roundings of 1e-15 / 1e-5.
    np.testing.assert_allclose(
        jax.jit(jax.grad(log_prob))(flat), oracles.central_differences(log_prob, flat), rtol=1e-7, atol=1e-7
    )


def test_a_fit_finds_the_hazard() -> None:
    ys = np.repeat(np.tile([-5.0, 5.0], 13)[:25], 4) + np.random.default_rng(1).normal(size=100) * 0.1
    model = ssm.ChangePoint(NormalMean(0.0, 5.0, 0.1), 0.05, 10)
    found = ssm.fit(model, ys, ssm.SGD(optax.adam(0.1), num_epochs=100), frozen=("segment",)).model
    # 24 changes in 99 moves, each beyond doubt: the most likely hazard is their frequency.
    assert found.hazard == pytest.approx(24 / 99, abs=0.01)
    np.testing.assert_array_equal(found.segment.scale, model.segment.scale)


def test_certain_and_impossible_changes() -> None:
    segment, ys = NormalInverseGamma(0.0, 1.0, 1.0, 1.0), np.array([0.3, -1.0, 2.0])
    alone = sum(float(segment.predictive().log_prob(y)) for y in jnp.asarray(ys, jnp.float32))
    always, never = ssm.ChangePoint(segment, 1.0, 3), ssm.ChangePoint(segment, 0.0, 3)
    assert ssm.log_prob(always, ys) == pytest.approx(alone, rel=1e-6)  # a few roundings of float32
    np.testing.assert_array_equal(ssm.smooth(always, ys).smoothed.change, 1)
    np.testing.assert_array_equal(ssm.smooth(never, ys).smoothed.change, [1, 0, 0])
    for model in (always, never):
        gradient = eqx.filter_grad(lambda model: ssm.log_prob(model, ys))(model)
        assert np.isfinite(ravel_pytree(gradient)[0]).all()


def test_an_impossible_observation_is_named_and_passed_over() -> None:
    ys = np.array([0.3, 1e25, -0.5], np.float32)  # its density underflows
    model = ssm.ChangePoint(NormalMean(0.0, 1.0, 1.0), 0.1, 3)
    answer = ssm.filter(model, ys)
    assert answer.first_impossible == 1 and answer.log_prob == -jnp.inf
    assert np.isfinite(answer.log_evidence[jnp.array([0, 2])]).all()
    assert all(not np.isnan(leaf).any() for leaf in jax.tree.leaves((answer, ssm.smooth(model, ys))))


# -- known answers --------------------------------------------------------------------------------------------


def test_changepoints_of_public_series(data: Path) -> None:
    from test_examples import load

    example, _ = load("c0")
    known = json.loads((data / "anchors.json").read_text())["changepoints_tcpd"]
    annotated = json.loads((data / "switching" / "tcpd_annotations.json").read_text())
    for name, file, answer in (("nile", "nile_tcpd", "nile"), ("run_log", "run_log", "run_log_pace")):
        series = json.loads((data / "switching" / f"{file}.json").read_text())["series"][0]["raw"]
        expected = known["bocpd_NIG(0,1,1,1)_standardised_h.01"][answer]
        model, ys = example.detector(len(series)), example.standardised(np.array(series))
        # float32 over 376 steps: 1e-7 a step, times the 2e2 of their sum.
        assert ssm.log_prob(model, ys) == pytest.approx(expected["log_evidence"], abs=2e-3)
        found = example.changepoints(ssm.decode(model, ys)[0])
        assert found == expected["cps"]
        annotators = list(annotated[name].values())
        assert example.f1_score(annotators, found) == pytest.approx(expected["F1"], abs=5e-4)
        assert example.covering(annotators, found, len(ys)) == pytest.approx(expected["cover"], abs=5e-4)


# -- misuse ---------------------------------------------------------------------------------------------------


def test_misuse_is_explained() -> None:
    segment = NormalInverseGamma(np.zeros(2), 1.0, 1.0, 1.0)
    with pytest.raises(TypeError, match="segment: expected a conjugate model"):
        ssm.ChangePoint(ssm.emissions.Normal([0.0], [1.0]), 0.1, 5)
    with pytest.raises(ValueError, match="hazard: expected probabilities between 0 and 1, got 1.5"):
        ssm.ChangePoint(segment, [0.1, 1.5], 5)
    with pytest.raises(ValueError, match="num_runs: keeping one run"):
        ssm.ChangePoint(segment, 0.1, 1)
    with pytest.raises(ValueError, match=r"count: expected shape \(2,\), got \(3,\)"):
        NormalInverseGamma(np.zeros(2), np.ones(3), 1.0, 1.0)
    with pytest.raises(ValueError, match="rate: expected positive numbers, got 0"):
        GammaPoisson(1.0, 0.0)
    with pytest.raises(ValueError, match="df: expected more than N - 1 = 1 for vectors of 2, got 1"):
        NormalInverseWishart(LOCATION, 1.0, 1.0, MATRIX)
    with pytest.raises(ValueError, match="scale_matrix: expected a positive definite matrix, got a singular one"):
        NormalInverseWishart(LOCATION, 1.0, 3.0, np.ones((2, 2)))
    for bad, model in ((2.5, GammaPoisson(1.0, 1.0)), (2, BetaBernoulli(1.0, 1.0))):
        with pytest.raises(ValueError, match=f"ys: expected .*, got {bad}"):
            ssm.log_prob(ssm.ChangePoint(model, 0.1, 3), np.array([0.0, bad]))
    with pytest.raises(ValueError, match="ys: expected symbols 0 .. 2, got 3"):
        ssm.log_prob(ssm.ChangePoint(DirichletCategorical(np.ones(3)), 0.1, 3), np.array([0, 3]))
    with pytest.raises(TypeError, match=r"decode needs .* got RNN"):
        ssm.decode(
            ssm.RNN(ssm.cells.GRU(1, 2, key=jax.random.key(0)), ssm.heads.Normal(2, 1, key=jax.random.key(0))),
            np.zeros((3, 1)),
        )
    # A part of a vector is evidence, but what is known after it is no normal-inverse-Wishart: refused, or NaN.
    together, holed = ssm.ChangePoint(correlated(), 0.1, 3), np.array([[0.0, 1.0], [np.nan, 0.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="ys: 1 time steps have some but not all of their 2 components"):
        ssm.log_prob(together, holed)
    learn = constrain(correlated()).learn
    learnt = [learn(jnp.zeros(2), jnp.array(seen)).mean for seen in ((True, False), (False, False))]
    np.testing.assert_array_equal(np.isnan(learnt), [[True, True], [False, False]])
    no_probability = ssm.ChangePoint(segment, lambda run_lengths: 1.5 + 0 * run_lengths, 3)
    assert np.isnan(ssm.log_prob(no_probability, np.zeros((3, 2))))
