"""Linear-Gaussian models from data at one stroke, by canonical correlations of past and future."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks

# Shares of the variance of a state, and of an observed component, that are noise at least.
LEAST_NOISE = 1e-3
LAGS = 10


class Identified(NamedTuple):
    """x_t = F x_{t-1} + B u_t + w, y_t = H x_t + D u_t + d + v, x_1 ~ N(0, I)."""

    transition_matrix: Any
    transition_input: Any
    transition_covariance: Any
    emission_matrix: Any
    emission_input: Any
    emission_bias: Any
    emission_covariance: Any


def identified(num_dims: Any, ys: Any, inputs: Any, lags: Any) -> Identified:
    """`identify` from one sequence or a batch, with its arguments checked, in the type of ys; see `from_data`."""
    size = checks.positive_int("num_dims", num_dims)
    batch = ("B",) * (np.ndim(ys) == 3)
    ys = checks.real("ys", ys, (*batch, "T", "N"))
    us = None if inputs is None else checks.real("inputs", inputs, (*ys.shape[:-1], "U"))
    batches = lambda array: np.asarray(array, float).reshape(-1, *array.shape[-2:])
    count, length, seen = batches(ys).shape
    width = seen + (0 if us is None else us.shape[-1])
    rows = lambda lags: count * (length - 2 * lags + 1)
    fewest = -(-size // seen)
    if lags is None:
        fits = [lags for lags in range(fewest, max(LAGS, fewest) + 1) if rows(lags) >= 4 * lags * width]
        lags = fits[-1] if fits else fewest
    lags = checks.positive_int("lags", lags)
    if lags < fewest or rows(lags) < 2 * lags * width:
        raise ValueError(
            f"lags: {size} states take at least {fewest} lags of {seen} components, and {lags} lags at least "
            f"{2 * lags * width} times that have as many before and after them, got {lags} lags and "
            f"{max(rows(lags), 0)} such times; take fewer states or lags, or more data"
        )
    found = identify(batches(ys), None if us is None else batches(us), size, lags)
    return Identified(*(None if each is None else jnp.asarray(each, ys.dtype) for each in found))


def identify(ys: np.ndarray, us: np.ndarray | None, size: int, lags: int) -> Identified:
    """From sequences (B, T, N) and inputs (B, T, U); see `ssm.LinearGaussian.from_data`."""
    given = np.zeros((*ys.shape[:2], 0)) if us is None else us
    middle, level = ys.mean((0, 1)), given.mean((0, 1))
    ys, given = ys - middle, given - level
    # Rows are times t: y and u before t; y from t on, and u that act from t on.
    past = np.concatenate([_windows(ys, -lags, 0), _windows(given, -lags, 0)], axis=2)[:, lags:]
    future, driven = _windows(ys, 0, lags)[:, lags:], _windows(given, 0, lags)[:, lags:]
    whole = ys.shape[1] - 2 * lags + 1  # times that have all of their future
    ahead, behind, known = (_rows(each[:, :whole]) for each in (future, past, driven))
    left, right = (each - _on(known, each) for each in (ahead, behind))
    basis, spread, turn = np.linalg.svd(right, full_matrices=False)
    kept = spread > 1e-10 * spread[0]
    into = np.linalg.svd(left, full_matrices=False)[0]
    shares, axes = np.linalg.svd(into.T @ basis[:, kept])[1:]
    shares = np.clip(shares[:size], LEAST_NOISE, 1)
    # States of variance `shares`: what the past says of the future, in balanced coordinates.
    scale = np.sqrt(len(right) * shares)
    states = past @ (turn[kept].T / spread[kept] @ axes[:size].T * scale)
    return _regress(states, ys[:, lags:], given[:, lags:], shares, middle, level if us is not None else None)


def _regress(
    states: np.ndarray,
    ys: np.ndarray,
    us: np.ndarray,
    shares: np.ndarray,
    middle: np.ndarray,
    level: np.ndarray | None,
) -> Identified:
    """Least squares of the next state, and of what is seen, on states z = x - B u before their input, and inputs."""
    size = len(shares)
    now = np.concatenate([states, us], axis=2)
    moves = np.linalg.lstsq(_rows(now[:, :-1]), _rows(states[:, 1:]), rcond=None)[0].T
    sees = np.linalg.lstsq(_rows(now), _rows(ys), rcond=None)[0].T
    matrix, view = moves[:, :size], sees[:, :size]
    entering = np.linalg.lstsq(matrix, moves[:, size:], rcond=None)[0]  # F B -> B
    left = _rows(ys) - _rows(now) @ sees.T
    # Any variance of the states from `shares` to its inverse explains what is seen (Faurre 1976), so that there is a
    # part of the noise that they share with it. In the middle, at one, both noises are covariances, and that part is
    # left to EM.
    noise = np.eye(size) - matrix @ matrix.T
    blur = left.T @ left / len(left) + (view * (shares - 1)) @ view.T
    variance = np.diagonal(_rows(ys).T @ _rows(ys)) / len(left)
    seen_input = sees[:, size:] - view @ entering
    if level is None:
        return Identified(matrix, None, _lifted(noise), view, None, middle, _lifted(blur, variance))
    offset = (
        middle - seen_input @ level - view @ np.linalg.lstsq(np.eye(size) - matrix, entering @ level, rcond=None)[0]
    )
    return Identified(matrix, entering, _lifted(noise), view, seen_input, offset, _lifted(blur, variance))


def _windows(series: np.ndarray, begin: int, end: int) -> np.ndarray:
    """At each time t of (B, T, N), the values at t + begin .. t + end - 1 beside each other; zero beyond the ends."""
    wide = np.pad(series, ((0, 0), (max(-begin, 0), max(end, 0)), (0, 0)))
    first = max(-begin, 0) + begin
    return np.concatenate([wide[:, first + k : first + k + series.shape[1]] for k in range(end - begin)], axis=2)


def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(array.shape[0] * array.shape[1], array.shape[2])


def _on(regressors: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The part of the targets that the regressors explain."""
    return regressors @ np.linalg.lstsq(regressors, targets, rcond=None)[0] if regressors.shape[1] else 0 * targets


def _lifted(covariance: np.ndarray, variance: np.ndarray | float = 1.0) -> np.ndarray:
    """With every eigenvalue at least a small share of the variances."""
    scale = np.sqrt(np.broadcast_to(np.maximum(variance, 1e-30), len(covariance)))
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2 / np.outer(scale, scale))
    return (vectors * np.maximum(values, LEAST_NOISE)) @ vectors.T * np.outer(scale, scale)
