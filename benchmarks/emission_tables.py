"""Is any family's table of log-likelihoods slower than what one would write by hand?"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, log_softmax, logsumexp
from jax.scipy import stats
from jax.scipy.special import gammaln, xlogy

from benchmarks.timing import in_turn, microseconds, ratio, table
from ssm import emissions
from ssm.parameters import constrain

LENGTH, SIZE = 10_000, 5


class Case(NamedTuple):
    """A family, the table (T, K) that one would write with `jax.scipy.stats`, and data."""

    emission: Any
    by_hand: Callable[..., jax.Array]  # of the emission, ys (T, 1, ...) and inputs
    ys: np.ndarray
    us: np.ndarray | None = None


def main() -> str:
    """T = 10⁴, K = 5, float32, both under jit; parameters are arguments of both."""
    warnings.filterwarnings("ignore")
    rows = []
    for case in cases(np.random.default_rng(0)):
        name = f"{type(case.emission).__name__}, {'×'.join(map(str, case.ys.shape[1:])) or 'scalar'}"
        ys = jnp.asarray(case.ys if case.ys.dtype.kind == "i" else case.ys.astype(np.float32))
        us = None if case.us is None else jnp.asarray(case.us, jnp.float32)
        by_rows = type(case.emission).rows is not emissions.AbstractEmission.rows  # states first, or times first
        asked = "rows" if by_rows else "log_likelihoods"
        ours = jax.jit(lambda e, ys, us, asked=asked: getattr(constrain(e), asked)(ys, us))
        theirs = jax.jit(lambda e, ys, us, by_hand=case.by_hand: by_hand(e, ys[:, None], us))
        run, peer = lambda: ours(case.emission, ys, us), lambda: theirs(case.emission, ys, us)
        np.testing.assert_allclose(run().T if by_rows else run(), peer(), rtol=2e-3, atol=2e-3, err_msg=name)
        warm, by_hand = in_turn(run, peer)
        rows.append([name, microseconds(warm), microseconds(by_hand), ratio(by_hand, warm)])
    title = f"Tables of log-likelihoods, T = {LENGTH}, K = {SIZE}, against `jax.scipy.stats` written by hand"
    return table(title, ["family, one observation", "onescan", "by hand", "ratio"], rows)


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every family whose density is a formula of its own."""
    yield from real_numbers(rng)
    yield from correlated(rng)
    yield from counts(rng)
    yield from regressions(rng)


def real_numbers(rng: np.random.Generator) -> Iterator[Case]:
    """Independent components."""
    line, vectors = rng.normal(size=LENGTH), rng.normal(size=(LENGTH, 3))
    loc, scale = rng.normal(size=(SIZE, 3)), rng.uniform(0.5, 2, (SIZE, 3))
    normal = lambda e, y, u: stats.norm.logpdf(y, e.loc, e.scale)
    yield Case(emissions.Normal(loc[:, 0], scale[:, 0]), normal, line)
    yield Case(emissions.Normal(loc, scale), summed(normal), vectors)
    yield Case(emissions.SharedScaleNormal(loc, scale[:1]), summed(normal), vectors)
    effects = [loc[:1, 0], loc[:, 0]]
    joint = lambda e, y, u: stats.norm.logpdf(y, e.joint_loc, e.scale)
    yield Case(emissions.AdditiveNormal(effects, scale[0, 0]), joint, line)
    heavy = lambda e, y, u: stats.t.logpdf(y, e.df, e.loc, e.scale)
    yield Case(emissions.StudentT(loc, scale, 3 + scale), summed(heavy), vectors)
    noisy = lambda e, y, u: stats.norm.logpdf(y[..., 0], e.loc[:, 0], jnp.sqrt(e.scale[:, 0] ** 2 + u**2))
    yield Case(emissions.NoisyNormal(loc[:, :1], scale[:, :1]), noisy, line[:, None], np.full((LENGTH, 1), 0.3))
    positive = rng.gamma(2.0, 1.0, (LENGTH, 2))
    exponential = lambda e, y, u: stats.expon.logpdf(y, scale=1 / e.rate)
    yield Case(emissions.Exponential(scale[:, 0]), exponential, positive[:, 0])
    gamma = lambda e, y, u: stats.gamma.logpdf(y, e.shape, scale=1 / e.rate)
    yield Case(emissions.Gamma(1 + scale[:, :2], scale[:, :2]), summed(gamma), positive)
    angle = lambda e, y, u: stats.vonmises.logpdf(y - e.loc, e.concentration)
    yield Case(emissions.VonMises(loc[:, :2], scale[:, :2]), summed(angle), rng.vonmises(0, 1, (LENGTH, 2)))
    parts = emissions.Normal(rng.normal(size=(2 * SIZE, 2)), rng.uniform(0.5, 2, (2 * SIZE, 2)))

    def mixed(e: Any, y: jax.Array, u: None) -> jax.Array:
        terms = stats.norm.logpdf(y, e.parts.loc, e.parts.scale).sum(-1).reshape(len(y), SIZE, 2)
        return logsumexp(terms + jnp.log(e.weights), axis=2)

    yield Case(emissions.Mixture(rng.dirichlet(np.ones(2), SIZE), parts), mixed, vectors[:, :2])
    symbols = emissions.Categorical(rng.dirichlet(np.ones(4), SIZE))

    def both(e: Any, y: jax.Array, u: None) -> jax.Array:
        first, second = e.parts
        return stats.norm.logpdf(y[..., 0], first.loc, first.scale) + jnp.log(second.probs).T[y[:, 0, 1].astype(int)]

    columns = np.column_stack([line, rng.integers(0, 4, LENGTH)])
    yield Case(emissions.Product(emissions.Normal(loc[:, 0], scale[:, 0]), symbols), both, columns)


def correlated(rng: np.random.Generator) -> Iterator[Case]:
    """Correlated components."""
    vectors, loc, root = rng.normal(size=(LENGTH, 3)), rng.normal(size=(SIZE, 3)), rng.normal(size=(SIZE, 3, 3))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.5 * np.eye(3)
    normal = lambda e, y, u: jax.vmap(stats.multivariate_normal.logpdf, (None, 0, 0), 1)(y[:, 0], e.loc, e.covariance)
    yield Case(emissions.MultivariateNormal(loc, covariance), normal, vectors)
    tied = lambda e, y, u: stats.multivariate_normal.logpdf(y - e.loc, jnp.zeros(3), e.covariance)
    yield Case(emissions.TiedMultivariateNormal(loc, covariance[0]), tied, vectors)
    factors, scale = rng.normal(size=(SIZE, 3, 1)), rng.uniform(0.5, 2, (SIZE, 3))
    yield Case(emissions.FactorNormal(loc, factors, scale), normal, vectors)

    def heavy(e: Any, y: jax.Array, u: None) -> jax.Array:
        whitened = jax.vmap(lambda m, s: jnp.linalg.solve(jnp.linalg.cholesky(s), (y[:, 0] - m).T), 0)(
            e.loc, e.scale_matrix
        )
        half = (e.df + 3) / 2
        volume = jnp.linalg.slogdet(e.scale_matrix)[1] / 2 + 1.5 * jnp.log(e.df * jnp.pi)
        return gammaln(half) - gammaln(e.df / 2) - volume - half * jnp.log1p(jnp.sum(whitened**2, 1).T / e.df)

    yield Case(emissions.MultivariateStudentT(loc, covariance, 3 + scale[:, 0]), heavy, vectors)


def counts(rng: np.random.Generator) -> Iterator[Case]:
    """Symbols and counts."""
    probs, rate = rng.dirichlet(np.ones(4), SIZE), rng.uniform(0.5, 5, (SIZE, 2))
    looked_up = lambda e, y, u: jnp.log(e.probs).T[y[:, 0]]
    yield Case(emissions.Categorical(probs), looked_up, rng.integers(0, 4, LENGTH))
    bernoulli = lambda e, y, u: stats.bernoulli.logpmf(y, e.probs)
    yield Case(emissions.Bernoulli(probs[:, :3]), summed(bernoulli), rng.integers(0, 2, (LENGTH, 3)) + 0.0)
    binomial = lambda e, y, u: stats.binom.logpmf(y, 5, e.probs)
    yield Case(emissions.Binomial(5, probs[:, 0]), binomial, rng.integers(0, 6, LENGTH) + 0.0)
    log_factorial = lambda n: gammaln(n + 1.0)
    multinomial = lambda e, y, u: log_factorial(6) + jnp.sum(xlogy(y, e.probs) - log_factorial(y), axis=-1)
    yield Case(emissions.Multinomial(6, probs), multinomial, rng.multinomial(6, probs[0], LENGTH) + 0.0)
    poisson = lambda e, y, u: stats.poisson.logpmf(y, e.rate)
    yield Case(emissions.Poisson(rate), summed(poisson), rng.poisson(3.0, (LENGTH, 2)) + 0.0)
    negative = lambda e, y, u: stats.nbinom.logpmf(y, e.size, e.size / (e.size + e.mean))
    few = rng.negative_binomial(1, 0.2, (LENGTH, 2)) + 0.0
    yield Case(emissions.NegativeBinomial(rate, rate[::-1]), summed(negative), few)


def regressions(rng: np.random.Generator) -> Iterator[Case]:
    """On three inputs."""
    us, weights, bias = rng.normal(size=(LENGTH, 3)), rng.normal(size=(SIZE, 2, 3)), rng.normal(size=(SIZE, 2))
    vectors, scale = rng.normal(size=(LENGTH, 2)), rng.uniform(0.5, 2, (SIZE, 2))
    line = lambda e, u: jnp.einsum("tu,knu->tkn", u, e.weights) + e.bias
    linear = lambda e, y, u: stats.norm.logpdf(y, line(e, u), e.scale)
    yield Case(emissions.LinearRegression(weights, bias, scale), summed(linear), vectors, us)
    root = rng.normal(size=(SIZE, 2, 2))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.5 * np.eye(2)

    def full(e: Any, y: jax.Array, u: jax.Array) -> jax.Array:
        density = jax.vmap(stats.multivariate_normal.logpdf, (1, None, 0), 1)
        return density(y - line(e, u), jnp.zeros(2), e.covariance)

    yield Case(emissions.MultivariateLinearRegression(weights, bias, covariance), full, vectors, us)
    ones = rng.integers(0, 2, (LENGTH, 2)) + 0.0
    logistic = lambda e, y, u: log_sigmoid((2 * y - 1) * line(e, u))
    yield Case(emissions.LogisticRegression(weights, bias), summed(logistic), ones, us)
    poisson = lambda e, y, u: stats.poisson.logpmf(y, jnp.exp(line(e, u)))
    yield Case(emissions.PoissonRegression(weights / 4, bias), summed(poisson), rng.poisson(2.0, (LENGTH, 2)) + 0.0, us)
    logits = lambda e, y, u: jnp.take_along_axis(log_softmax(line(e, u)), y[..., None], axis=2)[..., 0]
    yield Case(emissions.CategoricalRegression(weights, bias), logits, rng.integers(0, 2, LENGTH), us)


def summed(density: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Σ over the components."""
    return lambda e, y, u: jnp.sum(density(e, y, u), axis=-1)
