"""Answers by brute force: every path enumerated, the joint Gaussian written out, differences for derivatives.

Nothing here recurses over beliefs except the two plain recursions at the end, which are the textbook ones that
autodiff is applied to. All numbers are float64 NumPy unless said.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats


class Chain(NamedTuple):
    """What all K**T paths of a hidden Markov chain say."""

    log_evidence: np.ndarray  # (T,) log p(y_t | y_<t)
    predicted: np.ndarray  # (T, K)
    filtered: np.ndarray  # (T, K)
    smoothed: np.ndarray  # (T, K)
    transitions: np.ndarray  # (K, K) expected counts
    path: np.ndarray  # (T,) the most probable one
    path_log_prob: float


def score_paths(
    initial: np.ndarray, transition: np.ndarray, log_likelihoods: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All K**T paths (K**T, T), most probable first, and their joint log-probabilities log p(path, ys)."""
    total, size = log_likelihoods.shape
    paths = np.array(list(itertools.product(range(size), repeat=total)))
    with np.errstate(divide="ignore"):
        log_initial, log_transition = np.log(initial), np.log(transition)
    scores = log_initial[paths[:, 0]] + log_likelihoods[0, paths[:, 0]]
    for t in range(1, total):
        scores = scores + log_transition[paths[:, t - 1], paths[:, t]] + log_likelihoods[t, paths[:, t]]
    order = np.argsort(-scores, kind="stable")
    return paths[order], scores[order]


def enumerate_paths(initial: np.ndarray, transition: np.ndarray, log_likelihoods: np.ndarray) -> Chain:
    """All paths and their probabilities; for small K and T. Zero rows of log_likelihoods mean unobserved.

    `transition` is (K, K), or (T, K, K) with the matrix that leads into t at t.
    """
    total, size = log_likelihoods.shape
    transition = np.broadcast_to(transition, (total, size, size))
    paths = np.indices((size,) * total).reshape(total, -1).T  # (K**T, T)
    with np.errstate(divide="ignore"):
        log_initial, log_transition = np.log(initial), np.log(transition)
    steps = log_transition[np.arange(1, total), paths[:, :-1], paths[:, 1:]]
    moves = np.concatenate([log_initial[paths[:, :1]], steps], axis=1)
    seen = log_likelihoods[np.arange(total), paths]  # (K**T, T)
    # Sums over all paths count every prefix K**(T-t) times, which every ratio below cancels.
    before = np.cumsum(moves, 1) + np.cumsum(seen, 1) - seen
    after = before + seen
    whole = after[:, -1]
    shares = lambda log_weights, t: _shares(log_weights, paths[:, t], size)
    weights = np.exp(whole - whole.max())
    weights /= weights.sum()
    transitions = np.zeros((size, size))
    for t in range(1, total):
        np.add.at(transitions, (paths[:, t - 1], paths[:, t]), weights)
    return Chain(
        log_evidence=np.array([_log_sum(after[:, t]) - _log_sum(before[:, t]) for t in range(total)]),
        predicted=np.stack([shares(before[:, t], t) for t in range(total)]),
        filtered=np.stack([shares(after[:, t], t) for t in range(total)]),
        smoothed=np.stack([shares(whole, t) for t in range(total)]),
        transitions=transitions,
        path=paths[np.argmax(whole)],
        path_log_prob=float(whole.max()),
    )


def walk_logarithms(initial: np.ndarray, transition: np.ndarray, log_likelihoods: np.ndarray) -> Chain:
    """The same by the textbook's forward, backward and best-path recursions, all in logarithms: any K and T.

    `transition` is (T, K, K), with the matrix that leads into t at t.
    """
    total, size = log_likelihoods.shape
    with np.errstate(divide="ignore"):
        moves, start = np.log(transition), np.log(initial)
    add = np.logaddexp.reduce
    predicted, forward, back = (np.zeros((total, size)) for _ in range(3))
    scores, best = np.zeros((total, size)), np.zeros((total, size), int)
    for t in range(total):
        predicted[t] = start if t == 0 else add(forward[t - 1][:, None] + moves[t], axis=0)
        forward[t] = predicted[t] + log_likelihoods[t]
        reached = start[None] if t == 0 else scores[t - 1][:, None] + moves[t]
        best[t], scores[t] = reached.argmax(0), reached.max(0) + log_likelihoods[t]
    for t in range(total - 1, 0, -1):
        back[t - 1] = add(moves[t] + log_likelihoods[t] + back[t], axis=1)
    whole = add(forward[-1])
    counts = np.zeros((size, size))
    for t in range(1, total):
        counts += np.exp(forward[t - 1][:, None] + moves[t] + log_likelihoods[t] + back[t] - whole)
    path = [int(scores[-1].argmax())]
    for t in range(total - 1, 0, -1):
        path.append(int(best[t][path[-1]]))
    share = lambda logs: np.exp(logs - add(logs, axis=1)[:, None])
    evidence = np.diff(add(forward, axis=1), prepend=0.0)
    return Chain(
        evidence,
        share(predicted),
        share(forward),
        share(forward + back),
        counts,
        np.array(path[::-1]),
        scores[-1].max(),
    )


def _log_sum(log_weights: np.ndarray) -> float:
    return float(np.logaddexp.reduce(log_weights))


def _shares(log_weights: np.ndarray, states: np.ndarray, size: int) -> np.ndarray:
    weights = np.exp(log_weights - log_weights.max())
    return np.bincount(states, weights, size) / weights.sum()


class Joint(NamedTuple):
    """What the joint normal distribution of all states and observations says."""

    log_evidence: np.ndarray  # (T,)
    predicted: tuple[np.ndarray, np.ndarray]  # means (T, D), covariances (T, D, D)
    filtered: tuple[np.ndarray, np.ndarray]
    smoothed: tuple[np.ndarray, np.ndarray]


class System(NamedTuple):
    """A linear-Gaussian system with everything given at every time; offsets hold biases and input effects."""

    initial_mean: np.ndarray  # (D,)
    initial_covariance: np.ndarray  # (D, D)
    transition_matrix: np.ndarray  # (T, D, D)
    transition_offset: np.ndarray  # (T, D)
    transition_covariance: np.ndarray  # (T, D, D)
    emission_matrix: np.ndarray  # (T, N, D)
    emission_offset: np.ndarray  # (T, N)
    emission_covariance: np.ndarray  # (T, N, N)
    cross_covariance: np.ndarray | None = None  # (T, D, N), of the noise into x_t with that of y_t; the first not read


def condition_joint(system: System, ys: np.ndarray, observed: np.ndarray) -> Joint:
    """Condition the joint normal of x (T·D) and y (T·N) on the observed entries of ys, both (T, N)."""
    total, size = len(ys), len(system.initial_mean)
    means, states, y_mean, y_covariance, across = _joint(system)

    def given(t: int, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        here, those = slice(t * size, (t + 1) * size), np.flatnonzero(known)
        gain = np.linalg.solve(y_covariance[np.ix_(those, those)], across[here][:, those].T).T
        residual = ys.ravel()[those] - y_mean[those]
        return means[here] + gain @ residual, states[here, here] - gain @ across[here][:, those].T

    def log_density(known: np.ndarray) -> float:
        those = np.flatnonzero(known)
        residual, spread = ys.ravel()[those] - y_mean[those], y_covariance[np.ix_(those, those)]
        _, log_volume = np.linalg.slogdet(2 * np.pi * spread)
        return -0.5 * (residual @ np.linalg.solve(spread, residual) + log_volume)

    time = np.repeat(np.arange(total), ys.shape[1])
    seen = observed.ravel()
    upto = lambda t: seen & (time < t)
    stacked = lambda pairs: tuple(np.stack(parts) for parts in zip(*pairs, strict=True))
    densities = np.array([log_density(upto(t)) for t in range(total + 1)])
    return Joint(
        log_evidence=np.diff(densities),
        predicted=stacked([given(t, upto(t)) for t in range(total)]),
        filtered=stacked([given(t, upto(t + 1)) for t in range(total)]),
        smoothed=stacked([given(t, seen) for t in range(total)]),
    )


def condition_all(system: System, ys: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (x_1 .. x_T, y_1 .. y_T) in one vector, given the observed entries of ys (T, N)."""
    means, states, y_mean, y_covariance, across = _joint(system)
    mean, covariance = np.append(means, y_mean), np.block([[states, across], [across.T, y_covariance]])
    those = len(means) + np.flatnonzero(observed)
    gain = np.linalg.solve(covariance[np.ix_(those, those)], covariance[those]).T
    return mean + gain @ (ys.ravel()[observed.ravel()] - mean[those]), covariance - gain @ covariance[those]


def _joint(system: System) -> tuple[np.ndarray, ...]:
    """Means and covariances of x (T·D) and of y (T·N), and the covariance of x with y."""
    total, size = system.transition_offset.shape
    # (I - shifted F) x = offsets + noise
    coupling = np.eye(total * size)
    noise = np.zeros((total * size, total * size))
    for t in range(total):
        here = slice(t * size, (t + 1) * size)
        noise[here, here] = system.transition_covariance[t] if t else system.initial_covariance
        if t:
            coupling[here, (t - 1) * size : t * size] = -system.transition_matrix[t]
    inverse = np.linalg.inv(coupling)
    means = inverse @ np.concatenate([system.initial_mean, system.transition_offset[1:].ravel()])
    states = inverse @ noise @ inverse.T
    seeing = _block_diagonal(system.emission_matrix)
    y_mean = seeing @ means + system.emission_offset.ravel()
    y_covariance = seeing @ states @ seeing.T + _block_diagonal(system.emission_covariance)
    across = states @ seeing.T
    if system.cross_covariance is not None:
        shared = inverse @ _block_diagonal(
            np.concatenate([np.zeros_like(system.cross_covariance[:1]), system.cross_covariance[1:]])
        )
        y_covariance = y_covariance + seeing @ shared + (seeing @ shared).T
        across = across + shared
    return means, states, y_mean, y_covariance, across


def _block_diagonal(blocks: np.ndarray) -> np.ndarray:
    total, rows, columns = blocks.shape
    whole = np.zeros((total, rows, total, columns))
    whole[np.arange(total), :, np.arange(total)] = blocks
    return whole.reshape(total * rows, total * columns)


def central_differences(function: Callable, at: jax.Array, step: float = 1e-5) -> np.ndarray:
    """∂function/∂at by central differences, (*output, D) for at (D,); error about step² and 1e-16 / step."""
    moves = step * np.eye(at.shape[0], dtype=at.dtype)
    values = jax.jit(jax.vmap(function))(np.asarray(at) + np.concatenate([moves, -moves]))
    up, down = np.split(np.asarray(values), 2)
    return np.moveaxis((up - down) / (2 * step), 0, -1)


# -- textbook recursions in JAX, for autodiff to be applied to -------------------------------------------------


def plain_forward(initial: jax.Array, transition: jax.Array, log_likelihoods: jax.Array) -> jax.Array:
    """log p(y_{1:T}) of a hidden Markov chain without zeros, by the forward algorithm in logarithms."""

    def body(alpha: jax.Array, log_likelihood: jax.Array):
        moved = jax.nn.logsumexp(alpha[:, None] + jnp.log(transition), axis=0)
        return moved + log_likelihood, None

    first = jnp.log(initial) + log_likelihoods[0]
    return jax.nn.logsumexp(jax.lax.scan(body, first, log_likelihoods[1:])[0])


def plain_kalman(system: System, ys: jax.Array) -> jax.Array:
    """log p(y_{1:T}) of a fully observed linear-Gaussian system, by the covariance form of the Kalman filter."""

    def body(belief, step):
        mean, spread = belief
        first, known, y = step
        moved = known.transition_matrix @ mean + known.transition_offset
        widened = known.transition_matrix @ spread @ known.transition_matrix.T + known.transition_covariance
        mean, spread = jnp.where(first, mean, moved), jnp.where(first, spread, widened)
        seeing = known.emission_matrix
        innovation = seeing @ spread @ seeing.T + known.emission_covariance
        residual = y - seeing @ mean - known.emission_offset
        gain = jnp.linalg.solve(innovation, seeing @ spread).T
        _, log_volume = jnp.linalg.slogdet(2 * jnp.pi * innovation)
        density = -0.5 * (residual @ jnp.linalg.solve(innovation, residual) + log_volume)
        return (mean + gain @ residual, spread - gain @ innovation @ gain.T), density

    timed = system._replace(initial_mean=None, initial_covariance=None)
    start = (system.initial_mean, system.initial_covariance)
    steps = (jnp.arange(ys.shape[0]) == 0, timed, ys)
    return jnp.sum(jax.lax.scan(body, start, steps)[1])


# -- models read through their public properties ---------------------------------------------------------------


def log_likelihood_table(emission: Any, ys: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """log p(y_t | x_t = k) (T, K) over the observed entries of ys, by SciPy; `observed` has the shape of ys."""
    if hasattr(emission, "probs"):
        with np.errstate(divide="ignore"):
            table = np.log(np.asarray(emission.probs, float)).T[ys]
        return np.where(observed[:, None], table, 0.0)
    loc = np.asarray(emission.loc, float)
    if hasattr(emission, "scale"):
        terms = scipy.stats.norm.logpdf(ys[:, None], loc, np.asarray(emission.scale, float))
        terms = np.where(observed[:, None], terms, 0.0)
        return terms.reshape(*terms.shape[:2], -1).sum(-1)
    table = np.zeros((len(ys), len(loc)))
    for t, seen in enumerate(observed):
        for k, covariance in enumerate(np.asarray(emission.covariance, float)):
            if seen.any():
                known = scipy.stats.multivariate_normal(loc[k][seen], covariance[np.ix_(seen, seen)])
                table[t, k] = known.logpdf(ys[t][seen])
    return table


def laplace_table(emission: Any, ys: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """`log_likelihood_table` of Laplace distributions, whose scale is stored as its logarithm."""
    scale = np.exp(np.asarray(emission._scale.log, float))
    table = scipy.stats.laplace.logpdf(ys[:, None], np.asarray(emission.loc, float), scale)
    return np.where(observed[:, None], table, 0.0)


def system_of(model: Any, us: Any, total: int, module: Any = np) -> System:
    """The first `total` steps of an ssm.LinearGaussian, in NumPy, or in jax.numpy where it is to be differentiated."""
    at_all_times = lambda p, rank: p[:total] if p.ndim > rank else module.broadcast_to(p, (total, *p.shape))

    def offset(bias: Any, matrix: Any, size: int) -> Any:
        whole = module.zeros((total, size)) if bias is None else at_all_times(bias, 1)
        return whole if matrix is None else whole + module.einsum("tij,tj->ti", at_all_times(matrix, 2), us)

    return System(
        model.initial_mean,
        model.initial_covariance,
        at_all_times(model.transition_matrix, 2),
        offset(model.transition_bias, model.transition_input, model.num_dims),
        at_all_times(model.transition_covariance, 2),
        at_all_times(model.emission_matrix, 2),
        offset(model.emission_bias, model.emission_input, model.event_shape[0]),
        at_all_times(model.emission_covariance, 2),
        None if model.cross_covariance is None else at_all_times(model.cross_covariance, 2),
    )
