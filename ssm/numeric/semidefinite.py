"""Least squares that survive collinear inputs, and Newton steps that never go down."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ssm.numeric.roots import semidefinite_root, solve_lower, solve_lower_transposed
from ssm.shapes import Array, Float, Scalar

HALVINGS = 20  # a step 2^-20 of Newton's is no step: the maximum is found, to rounding


def solve_semidefinite(matrix: Float[Array, "D D"], right: Float[Array, "D *J"]) -> Float[Array, "D *J"]:
    """A solution x of `matrix @ x = right` for a positive semi-definite matrix of any rank.

    Rows and columns are first scaled to a unit diagonal, so that units do not decide what counts as singular;
    where rows depend on the ones before them, the later entries of x are zero.
    """
    spread = jnp.sqrt(jnp.diagonal(matrix))
    scale = jnp.where(spread > 0, 1 / jnp.where(spread > 0, spread, 1), 0)
    root = semidefinite_root(matrix * scale[:, None] * scale)
    columns = scale[:, None] * right.reshape(right.shape[0], -1)
    solved = solve_lower_transposed(root, solve_lower(root, columns))
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

    def improve(carry: tuple) -> tuple:
        point, value, count, _ = carry
        gradient, curvature = slopes(point)
        step = solve_semidefinite(curvature, gradient)

        # What was reached is carried, never worked out again to decide whether to go on: under vmap a loop asks twice,
        # and two roundings of one number that disagree would keep it running for ever.
        def halve(carry: tuple) -> tuple:
            share, _, halved = carry
            return share / 2, objective(point + share / 2 * step), halved + 1

        worse = lambda carry: ~(carry[1] >= value) & (carry[2] < HALVINGS)
        whole = (jnp.ones((), point.dtype), objective(point + step), jnp.zeros((), int))
        share, reached, _ = jax.lax.while_loop(worse, halve, whole)
        better = reached > value
        return jnp.where(better, point + share * step, point), jnp.where(better, reached, value), count + 1, better

    unfinished = lambda carry: carry[3] & (carry[2] < num_steps)
    begin = (start, objective(start), jnp.zeros((), int), jnp.ones((), bool))
    return jax.lax.while_loop(unfinished, improve, begin)[0]
