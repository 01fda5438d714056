"""The same questions to every library: calls that take symbols and give evidence, posteriors, gradient, EM, path."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ssm

VERBS = ("evidence", "smooth", "gradient", "EM", "Viterbi")


class Problem(NamedTuple):
    """A categorical HMM and B sequences of T symbols, of which the first `lengths` of each are real."""

    initial: np.ndarray  # (K,), float64, rows that sum to one in float64
    transition: np.ndarray  # (K, K)
    probs: np.ndarray  # (K, C)
    symbols: np.ndarray  # (B, T)
    lengths: np.ndarray | None  # (B,), or None: all T

    @property
    def real(self) -> np.ndarray:
        """(B, T)."""
        count, length = self.symbols.shape
        ends = np.full(count, length) if self.lengths is None else self.lengths
        return np.arange(length) < ends[:, None]

    @property
    def work(self) -> int:
        """Multiplications of one forward pass."""
        return self.symbols.size * len(self.initial) ** 2

    def of_real(self, array: Any) -> np.ndarray:
        """(B, T, K), or (T, K) for one sequence, to (M, K): its real steps one after the other."""
        return np.asarray(array).reshape(*self.symbols.shape, -1)[self.real]

    def score(self, path: np.ndarray) -> float:
        """log p(path, symbols) of a path, (M,) or (M, 1), in float64."""
        states, symbols = np.split(path.reshape(-1), self._ends), np.split(self.symbols[self.real], self._ends)
        with np.errstate(divide="ignore"):
            initial, transition, probs = (np.log(array) for array in (self.initial, self.transition, self.probs))
        each = (initial[x[0]] + transition[x[:-1], x[1:]].sum() for x in states)
        return sum(each) + sum(probs[x, y].sum() for x, y in zip(states, symbols, strict=True))

    @property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.real.sum(axis=1))[:-1]


class Call(NamedTuple):
    """What is timed, and how its result is compared."""

    run: Callable[[], Any]
    read: Callable[[Any], np.ndarray]


def draw(size: int, length: int, count: int, ragged: bool, symbols: int = 30) -> Problem:
    """A chain that stays nine times in ten, and sequences that it emits."""
    random = np.random.default_rng(size)
    transition = 0.9 * np.eye(size) + 0.1 * random.dirichlet(np.ones(size), size)
    initial, probs = random.dirichlet(np.ones(size)), random.dirichlet(np.ones(symbols), size)
    model = ssm.HMM(initial, transition, ssm.emissions.Categorical(probs))
    keys = jax.random.split(jax.random.key(0), count)
    ys = jax.jit(jax.vmap(lambda key: ssm.simulate(model, key, length)[1]))(keys)
    lengths = random.integers(length // 10, length + 1, count) if ragged else None
    return Problem(initial, transition / transition.sum(axis=1, keepdims=True), probs, np.asarray(ys), lengths)


def onescan(problem: Problem) -> dict[str, Call]:
    """Public verbs under jit; for EM the compiled iteration that `ssm.fit` repeats."""
    from ssm.data import observe
    from ssm.fitting.em_steps import iterate, start
    from ssm.parameters import constrain

    model = ssm.HMM(problem.initial, problem.transition, ssm.emissions.Categorical(problem.probs))
    ys = jnp.asarray(problem.symbols[0] if len(problem.symbols) == 1 else problem.symbols)
    lengths = None if problem.lengths is None else jnp.asarray(problem.lengths)
    summed = lambda model, ys, lengths: jnp.sum(ssm.log_prob(model, ys, lengths=lengths))

    def call(verb: Callable, read: Callable[[Any], Any]) -> Call:
        compiled = jax.jit(verb)
        return Call(lambda: compiled(model, ys, lengths), lambda result: np.asarray(read(result)))

    sequences = observe(model, ys, lengths=lengths)
    state, once, tolerance = start([model]), jnp.asarray(1), jnp.asarray(0.0)
    new = lambda result: constrain(jax.tree.map(lambda leaf: leaf[0], result[0].models)).transition
    smooth = lambda model, ys, lengths: ssm.smooth(model, ys, lengths=lengths).smoothed.probs
    decode = lambda model, ys, lengths: ssm.decode(model, ys, lengths=lengths)[0]
    return {
        "evidence": call(summed, lambda value: value),
        "smooth": call(smooth, problem.of_real),
        "gradient": call(jax.value_and_grad(summed), lambda both: both[1]._transition._probs.logits),
        "EM": Call(lambda: iterate(state, sequences, None, once, tolerance, ()), lambda r: np.asarray(new(r))),
        "Viterbi": call(decode, lambda path: problem.score(problem.of_real(path))),
    }


def dynamax(problem: Problem) -> dict[str, Call]:
    """Its inference functions under jit and vmap; padding as rows of zeros, where that gives the right answer."""
    from dynamax.hidden_markov_model import CategoricalHMM
    from dynamax.hidden_markov_model.inference import hmm_filter, hmm_posterior_mode, hmm_smoother

    start, moves, probs = (jnp.asarray(array, jnp.float32) for array in problem[:3])
    ys, real = jnp.asarray(problem.symbols), jnp.asarray(problem.real)
    ragged = problem.lengths is not None

    def each(function: Callable) -> Callable:
        def one(start, moves, logs, ys, real):
            table = logs[:, ys].T
            return function(start, moves, jnp.where(real[:, None], table, 0) if ragged else table)

        compiled = jax.jit(jax.vmap(one, (None, None, None, 0, 0)))
        return lambda start, moves, logs, ys=ys, real=real: compiled(start, moves, logs, ys, real)

    evidence = each(lambda p, a, table: hmm_filter(p, a, table).marginal_loglik)
    smooth = each(lambda p, a, table: hmm_smoother(p, a, table).smoothed_probs)
    logits = [jnp.log(array) for array in (start, moves, probs)]
    normal = lambda start, moves, probs: (
        jax.nn.softmax(start),
        jax.nn.softmax(moves, axis=1),
        jax.nn.log_softmax(probs, axis=1),
    )
    both = jax.jit(jax.value_and_grad(lambda logits, ys, real: jnp.sum(evidence(*normal(*logits), ys, real))))
    calls = {
        "evidence": Call(lambda: evidence(start, moves, jnp.log(probs)), np.sum),
        "smooth": Call(lambda: smooth(start, moves, jnp.log(probs)), problem.of_real),
        "gradient": Call(lambda: both(logits, ys, real), lambda r: np.asarray(r[1][1])),
    }
    if ragged:  # zeros let paths and counts run on into the padding
        return calls
    best = each(hmm_posterior_mode)
    peer = CategoricalHMM(
        len(start),
        1,
        probs.shape[1],
        initial_probs_concentration=1.0,
        transition_matrix_concentration=1.0,
        emission_prior_concentration=1.0,
    )
    parameters, properties = peer.initialize(
        jax.random.key(0), initial_probs=start, transition_matrix=moves, emission_probs=probs[:, None]
    )
    memory = peer.initialize_m_step_state(parameters, properties)

    @jax.jit
    def improve(parameters, ys):
        statistics = jax.vmap(lambda ys: peer.e_step(parameters, ys[:, None])[0])(ys)
        return peer.m_step(parameters, properties, statistics, memory)[0]

    return calls | {
        "EM": Call(lambda: improve(parameters, ys), lambda r: np.asarray(r.transitions.transition_matrix)),
        "Viterbi": Call(
            lambda: best(start, moves, jnp.log(probs)), lambda r: np.asarray(problem.score(problem.of_real(r)))
        ),
    }


def hmmlearn(problem: Problem, implementation: str) -> dict[str, Call]:
    """CategoricalHMM in float64, its forward-backward in C++."""
    from hmmlearn.hmm import CategoricalHMM

    logging.getLogger("hmmlearn").setLevel(logging.ERROR)  # it warns of few data where only speed is asked
    peer = CategoricalHMM(len(problem.initial), n_iter=1, tol=-np.inf, init_params="", implementation=implementation)
    peer.n_features = problem.probs.shape[1]
    data, lengths = problem.symbols[problem.real][:, None], problem.real.sum(axis=1)

    def begin() -> CategoricalHMM:
        peer.startprob_, peer.transmat_, peer.emissionprob_ = problem.initial, problem.transition, problem.probs
        return peer

    return {
        "evidence": Call(lambda: begin().score(data, lengths), np.asarray),
        "smooth": Call(lambda: begin().predict_proba(data, lengths), np.asarray),
        "EM": Call(lambda: begin().fit(data, lengths).transmat_, np.asarray),
        "Viterbi": Call(
            lambda: begin().decode(data, lengths, "viterbi")[1], lambda r: np.asarray(problem.score(np.asarray(r)))
        ),
    }


def cuthbert(problem: Problem) -> dict[str, Call]:
    """Its discrete filter and smoother, walked in order: beliefs are K × K maps."""
    from cuthbert.discrete import build_filter, build_smoother
    from cuthbert.filtering import filter as run_filter
    from cuthbert.smoothing import smoother as run_smoother

    start, moves, probs = (jnp.asarray(array, jnp.float32) for array in problem[:3])
    ys, real = jnp.asarray(problem.symbols), jnp.asarray(problem.real)
    still = jnp.eye(len(start), dtype=start.dtype)
    # Its initial state is not observed: the first step stands still, so that y_1 sees the initial distribution.
    moving = lambda inputs: jnp.where(inputs[1], still, moves)

    def filtered(table):
        inputs = (table, jnp.arange(len(table)) == 0)
        peer = build_filter(start, moving, lambda inputs: inputs[0])
        return run_filter(peer, inputs, peer.init_prepare())

    def each(function):
        def one(ys, real):
            return function(jnp.where(real[:, None], jnp.log(probs)[:, ys].T, 0))

        compiled = jax.jit(jax.vmap(one))
        return lambda: compiled(ys, real)

    evidence = each(lambda table: filtered(table).log_normalizing_constant[-1])
    smooth = each(lambda table: run_smoother(build_smoother(moving), filtered(table)).dist[1:])
    return {"evidence": Call(evidence, np.sum), "smooth": Call(smooth, problem.of_real)}
