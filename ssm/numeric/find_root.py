"""Roots of many increasing functions of one variable at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ssm.shapes import Array, Float


def increasing_root(
    function: Callable[[Array], Array],
    low: Float[Array, "*shape"],
    high: Float[Array, "*shape"],
    start: Float[Array, "*shape"],
    num_steps: int = 40,
) -> Float[Array, "*shape"]:
    """x in [low, high] with function(x) = 0 elementwise; the nearer end if there is none.

    Newton steps; where one would leave what is left of the interval, the interval is halved instead.
    """

    def step(_, state):
        low, high, x = state
        value, slope = jax.jvp(function, (x,), (jnp.ones_like(x),))
        low, high = jnp.where(value < 0, x, low), jnp.where(value < 0, high, x)
        newton = x - value / jnp.where(slope > 0, slope, 1)
        inside = (slope > 0) & (newton >= low) & (newton <= high)
        return low, high, jnp.where(inside, newton, (low + high) / 2)

    return jax.lax.fori_loop(0, num_steps, step, (low, high, jnp.clip(start, low, high)))[2]
