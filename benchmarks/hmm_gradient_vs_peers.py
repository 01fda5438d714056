"""What does the Fisher-identity gradient gain over differentiating through a scan?"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.hmm_evidence_vs_peers import LENGTH, problem
from benchmarks.timing import cold, in_turn, microseconds, ratio, same, table, versions


def main() -> str:
    """Value and gradient with respect to all logits, T = 10⁴, one sequence."""
    from dynamax.hidden_markov_model.inference import hmm_filter

    warnings.filterwarnings("ignore")
    rows = []
    for size in (5, 20, 64):
        initial, transition, probs, ys = problem(size)
        model = ssm.HMM(initial, transition, ssm.emissions.Categorical(probs))
        logits = [jnp.log(array).astype(jnp.float32) for array in (initial, transition, probs)]
        symbols = jnp.asarray(ys)

        def peer_evidence(logits, symbols):
            start, moves, emission = logits
            table = jax.nn.log_softmax(emission, axis=1)[:, symbols].T
            return hmm_filter(jax.nn.softmax(start), jax.nn.softmax(moves, axis=1), table).marginal_loglik

        ours, theirs = jax.jit(jax.value_and_grad(ssm.log_prob)), jax.jit(jax.value_and_grad(peer_evidence))
        run, peer = lambda: ours(model, symbols), lambda: theirs(logits, symbols)
        same(run()[0], peer()[0], 1e-5, "evidence")
        # Entries of the transition gradient are sums of 10⁴ float32 terms that nearly cancel: absolute agreement.
        np.testing.assert_allclose(run()[1]._transition._probs.logits, peer()[1][1], atol=0.02)
        first, first_peer = cold(run), cold(peer)
        warm, warm_peer = in_turn(run, peer, 15)
        memory, memory_peer = peak(ours, model, symbols), peak(theirs, logits, symbols)
        rows.append(
            [
                str(size),
                microseconds(warm),
                microseconds(warm_peer),
                ratio(warm_peer, warm),
                f"{memory:.1f} MB",
                f"{memory_peer:.1f} MB",
                f"{first:.2f} s",
                f"{first_peer:.2f} s",
            ]
        )
    header = ["K", "onescan", "dynamax", "ratio", "memory", "dynamax, memory", "onescan, cold", "dynamax, cold"]
    return table(f"HMM value and gradient, T = {LENGTH} ({versions('dynamax')})", header, rows)


def peak(function, *arguments) -> float:
    """Temporary memory of a compiled function, in MB."""
    return function.lower(*arguments).compile().memory_analysis().temp_size_in_bytes / 1e6
