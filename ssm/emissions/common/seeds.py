"""Starting values taken from data."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssm.emissions.common.floors import of_all
from ssm.numeric import checks
from ssm.numeric.trees import widen
from ssm.shapes import Array, Bool, Float, Key, PyTree


def rows_of(ys: Any, observed: Any = None) -> tuple[Array, Bool[Array, "M"]]:
    """Data (M,) or (M, N) as finite floats, and which of the M rows are wholly there; NaN means missing."""
    ys = checks.real("ys", ys, ("M",) if np.ndim(ys) == 1 else ("M", "N"), missing=True)
    there = ~jnp.any(jnp.isnan(ys.reshape(ys.shape[0], -1)), axis=1)
    if observed is not None:
        there = there & jnp.asarray(observed)
    return jnp.where(jnp.isnan(ys), jnp.zeros((), ys.dtype), ys), there


@partial(jax.jit, static_argnames="num_states")
def spread_out(
    key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"]
) -> Float[Array, "K *event"]:
    """K observed data points, each drawn with probability ∝ squared distance to the nearest one before it.

    The seeding of k-means++ (Arthur & Vassilvitskii 2007).
    """
    flat = ys.reshape(ys.shape[0], -1)
    tiny = jnp.finfo(flat.dtype).tiny  # repeated data points: keep the draw defined when all distances are zero
    scaled = flat / jnp.maximum(standard_deviation(flat, observed), tiny)

    def draw(nearest: Float[Array, "M"], key: Key):
        pick = jax.random.categorical(key, jnp.where(observed, jnp.log(nearest), -jnp.inf))
        distance = jnp.sum((scaled - scaled[pick]) ** 2, axis=1) + tiny
        return jnp.minimum(nearest, distance), pick

    first_key, *keys = jax.random.split(key, 2)
    _, first = draw(jnp.ones(ys.shape[0], flat.dtype), first_key)
    nearest = jnp.sum((scaled - scaled[first]) ** 2, axis=1) + tiny
    _, others = jax.lax.scan(draw, nearest, jax.random.split(keys[0], num_states - 1))
    return ys[jnp.append(first, others)]


def standard_deviation(ys: Float[Array, "M *event"], observed: Bool[Array, "M"]) -> Float[Array, "*event"]:
    """Per component, over the observed rows."""
    return jnp.std(ys, axis=0, where=widen(observed, ys.ndim))


def starting_scale(ys: Float[Array, "M *event"], observed: Bool[Array, "M"]) -> Float[Array, "*event"]:
    """Standard deviations; of constants, 1e-4 of their size, or 1e-4."""
    return of_all(standard_deviation(ys, observed), average(ys, observed), 1.0)


def average(ys: Float[Array, "M *event"], observed: Bool[Array, "M"]) -> Float[Array, "*event"]:
    """Per component, over the observed rows."""
    return jnp.mean(ys, axis=0, where=widen(observed, ys.ndim))


def state_shape(num_states: int, num_components: int | None) -> tuple[int, ...]:
    """(K,) for scalars, (K, N) for vectors."""
    shape = (checks.positive_int("num_states", num_states),)
    return shape if num_components is None else (*shape, checks.positive_int("num_components", num_components))


def jittered(key: Key, parameters: PyTree) -> PyTree:
    """Each of any real numbers, moved by noise of a tenth of its size (at least a tenth)."""
    leaves, structure = jax.tree.flatten(parameters)
    noise = lambda key, leaf: 0.1 * jnp.maximum(jnp.abs(leaf), 1) * jax.random.normal(key, leaf.shape, leaf.dtype)
    keys = jax.random.split(key, len(leaves))
    moved = [leaf + noise(each, leaf) for leaf, each in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)
