"""Starting values taken from data."""

import jax
import jax.numpy as jnp
import numpy as np

from ssm import checks
from ssm.shapes import Array, Bool, Float, Key


def spread_out(
    key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
) -> Float[Array, "K *event"]:
    """K observed data points, each drawn with probability ∝ squared distance to the nearest one before it.

    The seeding of k-means++ (Arthur & Vassilvitskii 2007). Raises ValueError for integer data.
    """
    checks.positive_int("num_states", num_states)
    ys = checks.real("ys", ys, ("M",) if np.ndim(ys) == 1 else ("M", "N"))
    seen = jnp.ones(ys.shape[0], bool) if observed is None else observed
    flat = ys.reshape(ys.shape[0], -1)
    scaled = flat / jnp.maximum(standard_deviation(flat, seen), jnp.finfo(flat.dtype).tiny)

    keys = jax.random.split(key, num_states)
    tiny = jnp.finfo(flat.dtype).tiny  # repeated data points: keep the draw defined when all distances are zero
    nearest = jnp.ones(ys.shape[0], flat.dtype)
    chosen = []
    for i, each in enumerate(keys):
        pick = jax.random.categorical(each, jnp.where(seen, jnp.log(nearest), -jnp.inf))
        distance = jnp.sum((scaled - scaled[pick]) ** 2, axis=1) + tiny
        nearest = distance if i == 0 else jnp.minimum(nearest, distance)
        chosen.append(pick)
    return ys[jnp.stack(chosen)]


def standard_deviation(
    ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
) -> Float[Array, "*event"]:
    """Per component, over the observed rows."""
    if observed is None:
        return jnp.std(ys, axis=0)
    return jnp.std(ys, axis=0, where=observed.reshape((-1,) + (1,) * (ys.ndim - 1)))
