"""How long do ten EM iterations take, the second time they are asked for?"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import finished, ratio, same, seconds, table, versions

LENGTH, SIZE, COMPONENTS, ITERATIONS = 10_000, 5, 3, 10


def main() -> str:
    """Gaussian HMM with diagonal covariances, T = 10⁴, K = 5, N = 3, from the same starting point."""
    warnings.filterwarnings("ignore")
    model, ys = problem()
    runs = {
        "onescan": lambda: _ours(model, ys),
        "hmmlearn": lambda: _hmmlearn(model, ys),
        "dynamax": lambda: _dynamax(model, ys),
    }
    evidence = {name: float(run()) for name, run in runs.items()}
    # hmmlearn and dynamax add a weak prior to the variances, so their optima differ in the fifth digit.
    for name, reached in evidence.items():
        same(reached, evidence["onescan"], 1e-3, f"log-evidence after {ITERATIONS} iterations, {name}")
    times = {name: [] for name in runs}
    for _ in range(5):
        for name, run in runs.items():
            times[name].append(seconds(run))
    medians = {name: float(np.median(each)) for name, each in times.items()}
    rows = [
        [
            name,
            f"{1e3 * medians[name]:.3g} ms",
            "" if name == "onescan" else ratio(medians[name], medians["onescan"]),
            f"{evidence[name]:.1f}",
        ]
        for name in runs
    ]
    sizes = f"T = {LENGTH}, K = {SIZE}, N = {COMPONENTS}"
    title = f"{ITERATIONS} EM iterations, {sizes}, a call after the first ({versions('hmmlearn', 'dynamax')})"
    return table(title, ["", "time", "onescan is faster by", "log-evidence reached"], rows)


def problem() -> tuple[ssm.HMM, jax.Array]:
    """Overlapping states and a start at data points."""
    key = jax.random.key(0)
    loc = 1.5 * jax.random.normal(key, (SIZE, COMPONENTS))
    transition = 0.9 * jnp.eye(SIZE) + 0.1 / SIZE
    uniform = jnp.full(SIZE, 1 / SIZE)
    truth = ssm.HMM(uniform, transition, ssm.emissions.Normal(loc, jnp.ones((SIZE, COMPONENTS))))
    _, ys = ssm.simulate(truth, key, LENGTH)
    start = ssm.HMM(
        uniform, jnp.full((SIZE, SIZE), 1 / SIZE), ssm.emissions.Normal.from_data(jax.random.key(1), SIZE, ys)
    )
    return start, finished(lambda: ys)


def _ours(model: ssm.HMM, ys: jax.Array) -> float:
    return ssm.fit(model, ys, ssm.EM(max_iters=ITERATIONS, tol=0.0), progress=False).log_probs[-1]


def _hmmlearn(model: ssm.HMM, ys: jax.Array) -> float:
    from hmmlearn.hmm import GaussianHMM

    # min_covar and the weights of the variance prior at zero: maximum likelihood, as in the other two.
    peer = GaussianHMM(
        SIZE, "diag", n_iter=ITERATIONS, tol=-np.inf, init_params="", min_covar=0, covars_prior=0, covars_weight=0
    )
    peer.startprob_, peer.transmat_ = np.asarray(model.initial, float), np.asarray(model.transition, float)
    peer.startprob_ /= peer.startprob_.sum()
    peer.transmat_ /= peer.transmat_.sum(axis=1, keepdims=True)
    peer.means_, peer.covars_ = np.asarray(model.emission.loc, float), np.asarray(model.emission.scale, float) ** 2
    data = np.asarray(ys, float)
    peer.fit(data)
    return peer.score(data)


def _dynamax(model: ssm.HMM, ys: jax.Array) -> float:
    from dynamax.hidden_markov_model import DiagonalGaussianHMM

    peer = DiagonalGaussianHMM(
        SIZE,
        COMPONENTS,
        emission_prior_mean_concentration=1e-6,
        emission_prior_concentration=1e-6,
        emission_prior_scale=1e-6,
    )
    parameters, properties = peer.initialize(
        jax.random.key(0),
        initial_probs=model.initial,
        transition_matrix=model.transition,
        emission_means=model.emission.loc,
        emission_scale_diags=model.emission.scale,
    )
    fitted, _ = peer.fit_em(parameters, properties, ys, num_iters=ITERATIONS, verbose=False)
    return peer.marginal_log_prob(fitted, ys)
