"""Fixed-lag beliefs against smoothing of what had been seen by then."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pytest
import zoo

import ssm
from ssm.beliefs import handed_out

pytestmark = pytest.mark.usefixtures("float64")

TOTAL = 6
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # two float64 computations of numbers of order one
MASK = np.array([True, False, True, True, False, True])
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("LinearGaussian-in-time", "ParticleFilter")]


def member(name: str) -> zoo.Member:
    return next(each for each in zoo.MEMBERS if each.name == name)


@dataclass
class Case:
    """A model, data of its kind, and the key if it draws."""

    model: Any
    ys: np.ndarray
    us: np.ndarray | None
    key: dict[str, Any]

    def given(self, size: int) -> ssm.Smoothed:
        """What the first `size` steps say about each time, from one program for all sizes."""
        after = lambda leaf: np.concatenate([leaf, leaf[-1:]])  # so that something is padding at every size
        us = None if self.us is None else after(self.us)
        return ssm.smooth(self.model, after(self.ys), us, mask=after(MASK), lengths=np.array(size), **self.key)

    def smoothed(self, size: int) -> list[np.ndarray]:
        """Its beliefs, as numbers."""
        return numbers(self.given(size).smoothed)


def case(name: str) -> Case:
    model, rng = member(name).model(1), np.random.default_rng(1)
    key = {"key": jax.random.key(0)} if model.is_stochastic else {}
    return Case(model, zoo.observations(model, rng, TOTAL), zoo.inputs(model, rng, TOTAL), key)


def numbers(belief: Any) -> list[np.ndarray]:
    """A belief as arrays that do not depend on how it is stored."""
    stored = (belief.mean, belief.covariance) if hasattr(belief, "covariance") else handed_out(belief)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(stored)]


def assert_close(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("name", ["HMM-categorical", *SLOW])
def test_each_time_sees_lag_more_steps(name: str) -> None:
    known, lag = case(name), 2
    answer = ssm.fixed_lag_smooth(known.model, known.ys, lag, known.us, mask=MASK, **known.key)
    for t in range(TOTAL):
        expected = known.smoothed(min(t + lag + 1, TOTAL))
        assert_close([each[t] for each in numbers(answer.smoothed)], [each[t] for each in expected])
    np.testing.assert_allclose(answer.log_prob, known.given(TOTAL).log_prob, **CLOSE)


@pytest.mark.parametrize("name", ["HMM-categorical", *SLOW])
def test_no_lag_is_the_filter_and_all_of_it_the_smoother(name: str) -> None:
    known = case(name)
    beliefs = lambda lag: ssm.fixed_lag_smooth(known.model, known.ys, lag, known.us, mask=MASK, **known.key).smoothed
    now = ssm.filter(known.model, known.ys, known.us, mask=MASK, **known.key).filtered
    assert_close(numbers(beliefs(0)), numbers(now))
    assert_close(numbers(beliefs(99)), [each[:TOTAL] for each in known.smoothed(TOTAL)])


def test_padding_and_new_sequences_stop_the_look_ahead() -> None:
    """A batch of lengths 6 and 4, and both packed into one sequence, give what each gives alone."""
    one, lag, sizes = case("HMM-categorical"), 3, np.array([TOTAL, 4])
    other = replace(one, ys=one.ys[::-1])
    masks, ys = np.stack([MASK, MASK]), np.stack([one.ys, other.ys])
    batch = ssm.fixed_lag_smooth(one.model, ys, lag, mask=masks, lengths=sizes).smoothed.probs
    packed = lambda rows: np.concatenate([rows[0], rows[1, :4]])
    starts = np.arange(TOTAL + 4) == TOTAL
    joined = ssm.fixed_lag_smooth(one.model, packed(ys), lag, mask=packed(masks), starts=starts).smoothed.probs
    for b, (alone, size) in enumerate(zip((one, other), sizes, strict=True)):
        for t in range(size):
            (expected,) = alone.smoothed(min(t + lag + 1, size))
            np.testing.assert_allclose(batch[b, t], expected[t], **CLOSE)
            np.testing.assert_allclose(joined[b * TOTAL + t], expected[t], **CLOSE)


@pytest.mark.parametrize("name, lag", [("HMM-categorical", 3), ("LinearGaussian-in-time", 3)])
def test_a_stream_remembers_the_last_beliefs_of_the_smoother(name: str, lag: int) -> None:
    known = case(name)
    stream = ssm.fixed_lag(known.model, lag)
    state = stream.init(None if known.us is None else known.us[0], **known.key)
    sizes, total = [leaf.shape for leaf in jax.tree.leaves(state)], 0.0
    for t in range(TOTAL):
        u, y = None if known.us is None else known.us[t], known.ys[t] if MASK[t] else None
        state, increment = stream.step(state, y, u, **known.key)
        total += increment
        expected, times = known.smoothed(t + 1), np.maximum(np.arange(t - lag, t + 1), 0)
        np.testing.assert_array_equal(state.times, times)
        assert_close(numbers(state.smoothed), [each[times] for each in expected])
        assert_close(numbers(state.belief), [each[t] for each in expected])
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == sizes and state.t == TOTAL
    np.testing.assert_allclose(total, known.given(TOTAL).log_prob, **CLOSE)


def test_misuse_is_named() -> None:
    model, ys = case("HMM-categorical").model, np.zeros(TOTAL, int)
    with pytest.raises(ValueError, match="lag: must be at least 0, got -1"):
        ssm.fixed_lag_smooth(model, ys, -1)
    with pytest.raises(TypeError, match="lag: expected an integer, got 1.5"):
        ssm.fixed_lag(model, 1.5)
    with pytest.raises(ValueError, match="state: expected one of lag 2, got one of lag 1"):
        ssm.fixed_lag(model, 2).step(ssm.fixed_lag(model, 1).init(), ys[0])
    with pytest.raises(TypeError, match="state: expected the state of this stream's init or step, got State"):
        ssm.fixed_lag(model, 2).step(ssm.init(model), ys[0])
