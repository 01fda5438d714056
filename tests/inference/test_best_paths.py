"""The list of best paths, against all paths."""

import jax
import numpy as np
import oracles
import pytest

import ssm

pytestmark = pytest.mark.usefixtures("float64")

TOTAL = 5
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # sums of ten float64 logarithms


def chain(seed: int, size: int = 3) -> ssm.HMM:
    rng = np.random.default_rng(seed)
    initial, transition = rng.dirichlet(np.ones(size)), rng.dirichlet(np.ones(size), size)
    return ssm.HMM(initial, transition, ssm.emissions.Normal(rng.normal(size=size), np.ones(size)))


def ranked(model: ssm.HMM, ys: np.ndarray, seen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All paths by their probability."""
    table = oracles.log_likelihood_table(model.emission, ys, np.ones(len(ys), bool) if seen is None else seen)
    return oracles.score_paths(np.asarray(model.initial), np.asarray(model.transition), table)


def log_prob_of(paths: np.ndarray, known: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The log-probability that the oracle gives each of the paths (n, T)."""
    table = {tuple(path): score for path, score in zip(*known, strict=True)}
    return np.array([table[tuple(path)] for path in paths.tolist()])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("num_paths", [1, 12])
def test_the_list_is_that_of_all_paths(seed: int, num_paths: int) -> None:
    model, ys = chain(seed), np.random.default_rng(seed).normal(size=TOTAL)
    paths, log_probs = ssm.decode_best(model, ys, num_paths)
    truth = ranked(model, ys)
    np.testing.assert_array_equal(paths, truth[0][:num_paths])
    np.testing.assert_allclose(log_probs, truth[1][:num_paths], **CLOSE)
    best, best_log_prob = ssm.decode(model, ys)
    np.testing.assert_array_equal(paths[0], best)
    np.testing.assert_allclose(log_probs[0], best_log_prob, **CLOSE)


@pytest.mark.parametrize("mask", [[True, False, True, True, False], [False, True, False, False, True]])
def test_what_is_missing_leaves_ties_and_all_paths_different(mask: list[bool]) -> None:
    """Also a gap at either end, whose moves count although nothing is seen there."""
    model, ys, seen = chain(2), np.random.default_rng(2).normal(size=TOTAL), np.array(mask)
    paths, log_probs = ssm.decode_best(model, ys, 12, mask=seen)
    truth = ranked(model, ys, seen)
    np.testing.assert_allclose(log_probs, truth[1][:12], **CLOSE)
    np.testing.assert_allclose(log_prob_of(np.asarray(paths), truth), log_probs, **CLOSE)
    assert len({tuple(path) for path in np.asarray(paths).tolist()}) == 12


def test_the_possible_paths_come_before_the_impossible_ones() -> None:
    """From state 0 a chain that only moves right has TOTAL paths of two states."""
    model = ssm.HMM([1.0, 0.0], [[0.6, 0.4], [0.0, 1.0]], ssm.emissions.Normal([0.0, 1.0], [1.0, 1.0]))
    ys = np.random.default_rng(3).normal(size=TOTAL)
    paths, log_probs = ssm.decode_best(model, ys, 12)
    truth = ranked(model, ys)
    np.testing.assert_array_equal(paths[:TOTAL], truth[0][:TOTAL])
    np.testing.assert_allclose(log_probs[:TOTAL], truth[1][:TOTAL], **CLOSE)
    assert np.all(np.asarray(log_probs[TOTAL:]) == -np.inf)
    with np.errstate(all="raise"):
        same = ssm.HMM([1.0, 0.0], np.eye(2), ssm.emissions.Categorical([[1.0, 0.0], [0.0, 1.0]]))
        _, nothing = ssm.decode_best(same, np.array([0, 1, 0, 0, 0]), 2)
    assert np.all(np.asarray(nothing) == -np.inf)  # not even one path


def test_a_batch_of_unequal_lengths_is_each_sequence_alone() -> None:
    model, ys, lengths = chain(4), np.random.default_rng(4).normal(size=(2, TOTAL)), np.array([TOTAL, 3])
    paths, log_probs = ssm.decode_best(model, ys, 12, lengths=lengths)
    assert paths.shape == (2, 12, TOTAL) and log_probs.shape == (2, 12)
    for b, size in enumerate(lengths):
        known, scores = ranked(model, ys[b, :size])
        np.testing.assert_array_equal(paths[b, :, :size], known[:12])
        np.testing.assert_allclose(log_probs[b], scores[:12], **CLOSE)
        np.testing.assert_array_equal(paths[b, :, size:], np.repeat(known[:12, -1:], TOTAL - size, axis=1))


def test_a_transition_that_varies_is_read_at_the_time_it_leads_into() -> None:
    rng = np.random.default_rng(5)
    moves = rng.dirichlet(np.ones(2), (TOTAL, 2))
    fixed = chain(5, 2)
    model = ssm.HMM(fixed.initial, ssm.transitions.TimeVarying(moves), fixed.emission)
    ys = rng.normal(size=TOTAL)
    paths, log_probs = ssm.decode_best(model, ys, 2**TOTAL)
    best, best_log_prob = ssm.decode(model, ys)
    np.testing.assert_array_equal(paths[0], best)
    np.testing.assert_allclose(log_probs[0], best_log_prob, **CLOSE)
    np.testing.assert_allclose(jax.nn.logsumexp(log_probs), ssm.log_prob(model, ys), **CLOSE)  # these are all paths


def test_misuse_is_named() -> None:
    kalman = ssm.LinearGaussian([0.0], [[1.0]], [[1.0]], [[1.0]], [[1.0]], [[1.0]])
    with pytest.raises(TypeError, match="decode_best needs a discrete state space, ssm.HMM, got LinearGaussian"):
        ssm.decode_best(kalman, np.zeros((3, 1)), 2)
    with pytest.raises(ValueError, match="num_paths: must be at least 1, got 0"):
        ssm.decode_best(chain(0), np.zeros(3), 0)
