"""How fast is the evidence of one long time-invariant linear-Gaussian series?"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import in_turn, microseconds, ratio, same, table, versions

LENGTH = 10_000
SIZES = ((2, 1), (4, 2), (10, 5), (20, 10))


def main() -> str:
    """T = 10⁴ at several sizes; all in float32 but statsmodels, which is float64 Cython. Nobody looks for NaN."""
    warnings.filterwarnings("ignore")
    rows = []
    for state, seen in SIZES:
        arrays, ys = problem(state, seen)
        model, observed = ssm.LinearGaussian(*arrays), jnp.asarray(ys, jnp.float32)
        ours = jax.jit(lambda model, ys: ssm.log_prob(model, ys, missing=False))
        run = lambda: ours(model, observed)
        peers = {
            "statsmodels": statsmodels(arrays, ys),
            "dynamax": dynamax(arrays, observed),
            "cuthbert": _cuthbert(arrays, observed),
        }
        exact = float(peers["statsmodels"]())
        row = [f"{state}, {seen}"]
        for name, peer in peers.items():
            same(peer(), exact, 1e-3, f"evidence, {name}")  # cuthbert's float32 is off by 1.1e-4 of it, ours by 1e-6
            warm, warm_peer = in_turn(run, peer, 7)
            row += [*([microseconds(warm)] if len(row) == 1 else []), microseconds(warm_peer), ratio(warm_peer, warm)]
        same(run(), exact, 1e-5, "evidence, onescan")
        rows.append(row)
    header = ["D, N", "onescan", "statsmodels (Cython)", "ratio", "dynamax", "ratio", "cuthbert", "ratio"]
    return table(f"Kalman evidence, T = {LENGTH} ({versions('statsmodels', 'dynamax', 'cuthbert')})", header, rows)


def problem(state: int, seen: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """A stable random model whose noises are correlated, and a draw from it."""
    random = np.random.default_rng(state)
    turn = np.linalg.qr(random.normal(size=(state, state)))[0]
    emission = random.normal(size=(seen, state))
    noise, blur = 0.1 * covariance(random, state), covariance(random, seen)
    arrays = np.zeros(state), np.eye(state), 0.95 * turn, noise, emission, blur
    ys = ssm.simulate(ssm.LinearGaussian(*arrays), jax.random.key(0), LENGTH)[1]
    return arrays, np.asarray(ys, float)


def covariance(random: np.random.Generator, size: int) -> np.ndarray:
    """A full matrix with eigenvalues between a half and two."""
    turn = np.linalg.qr(random.normal(size=(size, size)))[0]
    return turn * np.geomspace(0.5, 2, size) @ turn.T


def statsmodels(arrays: tuple[np.ndarray, ...], ys: np.ndarray):
    """A call that gives the evidence of observations (T, N), NaN where missing; H may vary in time."""
    from statsmodels.tsa.statespace.kalman_filter import MEMORY_CONSERVE, KalmanFilter

    mean, covariance, transition, noise, emission, blur = arrays
    peer = KalmanFilter(k_endog=ys.shape[1], k_states=len(mean), transition=transition, state_cov=noise, obs_cov=blur)
    peer["selection"] = np.eye(len(mean))
    peer.bind(ys.copy())
    peer["design"] = emission if emission.ndim == 2 else np.asfortranarray(np.moveaxis(emission, 0, -1))
    peer.initialize_known(mean, covariance)
    peer.set_conserve_memory(MEMORY_CONSERVE)
    return peer.loglike


def dynamax(arrays: tuple[np.ndarray, ...], ys: jax.Array):
    """A call that gives the evidence of observations (T, N); H may vary in time."""
    parameters, evidence = dynamax_evidence(arrays)
    filtered = jax.jit(evidence)
    return lambda: filtered(parameters, ys)


def dynamax_evidence(arrays: tuple[np.ndarray, ...]):
    """Parameters, and the function of them and of observations (T, N)."""
    from dynamax.linear_gaussian_ssm import LinearGaussianSSM, lgssm_filter

    mean, covariance, transition, noise, emission, blur = (jnp.asarray(array, jnp.float32) for array in arrays)
    peer = LinearGaussianSSM(len(mean), len(blur))
    parameters, _ = peer.initialize(
        jax.random.key(0),
        initial_mean=mean,
        initial_covariance=covariance,
        dynamics_weights=transition,
        dynamics_covariance=noise,
        emission_weights=emission,
        emission_covariance=blur,
    )
    return parameters, lambda parameters, ys: lgssm_filter(parameters, ys).marginal_loglik


def _cuthbert(arrays: tuple[np.ndarray, ...], ys: jax.Array):
    from cuthbert.filtering import filter as run_filter
    from cuthbert.gaussian import kalman

    mean, covariance, transition, noise, emission, blur = (jnp.asarray(array, jnp.float32) for array in arrays)
    root, still = jnp.linalg.cholesky(noise), jnp.eye(len(mean))
    nothing, zero = jnp.zeros(len(mean)), jnp.zeros(len(emission))

    # Its initial state is not observed: the first step stands still, so that y_1 sees the initial distribution.
    def dynamics(t):
        first = t == 0
        return jnp.where(first, still, transition), nothing, jnp.where(first, 0 * root, root)

    def evidence(ys):
        observation = lambda t: (emission, zero, jnp.linalg.cholesky(blur), ys[t])
        peer = kalman.build_filter(mean, jnp.linalg.cholesky(covariance), dynamics, observation)
        return run_filter(peer, jnp.arange(len(ys)), peer.init_prepare()).log_normalizing_constant[-1]

    compiled = jax.jit(evidence)
    return lambda: compiled(ys)
