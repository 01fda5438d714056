"""Every emission family once: how to make one, what SciPy says of it, and what test_emissions.py may ask of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles

from ssm.emissions import Categorical, MultivariateNormal, Normal

TOTAL, STATES = 12, 3

Recipe = Callable[[np.random.Generator], tuple[Any, np.ndarray]]


@dataclass(frozen=True)
class Family:
    """A way to draw an emission of STATES states with TOTAL observations that it can emit, and its density."""

    make: Recipe
    # (emission, ys, seen) -> log p(y_t | k) (TOTAL, STATES) over the entries of ys where seen, of the shape of ys
    table: Callable[[Any, np.ndarray, np.ndarray], np.ndarray] = oracles.log_likelihood_table
    components: bool = True  # single components of a vector may be missing
    climbs: frozenset[str] = frozenset()  # of "nothing", "steps", "components" missing: the M-step only climbs there
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


FAMILIES = {
    "categorical": Family(categorical, components=False, impossible=7),
    "scalar": Family(scalar),
    "vector": Family(vector),
    "multivariate": Family(multivariate, climbs=frozenset({"components"})),
}
