"""How long does a new user wait for the first answer, with nothing compiled before?"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks import hmm_evidence_vs_peers, kalman_evidence_vs_peers
from benchmarks.timing import cold, ratio, table, versions
from ssm import datasets

ROUNDS = 3
KEY = jax.random.key(0)


def main() -> str:
    """Medians of first calls in one process, JAX's caches emptied before each; dynamax's beside ours."""
    warnings.filterwarnings("ignore")
    return f"{beside_dynamax()}\n{of_every_verb()}"


def first(call: Callable[[], Any]) -> float:
    """Median seconds of first calls."""
    return float(np.median([cold(call) for _ in range(ROUNDS)]))


def beside_dynamax() -> str:
    """T = 10⁴; a user's own calls: without `jit` where ours compiles itself."""
    rows = []
    for name, ours, theirs in (*of_chains(), *of_kalman()):
        ours(), theirs()  # both work, and what is made once is made
        mine, peer = first(ours), first(theirs)
        rows.append([name, f"{mine:.2f} s", f"{peer:.2f} s", ratio(peer, mine)])
    title = f"First calls, T = 10000, nothing compiled before ({versions('dynamax')})"
    return table(title, ["question", "onescan", "dynamax", "ratio"], rows)


def of_chains() -> list[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """A categorical chain of five states."""
    from dynamax.hidden_markov_model.inference import hmm_filter

    initial, transition, probs, ys = hmm_evidence_vs_peers.problem(5)
    model, symbols = ssm.HMM(initial, transition, ssm.emissions.Categorical(probs)), jnp.asarray(ys)
    logits = [jnp.log(array).astype(jnp.float32) for array in (initial, transition, probs)]

    def evidence(logits: list, symbols: jax.Array) -> jax.Array:
        start, moves, emission = (jax.nn.log_softmax(array) for array in logits)
        return hmm_filter(jnp.exp(start), jnp.exp(moves), emission[:, symbols].T).marginal_loglik

    return [
        (
            "HMM evidence, K = 5",
            lambda: ssm.log_prob(model, symbols),
            lambda: jax.jit(evidence)(logits, symbols),
        ),
        (
            "HMM value and gradient, K = 5",
            lambda: jax.jit(jax.value_and_grad(ssm.log_prob))(model, symbols),
            lambda: jax.jit(jax.value_and_grad(evidence))(logits, symbols),
        ),
    ]


def of_kalman() -> list[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """A linear-Gaussian model, D = 4 and N = 2."""
    arrays, long = kalman_evidence_vs_peers.problem(4, 2)
    model, ys = ssm.LinearGaussian(*arrays), jnp.asarray(long, jnp.float32)
    parameters, evidence = kalman_evidence_vs_peers.dynamax_evidence(arrays)
    return [
        (
            "Kalman evidence, D = 4, N = 2",
            lambda: ssm.log_prob(model, ys),
            lambda: jax.jit(lambda parameters, ys: evidence(parameters, ys))(parameters, ys),
        ),
        (
            "Kalman value and gradient, D = 4, N = 2",
            lambda: jax.jit(jax.value_and_grad(lambda model, ys: ssm.log_prob(model, ys, missing=False)))(model, ys),
            lambda: jax.jit(jax.value_and_grad(lambda parameters, ys: evidence(parameters, ys)))(parameters, ys),
        ),
    ]


def of_every_verb() -> str:
    """The models of the README's tour, T = 100."""
    ys = datasets.nile()[:, None] / 1000
    models = {
        "HMM": ssm.HMM([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], ssm.emissions.Normal([[1.1], [0.8]], [[0.1], [0.1]])),
        "LinearGaussian": ssm.LinearGaussian([1.0], [[1.0]], [[1.0]], [[0.01]], [[1.0]], [[0.02]]),
        "RNN": ssm.RNN(ssm.cells.GRU(1, 8, key=KEY), ssm.heads.Normal(8, 1, key=KEY)),
    }
    rows = []
    for verb, call in verbs(ys).items():
        row = [f"`{verb}`"]
        for model in models.values():
            try:
                call(model)
            except (TypeError, NotImplementedError):  # this model has no such answer, and says so
                row.append("")
                continue
            row.append(f"{first(lambda model=model: call(model)):.2f} s")
        rows.append(row)
    return table("First calls of every verb, T = 100", ["verb", *models], rows)


def verbs(ys: np.ndarray) -> dict[str, Callable[[Any], Any]]:
    """What a user may call, of one model each."""
    fitted = lambda method, **options: lambda model: ssm.fit(model, ys, method, progress=False, **options).model
    return {
        "log_prob": lambda model: ssm.log_prob(model, ys),
        "filter": lambda model: ssm.filter(model, ys),
        "forecast": lambda model: ssm.forecast(model, ys, 10, key=KEY).interval(0.9),
        "forecast(...).log_prob": lambda model: ssm.forecast(model, ys[:80], 20, key=KEY).log_prob(ys[80:]),
        "smooth": lambda model: ssm.smooth(model, ys),
        "posterior_sample": lambda model: ssm.posterior_sample(model, KEY, ys, 3),
        "decode": lambda model: ssm.decode(model, ys),
        "decode_best": lambda model: ssm.decode_best(model, ys, 3),
        "smooth_pairs": lambda model: ssm.smooth_pairs(model, ys, np.arange(3)),
        "fixed_lag_smooth": lambda model: ssm.fixed_lag_smooth(model, ys, 3),
        "expected_statistics": lambda model: ssm.expected_statistics(model, ys),
        "residuals": lambda model: ssm.residuals(model, ys),
        "innovations": lambda model: ssm.innovations(model, ys),
        "auxiliary_residuals": lambda model: ssm.auxiliary_residuals(model, ys),
        "simulate": lambda model: ssm.simulate(model, KEY, 100),
        "simulated_check": lambda model: ssm.simulated_check(model, ys, lambda ys, seen: jnp.std(ys), 20, KEY),
        "fit(..., EM())": fitted(ssm.EM(max_iters=20)),
        "fit(..., SGD())": fitted(ssm.SGD(num_epochs=20)),
        "fit(..., LBFGS())": fitted(ssm.LBFGS(max_iters=20)),
        "fit(..., StochasticEM())": fitted(ssm.StochasticEM(num_epochs=5, batch_size=1), key=KEY),
    }
