"""What does the gradient of a linear-Gaussian evidence cost, of one long series and of many short ones?"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.kalman_evidence_vs_peers import SIZES, dynamax_evidence, problem
from benchmarks.timing import cold, in_turn, microseconds, ratio, same, table, versions


def main() -> str:
    """Value and gradient in all parameters, one series of 10⁴ and 100 of 10³, float32."""
    warnings.filterwarnings("ignore")
    return "\n".join(_table(*batch) for batch in (("one series of 10000", 1), ("100 series of 1000", 100)))


def _table(name: str, count: int) -> str:
    rows = []
    for state, seen in SIZES:
        arrays, long = problem(state, seen)
        ys = jnp.asarray(long, jnp.float32)
        model, (parameters, evidence) = ssm.LinearGaussian(*arrays), dynamax_evidence(arrays)
        if count > 1:
            ys = jnp.tile(ys.reshape(10, -1, seen), (count // 10, 1, 1))
            one = evidence
            evidence = lambda parameters, ys, one=one: jnp.sum(jax.vmap(one, (None, 0))(parameters, ys))
        ours = jax.jit(jax.value_and_grad(lambda model, ys: jnp.sum(ssm.log_prob(model, ys, missing=False))))
        theirs = jax.jit(jax.value_and_grad(evidence))
        run, peer = lambda: ours(model, ys), lambda: theirs(parameters, ys)
        same(run()[0], peer()[0], 1e-4, "evidence")
        slopes = run()[1].transition_matrix, peer()[1].dynamics.weights
        # Entries are sums of many float32 terms that nearly cancel: agreement relative to the largest.
        np.testing.assert_allclose(*slopes, atol=0.02 * float(jnp.max(jnp.abs(slopes[1]))))
        first, first_peer = cold(run), cold(peer)
        warm, warm_peer = in_turn(run, peer, 7)
        times = microseconds(warm), microseconds(warm_peer), ratio(warm_peer, warm)
        rows.append([f"{state}, {seen}", *times, f"{first:.1f} s", f"{first_peer:.1f} s"])
    header = ["D, N", "onescan", "dynamax", "ratio", "onescan, cold", "dynamax, cold"]
    return table(f"Kalman value and gradient, {name} ({versions('dynamax')})", header, rows)
