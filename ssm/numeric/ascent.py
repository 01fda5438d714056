"""Uphill where no closed form exists: a few quasi-Newton steps that never end lower than they began."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ssm.numeric.trees import select
from ssm.shapes import PyTree, Scalar


def climb(objective: Callable[[PyTree], Scalar], parameters: PyTree, num_steps: int = 10) -> PyTree:
    """The best parameters among `num_steps` steps of L-BFGS up the objective, the given ones included.

    With optax's L-BFGS and its zoom line search (Nocedal & Wright 2006, chapters 3 and 7). Works under jit and vmap.
    """
    loss = lambda these: -objective(these)
    optimiser = optax.lbfgs()
    value_and_gradient = optax.value_and_grad_from_state(loss)

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        these, memory, best, lowest = carry
        value, gradient = value_and_gradient(these, state=memory)
        best, lowest = select(value < lowest, these, best), jnp.fmin(value, lowest)
        with jax.numpy_dtype_promotion("standard"):  # its line search counts in int32, also where integers are int64
            updates, memory = optimiser.update(gradient, memory, these, value=value, grad=gradient, value_fn=loss)
        return (optax.apply_updates(these, updates), memory, best, lowest), None

    start = (parameters, optimiser.init(parameters), parameters, loss(parameters))
    (these, _, best, lowest), _ = jax.lax.scan(step, start, length=num_steps)
    return select(loss(these) < lowest, these, best)
