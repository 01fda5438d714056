"""Nonlinear recursions in parallel: guess the whole path, linearise every step, solve, repeat."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ssm.beliefs import Point
from ssm.maps.affine import AffineMap
from ssm.numeric.trees import length
from ssm.recursion import AbstractDeterministicRecursion
from ssm.schedules.associative import compose, walk_from_neighbours
from ssm.schedules.base import AbstractSchedule, Walk
from ssm.shapes import Array, Float, PyTree
from ssm.steps import Step


class FixedPoint(AbstractSchedule):
    """Newton sweeps over the path of a deterministic recursion h_t = f_t(h_{t-1}).

    Each sweep solves h_t = f_t(g_{t-1}) + J_t (h_{t-1} - g_{t-1}) around the last guess g, an affine recursion,
    by `lax.associative_scan`: log T deep, D³ work and D² memory per step (DEER: Lim et al. 2024, ICLR).
    It is exact after at most T sweeps and usually after a handful; sweeps end when no entry of the path
    moved by more than `tol`. Gradients are those of the fixed point (implicit differentiation), not of
    the sweeps. Raises RuntimeError, also under jit, if `max_sweeps` were not enough.
    """

    requires = AbstractDeterministicRecursion

    tol: float | None = eqx.field(static=True, default=None)  # None: 1e-6 in float32, 1e-12 in float64
    max_sweeps: int = eqx.field(static=True, default=100)

    def run(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """See `AbstractSchedule.run`."""
        path = self._solve(*_constant((walk, belief, steps)))
        # One more sweep around the solution: its value is the solution, and because the Jacobians are constants
        # of it, its derivative solves (I - J) dh = ∂f/∂θ, which is the implicit function theorem.
        path = _sweep(walk, belief, path, steps)
        unravel = ravel_pytree(belief)[1]
        return walk_from_neighbours(walk, belief, jax.vmap(unravel)(path), steps)

    def _solve(self, walk: Walk, belief: Any, steps: Step) -> Float[Array, "T D"]:
        start = ravel_pytree(belief)[0]
        tolerance = self.tol or {4: 1e-6, 8: 1e-12}[start.dtype.itemsize]
        guess = jnp.broadcast_to(start, (length(steps.t),) + start.shape)

        def unfinished(carry):
            _, change, sweeps = carry
            return (change > tolerance) & (sweeps < self.max_sweeps)

        def sweep(carry):
            path, _, sweeps = carry
            new = _sweep(walk, belief, path, steps)
            return new, jnp.max(jnp.abs(new - path)), sweeps + 1

        infinite = jnp.asarray(jnp.inf, start.dtype)
        path, change, _ = jax.lax.while_loop(unfinished, sweep, (guess, infinite, 0))
        return eqx.error_if(
            path,
            change > tolerance,
            f"FixedPoint: the path still moved by more than tol={tolerance} after max_sweeps={self.max_sweeps}; "
            "allow more sweeps, or use the sequential schedule for an unstable recursion",
        )


def _sweep(walk: Walk, belief: Any, path: Float[Array, "T D"], steps: Step) -> Float[Array, "T D"]:
    """Solve the recursion linearised around `path`."""
    start, unravel = ravel_pytree(belief)
    forward = lambda flat, step: ravel_pytree(walk(unravel(flat), step)[0])[0]
    before = jnp.concatenate([start[None], path[:-1]])  # (T, D)
    value = jax.vmap(forward)(before, steps)
    jacobian = jax.lax.stop_gradient(jax.vmap(jax.jacfwd(forward))(before, steps))  # (T, D, D)
    offset = value - jnp.einsum("tij,tj->ti", jacobian, before, precision="highest")
    prefixes = jax.lax.associative_scan(jax.vmap(compose), AffineMap(jacobian, offset))
    return jax.vmap(lambda prefix: prefix.apply(Point(start)).state)(prefixes)


def _constant(tree: PyTree) -> PyTree:
    """The tree with its arrays cut off from differentiation."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree)
