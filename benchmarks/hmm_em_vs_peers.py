"""How long do ten EM iterations take, the second time they are asked for?"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import finished, microseconds, ratio, same, seconds, table, versions, warm_up

LENGTH, SIZE, COMPONENTS, ITERATIONS, REPEATS = 10_000, 5, 3, 10, 9
FAMILIES = {"diagonal": ssm.emissions.Normal, "full": ssm.emissions.MultivariateNormal}


class Peer(NamedTuple):
    """A call that is timed, and the log-evidence of what it returns."""

    fit: Callable[[], Any]
    evidence: Callable[[Any], float]


def main() -> str:
    """Gaussian HMMs, T = 10⁴, K = 5, N = 3: both kinds of covariances, states that overlap and none at all."""
    warnings.filterwarnings("ignore")
    rows = [row(covariances, data) for covariances in FAMILIES for data in ("five states", "noise")]
    sizes = f"T = {LENGTH}, K = {SIZE}, N = {COMPONENTS}"
    title = f"{ITERATIONS} EM iterations, {sizes}, each compiled once ({versions('hmmlearn', 'dynamax')})"
    return table(title, ["covariances", "data", "onescan", "hmmlearn", "ratio", "dynamax, one jit", "ratio"], rows)


def row(covariances: str, data: str) -> list[str]:
    """Median times of the three libraries from one start, once their answers agree."""
    model, ys = problem(covariances, data)
    makers = {"onescan": onescan, "hmmlearn": hmmlearn, "dynamax": dynamax}
    peers = {name: make(covariances, model, ys) for name, make in makers.items()}
    reached = {name: peer.evidence(peer.fit()) for name, peer in peers.items()}
    for name, evidence in reached.items():
        # dynamax adds a weak prior to the variances, so its optimum differs in the fifth digit.
        same(evidence, reached["onescan"], 1e-3, f"log-evidence after {ITERATIONS} iterations, {name}")
    times = {name: [] for name in peers}
    for peer in peers.values():
        warm_up(peer.fit)
    for _ in range(REPEATS):
        for name, peer in peers.items():
            times[name].append(seconds(peer.fit))
    ours, *others = (float(np.median(each)) for each in times.values())
    compared = [cell for each in others for cell in (microseconds(each), ratio(each, ours))]
    return [covariances, data, microseconds(ours), *compared]


def problem(covariances: str, data: str) -> tuple[ssm.HMM, jax.Array]:
    """Data, and a start at data points. "noise": normal numbers that have no states, where nothing is told apart."""
    key = jax.random.key(0)
    uniform = jnp.full(SIZE, 1 / SIZE)
    if data == "noise":
        ys = jax.random.normal(key, (LENGTH, COMPONENTS))
    else:
        loc = 1.5 * jax.random.normal(key, (SIZE, COMPONENTS))
        transition = 0.9 * jnp.eye(SIZE) + 0.1 / SIZE
        truth = ssm.HMM(uniform, transition, ssm.emissions.Normal(loc, jnp.ones((SIZE, COMPONENTS))))
        _, ys = ssm.simulate(truth, key, LENGTH)
    emission = FAMILIES[covariances].from_data(jax.random.key(1), SIZE, ys)
    start = ssm.HMM(uniform, jnp.full((SIZE, SIZE), 1 / SIZE), emission)
    return start, finished(lambda: ys)


def onescan(covariances: str, model: ssm.HMM, ys: jax.Array) -> Peer:
    """`ssm.fit` as a user calls it; its iterations are compiled in its first call."""
    method = ssm.EM(max_iters=ITERATIONS, tol=0.0)
    return Peer(lambda: ssm.fit(model, ys, method, progress=False), lambda fit: float(fit.log_probs[-1]))


def hmmlearn(covariances: str, model: ssm.HMM, ys: jax.Array) -> Peer:
    """float64, its forward-backward in C++; priors at zero: maximum likelihood."""
    from hmmlearn.hmm import GaussianHMM

    data = np.asarray(ys, float)
    initial, transition, loc = (np.asarray(a, float) for a in (model.initial, model.transition, model.emission.loc))
    emission = model.emission
    spread = emission.scale**2 if covariances == "diagonal" else emission.covariance

    def fit() -> GaussianHMM:
        kind = "diag" if covariances == "diagonal" else "full"
        peer = GaussianHMM(
            SIZE, kind, n_iter=ITERATIONS, tol=-np.inf, init_params="", min_covar=0, covars_prior=0, covars_weight=0
        )
        peer.startprob_, peer.transmat_ = initial / initial.sum(), transition / transition.sum(axis=1, keepdims=True)
        peer.means_, peer.covars_ = loc, np.asarray(spread, float)
        return peer.fit(data)

    return Peer(fit, lambda peer: peer.score(data))


def dynamax(covariances: str, model: ssm.HMM, ys: jax.Array) -> Peer:
    """Its `fit_em` inside one `jax.jit`, so that all iterations are compiled once."""
    from dynamax.hidden_markov_model import DiagonalGaussianHMM, GaussianHMM

    emission = model.emission
    if covariances == "diagonal":
        weak = ("mean_concentration", "concentration", "scale")
        peer = DiagonalGaussianHMM(SIZE, COMPONENTS, **{f"emission_prior_{name}": 1e-6 for name in weak})
        spread = {"emission_scale_diags": emission.scale}
    else:
        weak = ("concentration", "scale", "extra_df")
        peer = GaussianHMM(SIZE, COMPONENTS, **{f"emission_prior_{name}": 1e-6 for name in weak})
        spread = {"emission_covariances": emission.covariance}
    parameters, properties = peer.initialize(
        jax.random.key(0),
        initial_probs=model.initial,
        transition_matrix=model.transition,
        emission_means=emission.loc,
        **spread,
    )
    options = {"num_iters": ITERATIONS, "verbose": False}
    fit = jax.jit(lambda parameters, ys: peer.fit_em(parameters, properties, ys, **options)[0])
    return Peer(lambda: fit(parameters, ys), lambda fitted: float(peer.marginal_log_prob(fitted, ys)))
