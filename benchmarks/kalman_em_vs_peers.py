"""How long does an EM iteration take on one long linear-Gaussian series?"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import ratio, same, seconds, table, versions

LENGTH, STATE, SEEN = 10_000, 4, 2
FEW, MANY = 2, 50  # iterations: of the peer, and of ours


def main() -> str:
    """T = 10⁴, D = 4, N = 2, all parameters, from the same starting point; ours in float32, pykalman in float64."""
    warnings.filterwarnings("ignore")
    start, ys = problem()
    observed = jnp.asarray(ys, jnp.float32)
    ours = lambda count: ssm.fit(ssm.LinearGaussian(*start), observed, ssm.EM(max_iters=count, tol=0), progress=False)
    same(ours(FEW).log_probs[-1], _pykalman(start, ys).loglikelihood(ys), 1e-5, "log-evidence, pykalman")
    ours(MANY)
    times, theirs = [], []
    for _ in range(3):  # what a fit costs besides its iterations drops out of the difference
        times.append((seconds(lambda: ours(MANY + FEW)) - seconds(lambda: ours(FEW))) / MANY)
        theirs.append(seconds(lambda: _pykalman(start, ys)) / FEW)
    mine, peer = float(np.median(times)), float(np.median(theirs))
    rows = [["onescan", f"{1e3 * mine:.3g} ms", ""], ["pykalman", f"{peer:.3g} s", ratio(peer, mine)]]
    title = f"An EM iteration, T = {LENGTH}, D = {STATE}, N = {SEEN} ({versions('pykalman')})"
    return table(title, ["", "time", "onescan is faster by"], rows)


def problem() -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """A starting point, and a draw from a stable random model."""
    random = np.random.default_rng(0)
    turn, emission = np.linalg.qr(random.normal(size=(STATE, STATE)))[0], random.normal(size=(SEEN, STATE))
    eye, seen, nowhere = np.eye(STATE), np.eye(SEEN), np.zeros(STATE)
    truth = ssm.LinearGaussian(nowhere, eye, 0.95 * turn, 0.1 * eye, emission, seen / 2)
    ys = ssm.simulate(truth, jax.random.key(0), LENGTH)[1]
    return (nowhere, eye, eye / 2, eye, np.eye(SEEN, STATE), seen), np.asarray(ys, float)


def _pykalman(start: tuple[np.ndarray, ...], ys: np.ndarray):
    from pykalman import KalmanFilter

    names = ["initial_state_mean", "initial_state_covariance", "transition_matrices", "transition_covariance"]
    names += ["observation_matrices", "observation_covariance"]
    return KalmanFilter(**dict(zip(names, start, strict=True)), em_vars=names).em(ys, n_iter=FEW)
