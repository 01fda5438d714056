"""Best paths of a batch, or of blocks of one sequence, side by side: those of walking in order."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.emissions import Categorical
from ssm.parameters import constrain
from ssm.recursions.markov.viterbi_in_blocks import laid_out
from ssm.schedules import Sequential, SideBySide

SYMBOLS = 4


def chain(size: int, forbidden: float = 0.3) -> ssm.HMM:
    """A random chain of which that share of moves and of symbols is impossible; no two paths are equally good."""
    rng = np.random.default_rng(size)

    def rows(*shape: int) -> np.ndarray:
        table = rng.uniform(0.1, 1, shape) * (rng.uniform(size=shape) >= forbidden)
        table[:, 0] += 0.1
        return table / table.sum(axis=1, keepdims=True)

    return ssm.HMM(rows(1, size)[0], rows(size, size), Categorical(rows(size, SYMBOLS)))


def same(model: ssm.HMM, ys: np.ndarray, schedule: Any, **given: Any) -> None:
    """The same path, and the same log-probability to the rounding of float64 sums in another order."""
    path, log_prob = ssm.decode(model, ys, schedule=schedule, **given)
    in_order, truth = ssm.decode(model, ys, schedule=Sequential(), **given)
    assert path.dtype == in_order.dtype
    np.testing.assert_array_equal(path, in_order)
    np.testing.assert_allclose(log_prob, truth, rtol=1e-12)


# Few states; many of them in few lanes, and in many.
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("size", "count"),
    [(3, 9), (14, 9), pytest.param(1, 2, marks=pytest.mark.slow), pytest.param(14, 2, marks=pytest.mark.slow)],
)
def test_the_sequences_of_a_batch_are_lanes(size: int, count: int) -> None:
    model, rng = chain(size), np.random.default_rng(0)
    ys, mask = rng.integers(0, SYMBOLS, (count, 6)), rng.uniform(size=(count, 6)) < 0.6
    same(model, ys, SideBySide(), lengths=np.append([1, 6], rng.integers(1, 7, count - 2)), mask=mask)


def score(model: ssm.HMM, path: tuple[int, ...], ys: np.ndarray, seen: np.ndarray) -> float:
    """log p(path, ys), over the observed times."""
    initial, transition, probs = (np.asarray(p) for p in (model.initial, model.transition, model.emission.probs))
    with np.errstate(divide="ignore"):
        moved = np.log(initial[path[0]]) + sum(np.log(transition[i, j]) for i, j in itertools.pairwise(path))
        return moved + sum(np.log(probs[i, y]) for i, y, known in zip(path, ys, seen, strict=True) if known)


@pytest.mark.usefixtures("float64")
def test_no_path_is_better() -> None:
    model, rng = chain(3), np.random.default_rng(1)
    ys, lengths, mask = rng.integers(0, SYMBOLS, (9, 5)), rng.integers(1, 6, 9), rng.uniform(size=(9, 5)) < 0.7
    paths, log_probs = ssm.decode(model, ys, lengths=lengths, mask=mask, schedule=SideBySide())
    for path, log_prob, y, seen, length in zip(paths, log_probs, ys, mask, lengths, strict=True):
        scored = lambda path: score(model, path, y[:length], seen[:length])
        np.testing.assert_allclose(log_prob, max(map(scored, itertools.product(range(3), repeat=length))), rtol=1e-12)
        np.testing.assert_allclose(log_prob, scored(tuple(path[:length].tolist())), rtol=1e-12)
        assert (path[length:] == path[length - 1]).all()


@eqx.filter_jit
def blocks(model: ssm.HMM, ys: np.ndarray, schedule: SideBySide) -> tuple[Any, Any, Any]:
    """Whether the blocks found an answer of their own, and which."""
    plain, steps = constrain(model), ssm.data.observe(model, ys).steps
    return laid_out(plain, steps, schedule).best()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("size", "total"),
    [(3, 50), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((14, 50), (3, 7), (3, 1)))],
)
def test_blocks_of_one_sequence(size: int, total: int) -> None:
    model, ys = chain(size, 0), np.random.default_rng(2).integers(0, SYMBOLS, total)
    agreed, path, log_prob = blocks(model, ys, SideBySide(4, max_sweeps=9))
    in_order, truth = ssm.decode(model, ys, schedule=Sequential())
    assert agreed
    np.testing.assert_array_equal(path, in_order)
    np.testing.assert_allclose(log_prob, truth, rtol=1e-12)


def test_paths_that_never_meet_are_walked_in_order() -> None:
    frozen = ssm.HMM([0.5, 0.3, 0.2], np.eye(3), chain(3, 0).emission)
    ys = np.random.default_rng(3).integers(0, SYMBOLS, 50)
    hasty = SideBySide(4, max_sweeps=2)
    assert not blocks(frozen, ys, hasty)[0]
    path, log_prob = ssm.decode(frozen, ys, schedule=hasty)
    in_order, truth = ssm.decode(frozen, ys, schedule=Sequential())
    np.testing.assert_array_equal(path, in_order)
    np.testing.assert_allclose(log_prob, truth, rtol=1e-5)  # float32 sums in another order


@pytest.mark.usefixtures("float64")
def test_what_no_path_explains_is_passed_over() -> None:
    cycle = ssm.HMM([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], Categorical([[0.9, 0.0, 0.1], [0.0, 0.9, 0.1]]))
    ys = np.array([[0, 0, 1, 0, 1], [0, 1, 0, 0, 0], [0, 1, 0, 1, 0]])  # the first twice, the second once
    same(cycle, ys, SideBySide())
    assert np.isinf(ssm.decode(cycle, ys)[1]).tolist() == [True, True, False]
    unseen = jnp.asarray(ys).at[2, 3].set(7)  # no symbol of the model
    assert np.isnan(jax.jit(lambda ys: ssm.decode(cycle, ys)[1])(unseen)).tolist() == [False, False, True]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("size", "count"), [(14, 2), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((3, 2), (14, 9)))]
)
def test_derivatives(size: int, count: int) -> None:
    model, ys = chain(size, 0), np.random.default_rng(4).integers(0, SYMBOLS, (count, 4))
    total = lambda model, schedule: jnp.sum(ssm.decode(model, ys, schedule=schedule)[1])
    both = jax.jit(lambda model: [jax.grad(total)(model, each) for each in (SideBySide(), Sequential())])(model)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), *both)


def test_the_slope_of_the_best_score_is_that_of_walking_in_order(float64: None) -> None:
    """The blocks of a long sequence are walked until they agree, which has no derivative of its own."""
    model, ys = chain(3, forbidden=0), np.random.default_rng(1).integers(0, SYMBOLS, 400)

    def slope(schedule: Any) -> Any:
        return eqx.filter_jit(eqx.filter_grad(lambda model: ssm.decode(model, ys, schedule=schedule)[1]))(model)

    for found, truth in zip(*map(jax.tree.leaves, (slope(SideBySide(lanes=4)), slope(Sequential()))), strict=True):
        np.testing.assert_allclose(found, truth, atol=1e-10)  # sums of 400 terms in another order
