"""Every emission family once: how to make one, what SciPy says of it, and what test_emissions.py may ask of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles
import scipy.special
import scipy.stats

from ssm.emissions import (
    Bernoulli,
    Binomial,
    Categorical,
    Exponential,
    FactorNormal,
    Gamma,
    Mixture,
    Multinomial,
    MultivariateNormal,
    MultivariateStudentT,
    NegativeBinomial,
    Normal,
    Poisson,
    Product,
    SharedScaleNormal,
    StudentT,
    TiedMultivariateNormal,
    VonMises,
)

TOTAL, STATES = 12, 3
ALWAYS = frozenset({"nothing", "steps", "components"})

Recipe = Callable[[np.random.Generator], tuple[Any, np.ndarray]]


@dataclass(frozen=True)
class Family:
    """A way to draw an emission of STATES states with TOTAL observations that it can emit, and its density."""

    make: Recipe
    # (emission, ys, seen) -> log p(y_t | k) (TOTAL, STATES) over the entries of ys where seen, of the shape of ys
    table: Callable[[Any, np.ndarray, np.ndarray], np.ndarray] = oracles.log_likelihood_table
    components: bool = True  # single components of a vector may be missing
    climbs: frozenset[str] = frozenset()  # of "nothing", "steps", "components" missing: the M-step only climbs there
    shares: bool = False  # states have parameters in common
    quantiles: bool = True  # the distribution function is known, component by component
    impossible: Any = None  # one observation that `validate` must refuse


def categorical(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return Categorical(rng.dirichlet(np.ones(4), STATES)), rng.integers(0, 4, TOTAL)


def scalar(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return Normal(rng.normal(size=STATES), rng.uniform(0.5, 2, STATES)), rng.normal(size=TOTAL)


def vector(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return Normal(rng.normal(size=(STATES, 3)), rng.uniform(0.5, 2, (STATES, 3))), rng.normal(size=(TOTAL, 3))


def multivariate(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    root = rng.normal(size=(STATES, 3, 3))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.2 * np.eye(3)
    return MultivariateNormal(rng.normal(size=(STATES, 3)), covariance), rng.normal(size=(TOTAL, 3))


def tied(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return SharedScaleNormal(rng.normal(size=(STATES, 3)), rng.uniform(0.5, 2, (1, 3))), rng.normal(size=(TOTAL, 3))


def spherical(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return SharedScaleNormal(rng.normal(size=(STATES, 3)), rng.uniform(0.5, 2, (STATES, 1))), rng.normal(
        size=(TOTAL, 3)
    )


def tied_scalar(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return SharedScaleNormal(rng.normal(size=STATES), [1.3]), rng.normal(size=TOTAL)


def tied_multivariate(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    root = rng.normal(size=(3, 3))
    return TiedMultivariateNormal(rng.normal(size=(STATES, 3)), root @ root.T + 0.2 * np.eye(3)), rng.normal(
        size=(TOTAL, 3)
    )


def factors(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    loc, loading = rng.normal(size=(STATES, 4)), rng.normal(size=(STATES, 4, 2))
    return FactorNormal(loc, loading, rng.uniform(0.5, 2, (STATES, 4))), rng.normal(size=(TOTAL, 4))


def heavy_scalar(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return StudentT(rng.normal(size=STATES), rng.uniform(0.5, 2, STATES), [0.7, 3.0, 40.0]), rng.standard_t(2, TOTAL)


def heavy_vector(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    shape = (STATES, 2)
    emission = StudentT(rng.normal(size=shape), rng.uniform(0.5, 2, shape), rng.uniform(1, 9, shape))
    return emission, rng.standard_t(2, (TOTAL, 2))


def heavy_multivariate(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    root = rng.normal(size=(STATES, 3, 3))
    matrix = root @ np.swapaxes(root, 1, 2) + 0.2 * np.eye(3)
    return MultivariateStudentT(rng.normal(size=(STATES, 3)), matrix, [0.7, 3.0, 40.0]), rng.standard_t(2, (TOTAL, 3))


def mixed(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    parts = Normal(rng.normal(size=(2 * STATES, 2)), rng.uniform(0.5, 2, (2 * STATES, 2)))
    return Mixture(rng.dirichlet(np.ones(2), STATES), parts), rng.normal(size=(TOTAL, 2))


def product(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    (correlated, pairs), (symbols, codes), (line, values) = multivariate(rng), categorical(rng), scalar(rng)
    return Product(correlated, symbols, line), np.column_stack([pairs, codes, values])


def normal_table(emission: Any, ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of normals of full covariance, one for all states or one each."""
    covariance = np.asarray(emission.covariance)
    covariance = np.broadcast_to(covariance, (STATES, *covariance.shape[-2:]))
    density = lambda k, those: scipy.stats.multivariate_normal(emission.loc[k][those], _block(covariance[k], those))
    return _by_row(density, ys, seen)


def multivariate_t_table(emission: Any, ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    matrix = np.asarray(emission.scale_matrix)
    density = lambda k, those: scipy.stats.multivariate_t(
        emission.loc[k][those], _block(matrix[k], those), df=float(emission.df[k])
    )
    return _by_row(density, ys, seen)


def t_table(emission: Any, ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    terms = scipy.stats.t.logpdf(ys[:, None], np.asarray(emission.df), emission.loc, np.asarray(emission.scale))
    terms = np.where(seen[:, None], terms, 0.0)
    return terms.reshape(TOTAL, STATES, -1).sum(-1)


def mixture_table(emission: Any, ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    parts = oracles.log_likelihood_table(emission.parts, ys, seen).reshape(TOTAL, STATES, -1)
    return scipy.special.logsumexp(parts, axis=2, b=np.asarray(emission.weights))


def product_table(emission: Any, ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    pairs, symbols, line = emission.parts
    table = normal_table(pairs, ys[:, :3], seen[:, :3])
    table = table + oracles.log_likelihood_table(symbols, np.where(seen[:, 3], ys[:, 3], 0).astype(int), seen[:, 3])
    return table + oracles.log_likelihood_table(line, ys[:, 4], seen[:, 4])


def _block(matrix: np.ndarray, those: np.ndarray) -> np.ndarray:
    return matrix[np.ix_(those, those)]


def _by_row(density: Callable, ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    table = np.zeros((TOTAL, STATES))
    for t, k in np.ndindex(table.shape):
        if seen[t].any():
            table[t, k] = density(k, seen[t]).logpdf(ys[t][seen[t]])
    return table


# -- counts, positive numbers, angles --------------------------------------------------------------------------


def independent(log_density: Callable[[Any, np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """The table of a product of components from (emission, ys (T, 1, *event)) -> (T, K, *event)."""

    def table(emission: Any, ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
        terms = np.where(seen[:, None], log_density(emission, ys[:, None]), 0.0)
        return terms.reshape(*terms.shape[:2], -1).sum(-1)

    return table


def bernoulli(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return Bernoulli(rng.uniform(0.1, 0.9, (STATES, 3))), rng.integers(0, 2, (TOTAL, 3)).astype(float)


def binomial(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return Binomial(5, rng.uniform(0.1, 0.9, STATES)), rng.integers(0, 6, TOTAL).astype(float)


def multinomial(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    probs = rng.dirichlet(np.ones(3), STATES)
    return Multinomial(6, probs), rng.multinomial(6, rng.dirichlet(np.ones(3)), TOTAL).astype(float)


def multinomial_table(emission: Any, ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Sums over every way to fill in what is missing."""
    ways = np.array([way for way in np.ndindex(7, 7, 7) if sum(way) == 6], float)
    table = np.zeros((len(ys), STATES))
    for k, probs in enumerate(np.asarray(emission.probs)):
        mass = scipy.stats.multinomial(6, probs).pmf(ways)
        for t in range(len(ys)):
            table[t, k] = np.log(mass[(ways == ys[t])[:, seen[t]].all(axis=1)].sum())
    return table


def poisson(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return Poisson(rng.uniform(0.5, 5, (STATES, 2))), rng.poisson(3.0, (TOTAL, 2)).astype(float)


def negative_binomial(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    emission = NegativeBinomial(rng.uniform(0.5, 5, (STATES, 2)), rng.uniform(0.5, 5, (STATES, 2)))
    return emission, rng.negative_binomial(1, 0.2, (TOTAL, 2)).astype(float)


def negative_binomial_density(e: Any, ys: np.ndarray) -> np.ndarray:
    return scipy.stats.nbinom.logpmf(ys, e.size, np.asarray(e.size / (e.size + e.mean)))


def exponential(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return Exponential(rng.uniform(0.5, 5, STATES)), rng.exponential(2.0, TOTAL)


def gamma(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    return Gamma(rng.uniform(0.5, 5, (STATES, 2)), rng.uniform(0.5, 5, (STATES, 2))), rng.gamma(2.0, 1.0, (TOTAL, 2))


def von_mises(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    emission = VonMises(rng.uniform(-3, 3, (STATES, 2)), rng.uniform(0.5, 5, (STATES, 2)))
    return emission, rng.vonmises(1.0, 1.5, (TOTAL, 2))


FAMILIES = {
    "categorical": Family(categorical, components=False, impossible=7),
    "scalar": Family(scalar),
    "vector": Family(vector),
    "multivariate": Family(multivariate, climbs=frozenset({"components"})),
    "bernoulli": Family(bernoulli, independent(lambda e, ys: scipy.stats.bernoulli.logpmf(ys, e.probs)), impossible=2),
    "binomial": Family(
        binomial, independent(lambda e, ys: scipy.stats.binom.logpmf(ys, 5, e.probs)), components=False, impossible=6
    ),
    "multinomial": Family(multinomial, multinomial_table, climbs=frozenset({"components"}), impossible=0.5),
    "poisson": Family(poisson, independent(lambda e, ys: scipy.stats.poisson.logpmf(ys, e.rate)), impossible=-1),
    "negative-binomial": Family(
        negative_binomial,
        independent(negative_binomial_density),
        climbs=frozenset({"nothing", "steps", "components"}),
        impossible=1.5,
    ),
    "exponential": Family(
        exponential,
        independent(lambda e, ys: scipy.stats.expon.logpdf(ys, scale=1 / np.asarray(e.rate))),
        components=False,
        impossible=-0.1,
    ),
    "gamma": Family(
        gamma,
        independent(lambda e, ys: scipy.stats.gamma.logpdf(ys, e.shape, scale=1 / np.asarray(e.rate))),
        impossible=0,
    ),
    "von-mises": Family(
        von_mises,
        independent(lambda e, ys: scipy.stats.vonmises.logpdf(ys, e.concentration, loc=e.loc)),
        impossible=180,
    ),
    "tied": Family(tied, shares=True),
    "tied-scalar": Family(tied_scalar, shares=True),
    "spherical": Family(spherical),
    "tied-multivariate": Family(tied_multivariate, normal_table, climbs=frozenset({"components"}), shares=True),
    "factors": Family(factors, normal_table, climbs=ALWAYS),
    "heavy-scalar": Family(heavy_scalar, t_table, climbs=ALWAYS),
    "heavy-vector": Family(heavy_vector, t_table, climbs=ALWAYS),
    "heavy-multivariate": Family(heavy_multivariate, multivariate_t_table, climbs=ALWAYS),
    "mixture": Family(mixed, mixture_table, climbs=ALWAYS),
    "product": Family(product, product_table, climbs=frozenset({"components"})),
}
