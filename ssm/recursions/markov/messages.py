"""What the future says of the states of a chain."""

import jax
import jax.numpy as jnp

from ssm.numeric.logspace import finite_max
from ssm.shapes import Array, Float
from ssm.steps import Step
from ssm.transitions.base import AbstractTransition


def messages(dynamics: AbstractTransition, prepared: Step) -> Float[Array, "T K"]:
    """log p(y_t+1 .. y_T | x_t), each row up to a constant: what the future says, whatever is observed at t."""
    values = prepared.y.values
    start = jnp.zeros_like(values[0])

    def back(message: Float[Array, "K"], at: tuple) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
        row, u, seen, first, padding = at
        here = row - finite_max(row) + message
        if seen is not None:
            here = jnp.where(jnp.any(seen), here, message)
        before = dynamics.pull_logs(here, u)
        before = before - finite_max(before)
        for nothing in (first, padding):  # no news of the past across a start, nor from padding
            before = before if nothing is None else jnp.where(nothing, start, before)
        return before, message

    steps = (values, prepared.u.transition, prepared.observed, prepared.first, prepared.padding)
    return jax.lax.scan(back, start, steps, reverse=True)[1]
