"""M-steps by numbers: least squares that survive collinear inputs, and Newton's method that never goes down."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ssm.linalg import multiply
from ssm.shapes import Array, Float, Scalar

HALVINGS = 20  # a step 2^-20 of Newton's is no step: the maximum is found, to rounding


def solve_semidefinite(matrix: Float[Array, "D D"], right: Float[Array, "D *J"]) -> Float[Array, "D *J"]:
    """The shortest solution x of `matrix @ x = right` for a positive semi-definite matrix, of any rank.

    Rows and columns are first scaled to a unit diagonal, so that units do not decide what counts as singular;
    directions without a spread beyond rounding get nothing.
    """
    spread = jnp.sqrt(jnp.diagonal(matrix))
    scale = jnp.where(spread > 0, 1 / jnp.where(spread > 0, spread, 1), 0)
    values, vectors = jnp.linalg.eigh(matrix * scale[:, None] * scale)
    kept = values > matrix.shape[0] * jnp.finfo(matrix.dtype).eps * jnp.max(values)
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)
    columns = right.reshape(right.shape[0], -1)
    solved = multiply(vectors * inverse, vectors.T, scale[:, None] * columns)
    return (scale[:, None] * solved).reshape(right.shape)


def newton(
    objective: Callable[[Float[Array, "D"]], Scalar],
    slopes: Callable[[Float[Array, "D"]], tuple[Float[Array, "D"], Float[Array, "D D"]]],
    start: Float[Array, "D"],
    num_steps: int = 25,
) -> Float[Array, "D"]:
    """The maximum of a concave function, or the best point of `num_steps` Newton steps; never below `start`.

    `slopes` gives the gradient and minus the Hessian. A step that would lower the objective is halved until it
    does not (Nocedal & Wright 2006, section 3.1). Works under jit and vmap.
    """

    def worse(carry: tuple, point: Array, value: Array, step: Array) -> Array:
        share, halved = carry
        return ~(objective(point + share * step) >= value) & (halved < HALVINGS)

    def improve(carry: tuple) -> tuple:
        point, value, count, _ = carry
        gradient, curvature = slopes(point)
        step = solve_semidefinite(curvature, gradient)
        whole = (jnp.ones((), point.dtype), jnp.zeros((), int))
        halve = lambda carry: (carry[0] / 2, carry[1] + 1)
        share, _ = jax.lax.while_loop(lambda carry: worse(carry, point, value, step), halve, whole)
        reached = objective(point + share * step)
        better = reached > value
        return jnp.where(better, point + share * step, point), jnp.where(better, reached, value), count + 1, better

    unfinished = lambda carry: carry[3] & (carry[2] < num_steps)
    begin = (start, objective(start), jnp.zeros((), int), jnp.ones((), bool))
    return jax.lax.while_loop(unfinished, improve, begin)[0]
