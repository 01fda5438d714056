"""Walks over the components of an event and its flags: arrays with an axis for each of M, K and N are never made."""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ssm.numeric.linalg import multiply
from ssm.numeric.trees import index, widen
from ssm.shapes import Array, Bool, Float, PyTree

# Up to this many components are taken one by one in a loop that the compiler sees whole: 3 against 80 ns a step for
# normals (K = 5, N = 3, CPU).
UNROLLED = 8


def row_sums(rows: Float[Array, "K M"]) -> Float[Array, "K"]:
    """Σ_m: a sum along long rows is slow unless a matrix product does it."""
    return multiply(rows, jnp.ones((rows.shape[1], 1), rows.dtype))[:, 0]


def each_component(function: Callable, rows: tuple, *parameters: Array) -> PyTree:
    """function(*rows (M,), *parameters (K,)), component by component; its results (K,) as (K, *event).

    Shapes: `rows` (M, *event) each, or None, but not the first.
    """
    if rows[0].ndim == 1:
        return function(*rows, *parameters)
    columns = jax.tree.map(jnp.transpose, (*rows, *parameters))
    if len(columns[0]) <= UNROLLED:
        each = [function(*index(columns, n)) for n in range(len(columns[0]))]
        return jax.tree.map(lambda *results: jnp.stack(results, axis=-1), *each)
    stacked = jax.lax.map(lambda each: function(*each), columns)
    return jax.tree.map(lambda results: jnp.moveaxis(results, 0, -1), stacked)


def sum_components(
    density: Callable, rows: tuple, seen: Bool[Array, "T *event"] | None, *parameters: Array
) -> Float[Array, "T K"]:
    """Σ_n density(*rows (T, 1), *parameters (K, ...)) (T, K) over the components that were seen.

    Shapes: `rows` (T, *event), `parameters` (K, *event, ...).
    """

    def one(there: Array | None, values: tuple, *parameters: Array) -> Array:
        terms = density(*(row[:, None] for row in values), *parameters)
        return terms if there is None else jnp.where(there[:, None], terms, 0)

    if rows[0].ndim == 1:
        return one(seen, rows, *parameters)
    columns = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), (seen, rows, *parameters))
    if rows[0].shape[1] <= UNROLLED:
        return functools.reduce(operator.add, [one(*index(columns, n)) for n in range(rows[0].shape[1])])
    nothing = jnp.zeros((len(rows[0]), len(parameters[0])), parameters[0].dtype)
    return jax.lax.scan(lambda total, each: (total + one(*each), None), nothing, columns)[0]


def by_component(observed: Bool[Array, "M *parts"] | None, ys: Array) -> Bool[Array, "M *event"] | None:
    """Flags per step (M,) or per component (M, N), as one flag per entry of ys."""
    return None if observed is None else flag_each(observed, ys)


def flag_each(observed: Bool[Array, "M *parts"], ys: Array) -> Bool[Array, "M *event"]:
    """As `by_component`, for flags that are there."""
    return jnp.broadcast_to(widen(observed, ys.ndim), ys.shape)


def weights_seen(weights: Float[Array, "M K"], observed: Bool[Array, "M *parts"] | None) -> Float[Array, "M K"]:
    """Weights that are zero where nothing of a step was seen."""
    if observed is None:
        return weights
    return jnp.where(jnp.any(observed.reshape(len(observed), -1), axis=1)[:, None], weights, 0)
