"""Explicit durations and several chains: operators against dense matrices, models against all paths."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import ssm
from ssm import durations
from ssm.emissions import AdditiveNormal, Categorical, Normal, Tied
from ssm.parameters import constrain
from ssm.transitions import AbstractTransition, Coupled, Driven, Durations, Factorial, Sparse

pytestmark = pytest.mark.usefixtures("float64")

STATES, TOTAL, INPUTS = 6, 4, 2
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # float64, the same sums in another order


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random probabilities along the last axis."""
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def free_durations(rng: np.random.Generator) -> Durations:
    return Durations(rows(rng, 2, 2), durations.Categorical(rows(rng, 2, 3)), rows(rng, 2))


def alternating(rng: np.random.Generator) -> Durations:
    family = durations.NegativeBinomial(rng.uniform(1, 4, 2), rng.uniform(0.5, 2, 2), 3)
    return Durations(np.array([[0.0, 1.0], [1.0, 0.0]]), family, rows(rng, 2))


def factorial(rng: np.random.Generator) -> Factorial:
    return Factorial([rows(rng, 2, 2), rows(rng, 3, 3)], [rows(rng, 2), rows(rng, 3)])


def mixed(rng: np.random.Generator) -> Factorial:
    """A chain that inputs drive beside a sparse one."""
    driven = Driven(rows(rng, 2, 2), rng.normal(size=(2, 2, INPUTS)))
    sparse = Sparse(np.array([[0, 1], [2, 1], [0, 2]]), rows(rng, 3, 2))
    return Factorial([driven, sparse], [rows(rng, 2), rows(rng, 3)])


def coupled(rng: np.random.Generator) -> Coupled:
    return Coupled([rows(rng, 2, 3, 2), rows(rng, 2, 3, 3)], [rows(rng, 2), rows(rng, 3)])


KINDS: dict[str, Callable[[np.random.Generator], Any]] = {
    "durations": free_durations,
    "alternating": alternating,
    "factorial": factorial,
    "mixed": mixed,
    "coupled": coupled,
}


def dense(transition: AbstractTransition, u: np.ndarray | None) -> np.ndarray:
    """A, written out from what the model says and from nothing else."""
    if isinstance(transition, Durations):
        jumps, table = np.asarray(transition.transition), np.asarray(transition.durations.probs)
        (modes, longest), matrix = table.shape, np.zeros((table.size, table.size))
        for (m, left), (n, new) in itertools.product(np.ndindex(modes, longest), repeat=2):
            going_on = float(m == n and new == left - 1) if left else jumps[m, n] * table[n, new]
            matrix[m * longest + left, n * longest + new] = going_on
        return matrix
    if isinstance(transition, Factorial):
        chains = [constrain(each) for each in transition.transitions]
        known = [None if each.num_inputs == 0 else u for each in chains]
        return np.kron(*[np.asarray(each.matrix(k)) for each, k in zip(chains, known, strict=True)])
    tables = [np.asarray(table) for table in transition.tables]
    sizes = tables[0].shape[:-1]
    matrix = np.ones((np.prod(sizes), np.prod(sizes)))
    for (i, before), (j, after) in itertools.product(enumerate(np.ndindex(sizes)), repeat=2):
        matrix[i, j] = np.prod([table[(*before, to)] for table, to in zip(tables, after, strict=True)])
    return matrix


def start_of(transition: Any) -> np.ndarray:
    """p(x_1), written out."""
    if isinstance(transition, Durations):
        return (np.asarray(transition.initial)[:, None] * transition.durations.probs).ravel()
    return functools.reduce(np.kron, [np.asarray(each) for each in transition.initials])


def counted(transition: Any, expected: np.ndarray) -> list[np.ndarray]:
    """What the transition counts, from expected moves (K, K)."""
    if isinstance(transition, Durations):
        modes, longest = transition.durations.probs.shape
        ended = expected.reshape(modes, longest, modes, longest)[:, 0]
        return [ended.sum(2), ended.sum(0)]
    sizes = transition.sizes
    if isinstance(transition, Factorial):
        moves = expected.reshape(*sizes, *sizes)
        return [moves.sum((1, 3)), moves.sum((0, 2))]
    moves = expected.reshape(-1, *sizes)
    return [moves.sum(2), moves.sum(1)]


def except_slow(*slow: str) -> list[Any]:
    """The kinds; those whose code another one runs as well wait for --slow."""
    return [pytest.param(kind, marks=[pytest.mark.slow] if kind in slow else []) for kind in KINDS]


def chain(kind: str, rng: np.random.Generator) -> ssm.HMM:
    return ssm.HMM(None, KINDS[kind](rng), Categorical(rows(rng, STATES, 4)))


def inputs(model: ssm.HMM, rng: np.random.Generator, *lead: int) -> np.ndarray | None:
    return rng.normal(size=(*lead, INPUTS)) if model.num_inputs else None


@pytest.mark.parametrize("kind", [*KINDS, "three"])
def test_an_operator_is_its_matrix(kind: str) -> None:
    rng = np.random.default_rng(0)
    three = lambda rng: Coupled([rows(rng, 2, 2, 2, 2) for _ in range(3)], [rows(rng, 2)] * 3)
    model = three(rng) if kind == "three" else KINDS[kind](rng)
    us = rng.normal(size=(1, INPUTS))
    matrix, vector = dense(model, us[0]), jnp.asarray(rng.uniform(size=model.num_states))

    @jax.jit
    def answers(transition: Any, us: Any) -> tuple:
        u = jax.tree.map(lambda leaf: leaf[0], transition.prepare(us, jnp.zeros(1, int)))
        at = jnp.asarray(4)
        moved = transition.push(vector, u), transition.pull(vector, u), transition.matrix(u)
        rows = transition.row(at, u), transition.column(at, u), transition.best(vector, u)
        return *moved, *rows, transition.start(), vector if kind == "mixed" else transition.stationary()

    with np.errstate(divide="ignore"):
        best = np.max(np.asarray(vector)[:, None] + np.log(matrix), axis=0)
    truth = (vector @ matrix, matrix @ vector, matrix, matrix[4], matrix[:, 4], best, start_of(model))
    *found, resting = answers(constrain(model), jnp.asarray(us))
    for answer, expected in zip(found, truth, strict=True):
        np.testing.assert_allclose(answer, expected, **CLOSE)
    if kind != "mixed":
        np.testing.assert_allclose(resting @ matrix, resting, **CLOSE)
        np.testing.assert_allclose(resting.sum(), 1, **CLOSE)


@pytest.mark.parametrize("kind", except_slow("alternating", "factorial"))
def test_a_chain_is_all_its_paths(kind: str) -> None:
    rng = np.random.default_rng(1)
    model, lengths = chain(kind, rng), np.array([TOTAL, 2])
    us, ys, mask = (
        inputs(model, rng, 2, TOTAL),
        rng.integers(0, 4, (2, TOTAL)),
        np.array([[1, 0, 1, 1], [1, 1, 0, 0]], bool),
    )
    given = {"inputs": us, "mask": mask, "lengths": lengths}

    @eqx.filter_jit
    def answers(model: Any) -> tuple:
        schedules = ("auto", "associative") if kind == "durations" else ("auto",)
        smoothed = [ssm.smooth(model, ys, **given, schedule=each).smoothed.probs for each in schedules]
        counts = ssm.expected_statistics(model, ys, **given).transitions
        return ssm.filter(model, ys, **given), ssm.decode(model, ys, **given), smoothed, counts

    filtered, paths, (smoothed, *together), counts = answers(model)
    for b, size in enumerate(lengths):
        table = np.where(mask[b, :, None], np.log(np.asarray(model.emission.probs)[:, ys[b]].T), 0)[:size]
        matrices = np.stack([dense(model.dynamics, None if us is None else us[b, t]) for t in range(size)])
        truth = oracles.enumerate_paths(start_of(model.dynamics), matrices, table)
        np.testing.assert_allclose(filtered.log_evidence[b, :size], truth.log_evidence, **CLOSE)
        np.testing.assert_allclose(filtered.predicted.probs[b, :size], truth.predicted, **CLOSE)
        np.testing.assert_allclose(smoothed[b, :size], truth.smoothed, **CLOSE)
        for probs in together:
            np.testing.assert_allclose(probs[b, :size], truth.smoothed, **CLOSE)
        np.testing.assert_allclose(paths[1][b], truth.path_log_prob, **CLOSE)
        np.testing.assert_array_equal(paths[0][b, :size], truth.path)
        if kind != "mixed":  # a driven chain keeps its moves one by one
            for answer, expected in zip(counts, counted(model.dynamics, truth.transitions), strict=True):
                np.testing.assert_allclose(answer[b], expected, **CLOSE)
        joint = truth.smoothed.reshape(size, 2, 3)  # two modes of three durations, or chains of two and three states
        if isinstance(model.dynamics, Durations):
            np.testing.assert_allclose(model.dynamics.modes(smoothed)[b, :size], joint.sum(2), **CLOSE)
        else:
            for part, axis in zip(model.dynamics.marginals(smoothed), (2, 1), strict=True):
                np.testing.assert_allclose(part[b, :size], joint.sum(axis), **CLOSE)


@pytest.mark.parametrize("kind", except_slow("alternating", "factorial", "coupled"))
def test_the_gradient_is_that_of_differences(kind: str) -> None:
    rng = np.random.default_rng(2)
    model = chain(kind, rng)
    us, ys = inputs(model, rng, TOTAL), jnp.asarray(rng.integers(0, 4, TOTAL))
    free, fixed = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(free)
    value = lambda vector: ssm.log_prob(eqx.combine(unravel(vector), fixed), ys, us)
    # Logits of hard zeros are the constant -1e9, where a difference of 1e-6 is lost: their derivative is zero.
    moves = 1e-6 * jnp.eye(len(flat))
    moved = jax.jit(lambda: jax.vmap(lambda step: value(flat + step) - value(flat - step))(moves))()
    # Central differences of a smooth function of size 10 at 1e-6: rounding leaves about 1e-9.
    np.testing.assert_allclose(jax.jit(jax.grad(value))(flat), np.asarray(moved) / 2e-6, atol=1e-8)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("kind", except_slow("durations", "mixed", "factorial"))
def test_em_is_monotone(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = chain(kind, rng)
    ys, mask = rng.integers(0, 4, (2, TOTAL)), rng.uniform(size=(2, TOTAL)) < 0.8
    mask[:, 0] = True
    fit = ssm.fit(model, ys, ssm.EM(6, tol=0), inputs(model, rng, 2, TOTAL), mask=mask)
    assert (np.diff(np.append(fit.start_log_prob, fit.log_probs)) > -1e-9).all()
    assert fit.log_probs[-1] > fit.start_log_prob
    assert fit.model.dynamics.has_start
    if kind == "alternating":
        assert (np.diagonal(fit.model.dynamics.transition) == 0).all()


# -- durations ------------------------------------------------------------------------------------------------


def segmentations(total: int, modes: int, longest: int) -> list[list[tuple[int, int]]]:
    """All lists of (mode, length) that cover `total` steps."""
    if total == 0:
        return [[]]
    lengths = range(1, min(longest, total) + 1)
    return [
        [(mode, length), *rest]
        for mode in range(modes)
        for length in lengths
        for rest in segmentations(total - length, modes, longest)
    ]


def test_an_hsmm_is_all_its_segmentations() -> None:
    total, longest, size, mean = 5, 3, np.array([2.0, 5.0]), np.array([0.7, 1.4])
    rng = np.random.default_rng(4)
    initial, jumps, loc = rows(rng, 2), rows(rng, 2, 2), np.array([-1.0, 1.0])
    ys = rng.normal(size=total)
    lasting = scipy.stats.nbinom.pmf(np.arange(longest), size[:, None], (size / (size + mean))[:, None])
    lasting /= lasting.sum(1, keepdims=True)
    density = scipy.stats.norm.pdf(ys[:, None], loc, 0.8)
    evidence, modes, jumped, best = 0.0, np.zeros((total, 2)), np.zeros((2, 2)), (0.0, [])
    for segments in segmentations(total, 2, longest):
        visited = [mode for mode, _ in segments]
        each_step = np.repeat(visited, [length for _, length in segments])
        weight = initial[visited[0]] * np.prod([jumps[a, b] for a, b in itertools.pairwise(visited)])
        weight *= np.prod([lasting[mode, length - 1] for mode, length in segments[:-1]])
        seen = np.prod(density[np.arange(total), each_step])
        mode, length = segments[-1]
        best = max(best, (weight * lasting[mode, length - 1 :].max() * seen, segments))
        weight *= lasting[mode, length - 1 :].sum() * seen  # the last segment may go on
        evidence += weight
        modes[np.arange(total), each_step] += weight
        for a, b in itertools.pairwise(visited):
            jumped[a, b] += weight
    model = ssm.HSMM(initial, jumps, durations.NegativeBinomial(size, mean, longest), Normal(loc, [0.8, 0.8]))
    smoothed = ssm.smooth(model, ys)
    np.testing.assert_allclose(smoothed.log_prob, np.log(evidence), **CLOSE)
    np.testing.assert_allclose(model.dynamics.modes(smoothed.smoothed.probs), modes / evidence, **CLOSE)
    np.testing.assert_allclose(ssm.expected_statistics(model, ys).transitions.jumps, jumped / evidence, **CLOSE)
    path, score = ssm.decode(model, ys)
    np.testing.assert_allclose(score, np.log(best[0]), **CLOSE)
    assert [(segment.mode, segment.length) for segment in model.dynamics.segments(path)] == best[1]


def test_geometric_durations_are_an_ordinary_chain() -> None:
    rng = np.random.default_rng(5)
    stay, ys = np.array([0.3, 0.4]), rng.normal(size=12)
    emission, swap = Normal([-1.0, 1.0], [1.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]])
    # Longer than 45 steps has probability 0.4^45 = 1e-18.
    lasting = ssm.HSMM([0.2, 0.8], swap, durations.Geometric(stay, 45), emission)
    plain = ssm.HMM([0.2, 0.8], np.diag(stay) + np.diag(1 - stay) @ swap, emission)
    np.testing.assert_allclose(ssm.log_prob(lasting, ys), ssm.log_prob(plain, ys), **CLOSE)
    ahead = [ssm.forecast(model, ys, 3).mean for model in (lasting, plain)]
    np.testing.assert_allclose(*ahead, **CLOSE)


LATER = np.arange(9)  # d - 1
FAMILIES = {
    "geometric": (durations.Geometric([0.4, 0.8], 9), lambda f: scipy.stats.geom.pmf(1 + LATER, 1 - f.stay[:, None])),
    "poisson": (durations.Poisson([0.4, 3.0], 9), lambda f: scipy.stats.poisson.pmf(LATER, f.rate[:, None])),
    "negative binomial": (
        durations.NegativeBinomial([0.7, 3.0], [0.4, 2.0], 9),
        lambda f: scipy.stats.nbinom.pmf(LATER, f.size[:, None], (f.size / (f.size + f.mean))[:, None]),
    ),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n != "poisson" else []) for n in FAMILIES])
def test_families_of_durations_are_cut_off_and_fit_their_counts(name: str) -> None:
    single, density = FAMILIES[name]
    family = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), single)
    raw = density(family)
    np.testing.assert_allclose(family.probs, raw / raw.sum(1, keepdims=True), rtol=1e-6)  # made in float32
    np.testing.assert_allclose(family.expected, (raw / raw.sum(1, keepdims=True)) @ (1 + LATER), rtol=1e-6)
    counts = jnp.asarray(1000 * scipy.stats.nbinom.pmf(LATER, 4, [[0.5], [0.7]]))
    maximise = jax.jit(lambda family, counts: family.maximise(counts))
    best = maximise(family, counts)
    slope = jax.grad(lambda family: jnp.sum(counts * family.log_probs))(best)
    # A climb of ten steps among 2000 counts: what is left to gain is slope² / (2 curvature), below 1e-3 nats.
    np.testing.assert_allclose(ravel_pytree(slope)[0], 0, atol=0.5)
    unseen = maximise(family, counts.at[1].set(0))
    np.testing.assert_allclose(unseen.probs[1], family.probs[1], **CLOSE)
    if name == "negative binomial":
        np.testing.assert_array_equal(family.maximise(counts, frozenset({"size"})).size, family.size)
    longest = family.restart(jax.random.key(0)).expected
    assert (longest >= 1).all() and (longest <= 9).all()


def test_one_step_costs_what_its_structure_costs() -> None:
    modes, longest, total = 4, 50, 300
    rng = np.random.default_rng(6)
    family = durations.Poisson(np.full(modes, 20.0), longest)
    model = ssm.HSMM(rows(rng, modes), rows(rng, modes, modes), family, Normal(np.arange(4.0), np.ones(4)))
    size = modes * longest
    vector, plain = jnp.ones(size), constrain(model)
    for move in (plain.dynamics.push, plain.dynamics.pull, plain.dynamics.best):
        cost = jax.jit(lambda vector, move=move: move(vector, None)).lower(vector).compile().cost_analysis()
        assert cost["flops"] < 6 * (size + modes**2) < size**2 / 20
    ys = jnp.asarray(rng.normal(size=total))
    gradient = jax.jit(jax.grad(lambda model: ssm.log_prob(model, ys))).lower(model).compile()
    assert gradient.memory_analysis().temp_size_in_bytes < 8 * total * size * 10  # beliefs; T (M D)² would be 200


def test_a_semi_markov_model_starts_in_the_middle_if_it_is_stationary() -> None:
    family = durations.Poisson([3.0, 1.0], 6)
    emission = Normal([-1.0, 1.0], [1.0, 1.0])
    model = ssm.HSMM("stationary", [[0.0, 1.0], [1.0, 0.0]], family, emission)
    modes = model.dynamics.modes(model.initial)
    np.testing.assert_allclose(modes, np.asarray(family.expected) / np.sum(family.expected), **CLOSE)
    ahead = ssm.filter(model, np.full(3, np.nan)).predicted.probs
    np.testing.assert_allclose(ahead[2], model.initial, **CLOSE)


def alternation() -> ssm.HMM:
    """Two modes that take turns and are easily told apart."""
    return ssm.HSMM(
        [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], durations.Poisson([3.0, 1.0], 6), Normal([-3.0, 3.0], [0.5, 0.5])
    )


def test_drawn_segments_are_found_again() -> None:
    model = alternation()
    states, ys = ssm.simulate(model, jax.random.key(0), 30)
    segments = model.dynamics.segments(states)
    assert sum(segment.length for segment in segments) == 30 and len(segments) > 5
    assert all(a.mode != b.mode for a, b in itertools.pairwise(segments))
    np.testing.assert_array_equal(model.dynamics.mode(ssm.decode(model, ys)[0]), model.dynamics.mode(states))


@pytest.mark.slow
def test_every_verb_takes_a_semi_markov_model() -> None:
    model = alternation()
    states, ys = ssm.simulate(model, jax.random.key(0), 30)
    paths = ssm.posterior_sample(model, jax.random.key(1), ys, 2)
    assert (np.asarray(model.dynamics.mode(paths)) == np.asarray(model.dynamics.mode(states))).all()
    assert np.isfinite(ssm.forecast(model, ys, 4, key=jax.random.key(2)).interval(0.9)[0]).all()
    moved = ssm.fit(model, ys, ssm.SGD(num_epochs=3)).model.dynamics
    for before, after in zip(jax.tree.leaves(model.dynamics), jax.tree.leaves(moved), strict=True):
        assert (np.asarray(before) != np.asarray(after)).any()
    held = ssm.fit(model, ys, ssm.EM(3), frozen=("transition.durations", "emission.emission.loc")).model
    np.testing.assert_array_equal(held.dynamics.durations.rate, model.dynamics.durations.rate)
    np.testing.assert_array_equal(held.emission.emission.loc, model.emission.emission.loc)
    assert ssm.fit(model, ys, ssm.EM(3, restarts=2), key=jax.random.key(3)).restarts.shape[0] == 2
    assert ssm.num_parameters(model) == 1 + 0 + 2 + 4  # one start, no choice of jumps, two rates, two normals


@pytest.mark.slow
def test_durations_are_recovered_better_than_by_an_ordinary_chain() -> None:
    size, mean, swap = np.array([20.0, 8.0]), np.array([9.0, 24.0]), np.array([[0.0, 1.0], [1.0, 0.0]])
    emission = Normal([-0.6, 0.6], [1.0, 1.0])
    truth = ssm.HSMM([0.5, 0.5], swap, durations.NegativeBinomial(size, mean, 60), emission)
    states, ys = ssm.simulate(truth, jax.random.key(0), 4000)
    start = ssm.HSMM([0.5, 0.5], swap, durations.NegativeBinomial([2.0, 2.0], [15.0, 15.0], 60), emission)
    lasting = ssm.fit(start, ys, ssm.EM(100)).model
    plain = ssm.fit(ssm.HMM([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], emission), ys, ssm.EM(100)).model
    geometric = durations.Geometric(np.diagonal(plain.transition), 60)
    off = lambda family: np.abs(np.asarray(family.probs) - np.asarray(truth.dynamics.durations.probs)).sum()
    assert off(lasting.dynamics.durations) < 0.5 < off(geometric)  # of at most 4: total variation, doubled, twice
    np.testing.assert_allclose(
        lasting.dynamics.durations.mean, mean, rtol=0.15
    )  # some 200 segments, seen through noise
    right = lambda modes: np.mean(np.asarray(modes) == np.asarray(truth.dynamics.mode(states)))
    assert right(lasting.dynamics.mode(ssm.decode(lasting, ys)[0])) > right(ssm.decode(plain, ys)[0])
    assert ssm.log_prob(lasting, ys) > ssm.log_prob(plain, ys) + 20


# -- emissions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [pytest.param(2, marks=pytest.mark.slow), [1, 0, 0, 2]])
def test_tied_states_emit_alike(states: Any) -> None:
    rng = np.random.default_rng(7)
    inner = Categorical(rows(rng, 3, 4))
    tied = Tied(inner, states)
    which = np.repeat(np.arange(3), 2) if states == 2 else np.array(states)
    size = len(which)
    model = ssm.HMM(rows(rng, size), rows(rng, size, size), tied)
    plain = ssm.HMM(model.initial, model.transition, Categorical(np.asarray(inner.probs)[which]))
    ys = rng.integers(0, 4, 9)
    np.testing.assert_allclose(ssm.log_prob(model, ys), ssm.log_prob(plain, ys), **CLOSE)
    ahead = [jax.jit(lambda each: each.emission.mixture(each.initial, None).probs)(each) for each in (model, plain)]
    np.testing.assert_allclose(*ahead, **CLOSE)
    assert tied.permuted(np.arange(size)[::-1]).states == tied.states[::-1]
    weights = rng.uniform(size=(9, size))
    summed = np.stack([weights[:, which == m].sum(1) for m in range(3)], axis=1)
    maximise = jax.jit(lambda emission, weights: emission.maximise(weights, jnp.asarray(ys), None, None))
    best, expected = maximise(tied, jnp.asarray(weights)), maximise(inner, jnp.asarray(summed))
    np.testing.assert_allclose(best.emission.probs, expected.probs, **CLOSE)


def test_additive_normals_are_fitted_by_least_squares() -> None:
    rng = np.random.default_rng(8)
    total, event = 40, 2
    emission = AdditiveNormal([rng.normal(size=(2, event)), rng.normal(size=(3, event))], rng.uniform(0.5, 2, event))
    ys, weights = rng.normal(size=(total, event)), rng.uniform(size=(total, STATES))
    seen = rng.uniform(size=ys.shape) < 0.8
    one, other = np.divmod(np.arange(STATES), 3)
    loc = np.asarray(emission.loc[0])[one] + np.asarray(emission.loc[1])[other]
    table = np.where(seen[:, None], scipy.stats.norm.logpdf(ys[:, None], loc, emission.scale), 0).sum(2)
    given = (jnp.asarray(ys), None, jnp.asarray(seen))
    np.testing.assert_allclose(jax.jit(lambda e: e.log_likelihoods(*given))(emission), table, **CLOSE)
    maximise = jax.jit(lambda e, held: e.maximise(jnp.asarray(weights), *given, held), static_argnums=1)
    best = maximise(emission, frozenset())
    joint_loc = np.asarray(best.loc[0])[one] + np.asarray(best.loc[1])[other]
    design = np.concatenate([np.eye(2)[one], np.eye(3)[other]], axis=1)
    for n in range(event):
        root = np.sqrt(weights * seen[:, n, None]).reshape(-1, 1)
        left, right = root * np.tile(design, (total, 1)), root[:, 0] * np.repeat(ys[:, n], STATES)
        fitted = np.linalg.lstsq(left, right)[0]
        np.testing.assert_allclose(joint_loc[:, n], design @ fitted, **CLOSE)
        spread = np.sum((right - left @ fitted) ** 2) / np.sum(root**2)
        np.testing.assert_allclose(best.scale[n], np.sqrt(spread), **CLOSE)
    held = maximise(emission, frozenset({"loc.0"}))
    np.testing.assert_array_equal(held.loc[0], emission.loc[0])
    assert (np.asarray(held.loc[1]) != np.asarray(emission.loc[1])).all()


def switches() -> ssm.HMM:
    return ssm.FactorialHMM(
        [[0.5, 0.5], [0.5, 0.5]],
        [np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.7, 0.3], [0.3, 0.7]])],
        AdditiveNormal([[0.0, 1.0], [0.0, 3.0]], 0.3),
    )


def test_two_switches_are_told_apart() -> None:
    model = switches()
    states, ys = ssm.simulate(model, jax.random.key(0), 60)
    for answer, truth in zip(
        model.dynamics.chains(ssm.decode(model, ys)[0]), model.dynamics.chains(states), strict=True
    ):
        assert np.mean(np.asarray(answer) == np.asarray(truth)) > 0.9


@pytest.mark.slow
def test_a_factorial_model_is_fitted_as_a_whole_and_in_part() -> None:
    model = switches()
    ys = ssm.simulate(model, jax.random.key(0), 60)[1]
    fit = ssm.fit(model, ys, ssm.EM(10, tol=0))
    assert (np.diff(np.append(fit.start_log_prob, fit.log_probs)) > -1e-9).all()
    by_gradient = ssm.fit(model, ys, ssm.SGD(num_epochs=2)).model
    for before, after in zip(jax.tree.leaves(model), jax.tree.leaves(by_gradient), strict=True):
        assert (np.asarray(before) != np.asarray(after)).any()
    held = ssm.fit(model, ys, ssm.EM(2), frozen=("transition.transitions.0", "transition.initials")).model.dynamics
    np.testing.assert_array_equal(held.transitions[0].probs, model.dynamics.transitions[0].probs)
    np.testing.assert_array_equal(held.initials[1], model.dynamics.initials[1])
    assert (np.asarray(held.transitions[1].probs) != np.asarray(model.dynamics.transitions[1].probs)).all()


def switch() -> Normal:
    return Normal([0.0, 1.0], [1.0, 1.0])


HALF, EVEN, LASTING = [0.5, 0.5], np.ones((2, 2)) / 2, durations.Poisson([1.0, 2.0], 4)
BAD = {
    "modes": (lambda: ssm.HSMM(HALF, EVEN, durations.Poisson([1.0] * 3, 4), switch()), ValueError, "M = 2"),
    "family": (lambda: Durations(EVEN, EVEN), TypeError, "ssm.durations"),
    "jumps": (lambda: Durations(np.ones((3, 3)) / 3, LASTING), ValueError, "transition"),
    "start": (lambda: Durations(EVEN, LASTING, [1.0]), ValueError, "initial"),
    "two starts": (lambda: ssm.HMM(HALF, Durations(EVEN, LASTING, HALF), Tied(switch(), 4)), ValueError, "its own"),
    "no start": (lambda: ssm.HMM(None, EVEN, switch()), ValueError, "initial"),
    "size": (lambda: durations.NegativeBinomial([1.0], [1.0, 2.0], 4), ValueError, "size"),
    "rate": (lambda: durations.Poisson([0.0], 4), ValueError, "rate"),
    "stay": (lambda: durations.Geometric([1.5], 4), ValueError, "stay"),
    "longest": (lambda: durations.Poisson([1.0], 0), ValueError, "max_duration"),
    "probs": (lambda: durations.Categorical([[0.5, 0.6]]), ValueError, "probs"),
    "chains": (lambda: Factorial([EVEN], [HALF, HALF]), ValueError, "initials"),
    "no chains": (lambda: Factorial([]), ValueError, "transitions"),
    "own start": (lambda: Factorial([Durations(EVEN, LASTING, HALF)]), ValueError, r"transitions\[0\]"),
    "table": (lambda: Coupled([np.ones((2, 2, 2)) / 2, np.ones((3, 2, 2)) / 2]), ValueError, r"tables\[1\]"),
    "tied": (lambda: Tied(switch(), [0, 2]), ValueError, "states"),
    "repeats": (lambda: Tied(switch(), [0.5]), TypeError, "states"),
    "loc": (lambda: AdditiveNormal([np.zeros((2, 3))], np.ones(2)), ValueError, r"loc\[0\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_named(name: str) -> None:
    make, error, words = BAD[name]
    with pytest.raises(error, match=words):
        make()
