"""Is the evidence of one long sequence as fast as compiled C++?"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import cold, in_turn, microseconds, ratio, same, table, versions

LENGTH, SYMBOLS = 10_000, 30


def main() -> str:
    """Evidence of T = 10⁴ symbols; hmmlearn is handed its likelihoods, dynamax its log-likelihoods."""
    from dynamax.hidden_markov_model.inference import hmm_filter
    from hmmlearn import _hmmc

    warnings.filterwarnings("ignore")
    rows = []
    for size in (2, 5, 20, 64):
        initial, transition, probs, ys = problem(size)
        model = ssm.HMM(initial, transition, ssm.emissions.Categorical(probs))
        ours = jax.jit(ssm.log_prob)
        likelihoods = np.ascontiguousarray(probs[:, ys].T)
        log_likelihoods = jnp.log(likelihoods).astype(jnp.float32)
        start, moves = jnp.asarray(initial, jnp.float32), jnp.asarray(transition, jnp.float32)
        dynamax = jax.jit(lambda p, a, ll: hmm_filter(p, a, ll).marginal_loglik)
        symbols = jnp.asarray(ys)
        run = lambda: ours(model, symbols)
        peer = lambda: dynamax(start, moves, log_likelihoods)
        hmmlearn = lambda: _hmmc.forward_scaling(initial, transition, likelihoods)
        same(run(), hmmlearn()[0], 1e-5, "evidence, hmmlearn")  # float32 against float64 over 10⁴ steps
        same(run(), peer(), 1e-5, "evidence, dynamax")
        first, first_peer = cold(run), cold(peer)
        warm, c_code = in_turn(run, hmmlearn)
        again, warm_peer = in_turn(run, peer)
        rows.append(
            [
                str(size),
                microseconds(warm),
                microseconds(c_code),
                ratio(c_code, warm),
                microseconds(warm_peer),
                ratio(warm_peer, again),
                f"{first:.2f} s",
                f"{first_peer:.2f} s",
            ]
        )
    header = ["K", "onescan", "hmmlearn (C++)", "ratio", "dynamax", "ratio", "onescan, cold", "dynamax, cold"]
    return table(f"HMM evidence, T = {LENGTH}, one sequence ({versions('hmmlearn', 'dynamax')})", header, rows)


def problem(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random probabilities and symbols drawn uniformly."""
    random = np.random.default_rng(seed)
    initial, transition = random.dirichlet(np.ones(size)), random.dirichlet(np.ones(size), size)
    return initial, transition, random.dirichlet(np.ones(SYMBOLS), size), random.integers(0, SYMBOLS, LENGTH)
