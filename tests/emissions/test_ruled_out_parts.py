"""Parts of mixtures that have no weight, and states that explain nothing, say nothing, however dense they are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.emissions import (
    Labelled,
    Mixture,
    MultivariateNormal,
    Normal,
    Product,
    SharedScaleNormal,
    StudentT,
    TiedMultivariateNormal,
)

PRECISIONS = pytest.mark.parametrize("precision", ["float32", "float64"])


def series(precision: str) -> np.ndarray:
    """Around 0 and 1, and one value at 20, which the part that is ruled out likes by 800 nats where it lies there."""
    rng = np.random.default_rng(0)
    ys = rng.integers(0, 2, 60) + 0.15 * rng.normal(size=60)
    ys[30] = 20
    return ys.astype(precision)


def family(kind: str, loc: list[float]) -> Any:
    loc, column = np.array(loc), np.array(loc)[:, None]
    return {
        "normal": lambda: Normal(loc, np.full(3, 0.5)),
        "shared scale": lambda: SharedScaleNormal(loc, [0.5]),
        "student t": lambda: StudentT(loc, np.full(3, 0.5), np.full(3, 1e6)),
        "multivariate": lambda: MultivariateNormal(column, np.full((3, 1, 1), 0.25)),
        "tied multivariate": lambda: TiedMultivariateNormal(column, [[0.25]]),
    }[kind]()


@PRECISIONS
@pytest.mark.parametrize(
    ("kind", "inside"),
    [(kind, "alone") for kind in ("normal", "shared scale", "student t", "multivariate", "tied multivariate")]
    + [("shared scale", "product"), ("normal", "labelled")],
)
def test_where_a_part_without_weight_lies_changes_nothing(kind: str, inside: str, precision: str) -> None:
    with jax.enable_x64(precision == "float64"):
        ys = series(precision)
        columns = ys[:, None] if "multivariate" in kind else ys

        def step(lies: float) -> Any:
            emission: Any = Mixture([[0.5, 0.5, 0.0]], family(kind, [0.0, 1.0, lies]))
            if inside == "product":
                emission = Product(emission, Normal([0.0], [1.0]))
            if inside == "labelled":
                emission = Labelled(emission)
            observed = np.stack([ys, ys], 1) if inside == "product" else columns
            weights = jnp.ones((len(ys), 1), precision)
            moved = jax.jit(lambda emission: emission.maximise(weights, jnp.asarray(observed), None, None))
            new = moved(ssm.parameters.constrain(emission))
            new = new.parts[0] if inside == "product" else new.emission if inside == "labelled" else new
            return new.weights, [leaf[:2] for leaf in jax.tree.leaves(new.parts)]

        here, there = step(0.0), step(20.0)
        # Sums of 60 terms, worked out around another centre.
        close = {"rtol": 60 * float(jnp.finfo(precision).eps), "atol": 60 * float(jnp.finfo(precision).eps)}
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), here, there)
        assert (np.abs(np.asarray(here[0])[0] - 0.5) > 0.01).any()  # the other weights were learnt


@PRECISIONS
def test_a_shared_scale_is_learnt_beside_it(precision: str) -> None:
    """One scale, taught by what the parts with weight explain: the value at 20 belongs to a part of its own."""
    with jax.enable_x64(precision == "float64"):
        ys, parts = series(precision), SharedScaleNormal([0.0, 1.0, 20.0, 20.0], [0.5])
        start = ssm.HMM([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]], Mixture([[0.5, 0.5], [1.0, 0.0]], parts))
        scale = np.asarray(ssm.fit(start, ys, ssm.EM(max_iters=50)).model.emission.parts.scale)
        groups = [ys[np.abs(ys - middle) < 0.5] for middle in (0, 1)]
        best = np.sqrt(sum(((group - group.mean()) ** 2).sum() for group in groups) / len(ys))
        np.testing.assert_allclose(scale, best, rtol=0.02)  # the groups are three scales from the border: soft shares


@PRECISIONS
def test_its_density_and_slopes_are_those_without_it(precision: str) -> None:
    with jax.enable_x64(precision == "float64"):
        ys, us = jnp.asarray(series(precision)), None

        def evidence(lies: float) -> Any:
            def total(loc: jax.Array) -> jax.Array:
                parts = Normal(jnp.concatenate([loc, jnp.asarray([lies], loc.dtype)]), jnp.full_like(loc, 0.5, shape=3))
                mixed = ssm.parameters.constrain(Mixture(jnp.asarray([[0.5, 0.5, 0.0]], loc.dtype), parts))
                return jnp.sum(mixed.log_likelihoods(ys, us))

            return jax.jit(jax.value_and_grad(total))(jnp.asarray([0.0, 1.0], precision))

        here, there = evidence(0.0), evidence(20.0)
        jax.tree.map(np.testing.assert_array_equal, here, there)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(here))
