"""Do chains of two thousand states train on one machine?"""

import resource
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import table

LENGTH, SIZE, SYMBOLS, SUCCESSORS, CLASSES = 100_000, 2_000, 100, 10, 20
QUICK = 2_000  # T
ITERATIONS = 3
METHODS = {"EM": lambda count: ssm.EM(count, tol=0.0), "SGD": lambda count: ssm.SGD(num_epochs=count)}


def main(quick: bool = False) -> str:
    """K = 2000, T = 10⁵, one sequence of symbols: EM iterations and gradient steps, each in a process of its own."""
    rows, length = [], QUICK if quick else LENGTH
    for kind in ("sparse", "low rank"):
        for method in METHODS:
            command = [sys.executable, "-m", "benchmarks.large_hmm", kind, method, str(length)]
            print(f"large_hmm: {kind}, {method}, a process of its own", file=sys.stderr, flush=True)
            answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            rows.append([kind, method, *answer.strip().split("\t")])
    title = (
        f"K = {SIZE}, T = {length}, {SYMBOLS} symbols, float32: {SUCCESSORS} successors a state, or {CLASSES} classes"
    )
    header = ["transition", "method", "an iteration", "compiling", "peak of the process", "log-evidence"]
    return table(title, header, rows)


def measure(kind: str, method: str, length: int) -> str:
    """One row, its entries separated by tabs."""
    truth, start = model(kind, 0), model(kind, 1)
    _, ys = ssm.simulate(truth, jax.random.key(0), length)
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    before = peak()
    fit = ssm.fit(start, ys, METHODS[method](ITERATIONS))
    if not np.all(np.diff([fit.start_log_prob, *fit.log_probs]) > 0):
        raise AssertionError(f"{kind}, {method}: the evidence does not rise: {fit.start_log_prob}, {fit.log_probs}")
    rise = " → ".join(f"{value:.0f}" for value in (fit.start_log_prob, *fit.log_probs))
    return (
        f"{fit.seconds / ITERATIONS:.1f} s\t{fit.compile_seconds:.1f} s\t{peak():.1f} GiB ({before:.1f} before)\t{rise}"
    )


def model(kind: str, seed: int) -> ssm.HMM:
    """Random probabilities; the structure is the same for every seed."""
    structure, random = np.random.default_rng(0), np.random.default_rng(seed + 1)

    def rows(*shape: int) -> np.ndarray:
        """Most of a row on a few entries, and something everywhere."""
        few = random.dirichlet(np.full(shape[-1], 0.05), shape[:-1])
        return (0.8 * few + 0.2 / shape[-1]).astype(np.float32)

    if kind == "sparse":
        successors = np.stack([structure.choice(SIZE, SUCCESSORS, replace=False) for _ in range(SIZE)])
        transition = ssm.transitions.Sparse(successors, rows(SIZE, SUCCESSORS))
    else:
        transition = ssm.transitions.LowRank(rows(SIZE, CLASSES), rows(CLASSES, SIZE))
    return ssm.HMM(jnp.full(SIZE, 1 / SIZE), transition, ssm.emissions.Categorical(rows(SIZE, SYMBOLS)))


if __name__ == "__main__":
    print(measure(sys.argv[1], sys.argv[2], int(sys.argv[3])))
