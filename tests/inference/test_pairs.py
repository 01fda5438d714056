"""Beliefs about two neighbouring times, against all paths."""

import jax
import numpy as np
import oracles
import pytest

import ssm

pytestmark = pytest.mark.usefixtures("float64")

TOTAL, SIZE = 5, 3
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # sums of 243 float64 probabilities
MASK = np.array([True, False, True, True, False])


def chain() -> ssm.HMM:
    """With a hard zero, and nothing symmetric."""
    transition = [[0.5, 0.3, 0.2], [0.0, 0.6, 0.4], [0.7, 0.1, 0.2]]
    return ssm.HMM([0.2, 0.3, 0.5], transition, ssm.emissions.Normal([-1.0, 0.5, 2.0], [1.0, 0.5, 1.5]))


def truth(model: ssm.HMM, ys: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """p(x_t, x_{t+1} | y) at all times (T - 1, K, K), by summing over paths."""
    table = oracles.log_likelihood_table(model.emission, ys, mask)
    paths, scores = oracles.score_paths(np.asarray(model.initial), np.asarray(model.transition), table)
    weights = np.exp(scores - scores.max())
    pairs = np.zeros((len(ys) - 1, SIZE, SIZE))
    for path, weight in zip(paths, weights / weights.sum(), strict=True):
        pairs[np.arange(len(ys) - 1), path[:-1], path[1:]] += weight
    return pairs


def series(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def test_pairs_are_sums_over_all_paths() -> None:
    model, ys, times = chain(), series(TOTAL), np.array([3, 0, 2, 0])
    pairs = ssm.smooth_pairs(model, ys, times, mask=MASK)
    np.testing.assert_allclose(pairs, truth(model, ys, MASK)[times], **CLOSE)


def test_a_batch_of_unequal_lengths_and_a_packed_sequence() -> None:
    model, ys, sizes = chain(), series(2, TOTAL), (TOTAL, 3)
    pairs = ssm.smooth_pairs(model, ys, np.array([0, 1]), lengths=np.array(sizes))
    packed = np.concatenate([ys[0], ys[1, :3]])
    joined = ssm.smooth_pairs(model, packed, np.arange(TOTAL + 2), starts=np.arange(TOTAL + 3) == TOTAL)
    known = [truth(model, ys[b, :size], np.ones(size, bool)) for b, size in enumerate(sizes)]
    for b in range(2):
        np.testing.assert_allclose(pairs[b], known[b][:2], **CLOSE)
    np.testing.assert_allclose(joined[: TOTAL - 1], known[0], **CLOSE)
    np.testing.assert_allclose(joined[TOTAL:], known[1], **CLOSE)
    apart = known[0][-1].sum(0)[:, None] * known[1][0].sum(1)  # the end of one sequence and the start of the other
    np.testing.assert_allclose(joined[TOTAL - 1], apart, **CLOSE)


def test_times_that_have_no_pair_are_named_or_unknown() -> None:
    model, ys = chain(), series(TOTAL)
    for bad in (-1, TOTAL - 1):
        with pytest.raises(ValueError, match=rf"times: a pair .* of 5 steps has t in 0 .. 3, got {bad}"):
            ssm.smooth_pairs(model, ys, np.array([0, bad]))
    with pytest.raises(ValueError, match=r"of 3 steps has t in 0 .. 1, got 2"):
        ssm.smooth_pairs(model, ys, np.array([1, 2]), lengths=np.array(3))
    with pytest.raises(TypeError, match="times: expected integers, got float64"):
        ssm.smooth_pairs(model, ys, np.array([0.5]))
    with pytest.raises(TypeError, match="smooth_pairs needs a discrete state space, ssm.HMM, got LinearGaussian"):
        ssm.smooth_pairs(ssm.LinearGaussian([0.0], [[1.0]], [[1.0]], [[1.0]], [[1.0]], [[1.0]]), ys[:, None], [0])
    unseen = jax.jit(lambda times, length: ssm.smooth_pairs(model, ys, times, lengths=length))
    there = np.isfinite(unseen(np.array([-1, 0, 1, 2, 4]), np.array(3))).all((1, 2))
    assert there.tolist() == [False, True, True, False, False]
