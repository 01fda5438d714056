"""How long does an EM iteration take on one long linear-Gaussian series?"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import microseconds, ratio, same, seconds, table, versions, warm_up

LENGTH, STATE, SEEN = 10_000, 4, 2
FEW, SOME, MANY = 2, 4, 50  # iterations: of the peers, and of ours


def main() -> str:
    """T = 10⁴, D = 4, N = 2, all parameters, from one starting point; pykalman in float64, the others in float32."""
    warnings.filterwarnings("ignore")
    start, ys = problem()
    observed = jnp.asarray(ys, jnp.float32)
    ours = lambda count: ssm.fit(ssm.LinearGaussian(*start), observed, ssm.EM(max_iters=count, tol=0), progress=False)
    jitted = {count: _dynamax(start, observed, count) for count in (FEW, SOME + FEW)}
    same(ours(FEW).log_probs[-1], _pykalman(start, ys).loglikelihood(ys), 1e-5, "log-evidence, pykalman")
    # Its weak priors cannot be switched off: a fraction of a nat in ten thousand.
    same(ours(FEW).log_probs[-1], jitted[FEW]()[1], 1e-3, "log-evidence, dynamax")
    for run in (lambda: ours(MANY + FEW), lambda: ours(FEW), *jitted.values()):
        warm_up(run)
    times = {"onescan": [], "dynamax, one jit": [], "pykalman": []}
    for _ in range(3):  # what a fit costs besides its iterations drops out of the difference
        times["onescan"].append((seconds(lambda: ours(MANY + FEW)) - seconds(lambda: ours(FEW))) / MANY)
        times["dynamax, one jit"].append((seconds(jitted[SOME + FEW]) - seconds(jitted[FEW])) / SOME)
        times["pykalman"].append(seconds(lambda: _pykalman(start, ys)) / FEW)
    medians = {name: float(np.median(each)) for name, each in times.items()}
    mine = medians["onescan"]
    rows = [[name, microseconds(each), "" if each == mine else ratio(each, mine)] for name, each in medians.items()]
    title = f"An EM iteration, T = {LENGTH}, D = {STATE}, N = {SEEN} ({versions('dynamax', 'pykalman')})"
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


def _dynamax(start: tuple[np.ndarray, ...], ys: jax.Array, count: int):
    """A call of its `fit_em` inside one `jax.jit`: what it fitted, and the log-evidence of that."""
    from dynamax.linear_gaussian_ssm import LinearGaussianConjugateSSM

    names = ["initial_mean", "initial_covariance", "dynamics_weights", "dynamics_covariance"]
    names += ["emission_weights", "emission_covariance"]
    given = {name: jnp.asarray(array, jnp.float32) for name, array in zip(names, start, strict=True)}
    peer = LinearGaussianConjugateSSM(STATE, SEEN, has_dynamics_bias=False, has_emissions_bias=False)
    parameters, properties = peer.initialize(jax.random.key(0), **given)

    @jax.jit
    def fit(parameters, ys):
        fitted, _ = peer.fit_em(parameters, properties, ys, num_iters=count, verbose=False)
        return fitted, peer.marginal_log_prob(fitted, ys)

    return lambda: fit(parameters, ys)
