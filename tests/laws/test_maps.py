"""The laws of ssm/maps/base.py for every kind of map."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssm.beliefs import Categorical, Gaussian, LogCategorical, Point
from ssm.maps import AffineMap, DiagonalAffineMap, GaussianKernel, GaussianMap, MarkovMap
from ssm.maps.max_plus import MaxPlusMap, Scores

pytestmark = pytest.mark.usefixtures("float64")

SIZE = 3
# Two float64 orders of the same few dozen operations on numbers of order one.
CLOSE = {"rtol": 1e-9, "atol": 1e-10}


def triangular(rng: np.random.Generator, *lead: int) -> np.ndarray:
    return np.tril(rng.normal(size=(*lead, SIZE, SIZE)))


def markov(rng: np.random.Generator) -> MarkovMap:
    """A step with a forbidden transition and likelihoods that float64 cannot hold unscaled."""
    matrix = rng.dirichlet(np.ones(SIZE), SIZE) * (rng.uniform(size=(SIZE, SIZE)) < 0.8)
    return MarkovMap.of(jnp.asarray(matrix + np.eye(SIZE) / 10), jnp.asarray(400 * rng.normal(size=SIZE)))


def gaussian(rng: np.random.Generator) -> GaussianMap:
    """A filter step: any five arrays of these shapes are one."""
    return GaussianMap(
        *map(
            jnp.asarray,
            (
                rng.normal(size=(SIZE, SIZE)),
                rng.normal(size=SIZE),
                triangular(rng),
                rng.normal(size=SIZE),
                triangular(rng),
            ),
        )
    )


def kernel(rng: np.random.Generator) -> GaussianKernel:
    return GaussianKernel(
        jnp.asarray(rng.normal(size=(SIZE, SIZE))), jnp.asarray(rng.normal(size=SIZE)), jnp.asarray(triangular(rng))
    )


def max_plus(rng: np.random.Generator) -> MaxPlusMap:
    """A best-path step with a forbidden transition."""
    matrix = 100 * rng.normal(size=(SIZE, SIZE))
    matrix[0, 1] = -np.inf
    return MaxPlusMap(jnp.asarray(matrix))


def affine(rng: np.random.Generator) -> AffineMap:
    return AffineMap(jnp.asarray(rng.normal(size=(SIZE, SIZE))), jnp.asarray(rng.normal(size=SIZE)))


def diagonal(rng: np.random.Generator) -> DiagonalAffineMap:
    return DiagonalAffineMap(*map(jnp.asarray, rng.normal(size=(2, SIZE))))


def distribution(rng: np.random.Generator) -> LogCategorical:
    return LogCategorical(jnp.log(jnp.asarray(rng.dirichlet(np.ones(SIZE)))))


def normal(rng: np.random.Generator) -> Gaussian:
    return Gaussian(jnp.asarray(rng.normal(size=SIZE)), jnp.asarray(triangular(rng)))


def point(rng: np.random.Generator) -> Point:
    return Point(jnp.asarray(rng.normal(size=SIZE)))


def scores(rng: np.random.Generator) -> Scores:
    values = rng.normal(size=SIZE)
    return Scores(jnp.asarray(values - values.max()))


KINDS = {
    "MarkovMap": (markov, distribution),
    "AffineMap": (affine, point),
    "DiagonalAffineMap": (diagonal, point),
    "GaussianMap": (gaussian, normal),
    "GaussianKernel": (kernel, normal),
    "MaxPlusMap": (max_plus, scores),
}


@eqx.filter_jit
def both_sides(a: Any, b: Any, c: Any, belief: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Left and right of every law, as the maps do it to a belief."""
    return {
        "then applies one after the other": (a.then(b).apply(belief), b.apply(a.apply(belief))),
        "then is associative": (a.then(b).then(c).apply(belief), a.then(b.then(c)).apply(belief)),
        "forget answers its belief": (a.forget(belief).apply(other), belief),
        "identity changes nothing": (a.identity().apply(belief), belief),
        "identity before": (a.identity().then(a).apply(belief), a.apply(belief)),
        "identity after": (a.then(a.identity()).apply(belief), a.apply(belief)),
        "what is forgotten stays so": (a.then(b.forget(belief)).apply(other), belief),
    }


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_laws(kind: str, seed: int) -> None:
    make_map, make_belief = KINDS[kind]
    rng = np.random.default_rng(seed)
    answers = both_sides(*(make_map(rng) for _ in range(3)), *(make_belief(rng) for _ in range(2)))
    for law, sides in answers.items():
        left, right = (jax.tree.leaves(comparable(side)) for side in sides)
        for a, b in zip(left, right, strict=True):
            np.testing.assert_allclose(a, b, err_msg=law, **CLOSE)


def comparable(belief: Any) -> Any:
    """A covariance in the place of its square root, which has more than one form."""
    return (belief.mean, belief.covariance) if isinstance(belief, Gaussian) else belief


def test_a_markov_map_is_its_matrix() -> None:
    rng = np.random.default_rng(0)
    matrix, log_likelihood, probs = (
        rng.dirichlet(np.ones(SIZE), SIZE),
        rng.normal(size=SIZE),
        rng.dirichlet(np.ones(SIZE)),
    )
    moved = probs @ matrix * np.exp(log_likelihood)
    step = MarkovMap.of(jnp.asarray(matrix), jnp.asarray(log_likelihood))
    np.testing.assert_allclose(step.apply(Categorical(jnp.asarray(probs))).probs, moved / moved.sum(), **CLOSE)


def test_a_gaussian_map_conditions_on_what_it_saw() -> None:
    rng = np.random.default_rng(1)
    step, prior = gaussian(rng), normal(rng)
    precision = step.precision @ step.precision.T
    # Bayes' rule in information form on the state before, then the move.
    covariance = np.linalg.inv(np.linalg.inv(prior.covariance) + precision)
    mean = covariance @ (np.linalg.solve(prior.covariance, prior.mean) + step.information)
    after = step.apply(prior)
    np.testing.assert_allclose(after.mean, step.matrix @ mean + step.offset, rtol=1e-7)  # the prior is inverted above
    spread = step.matrix @ covariance @ step.matrix.T + step.noise @ step.noise.T
    np.testing.assert_allclose(after.covariance, spread, rtol=1e-7)


def test_a_best_path_map_takes_the_best() -> None:
    step = MaxPlusMap(jnp.array([[-1.0, -5.0], [-2.0, -jnp.inf]]))
    np.testing.assert_array_equal(step.apply(Scores(jnp.array([0.0, -0.5]))).values, [0.0, -4.0])
