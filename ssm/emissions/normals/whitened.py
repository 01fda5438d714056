"""Densities of correlated normal components: many observations at once, states first."""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ssm.distributions import log_normal_density
from ssm.emissions.common.components import UNROLLED
from ssm.numeric.linalg import multiply
from ssm.numeric.missing import by_parts
from ssm.shapes import Array, Bool, Float

# Partly missing vectors that are in memory together: faster than all at once, 71 against 112 ms for 50000.
AT_ONCE = 512


def correlated_rows(
    residual: Callable[[int | slice], Float[Array, "K *N M"]], roots: Float[Array, "K N N"]
) -> Float[Array, "K M"]:
    """log N(residual; 0, roots[k] roots[k]ᵀ) for lower-triangular roots, K states and M observations.

    `residual(n)` is that of component n, (K, M), or of all of them, (K, N, M). Residuals are multiplied by the inverse
    roots, which is six times as fast as a triangular solve per state (K = 5, N = 3, CPU).
    """
    size = roots.shape[-1]
    eye = jnp.broadcast_to(jnp.eye(size, dtype=roots.dtype), roots.shape)
    inverse = jax.scipy.linalg.solve_triangular(roots, eye, lower=True)
    if size <= UNROLLED:
        parts = [residual(n) for n in range(size)]

        def whitened(n: int) -> Float[Array, "K M"]:
            terms = (inverse[:, n, j, None] * parts[j] for j in range(n + 1))
            return functools.reduce(operator.add, terms)

        squares = functools.reduce(operator.add, [whitened(n) ** 2 for n in range(size)])
    else:
        squares = jnp.sum(multiply(inverse, residual(slice(None))) ** 2, axis=1)
    log_scale = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(roots, axis1=-2, axis2=-1))), axis=-1)
    constant = 0.5 * size * jnp.log(2 * jnp.pi).astype(roots.dtype)
    return -0.5 * squares - (log_scale + constant)[:, None]


def residual_rows(
    residual: Callable[[int | slice], Float[Array, "K *N M"]],
    roots: Float[Array, "K N N"],
    observed: Bool[Array, "M *parts"] | None,
) -> Float[Array, "K M"]:
    """As `correlated_rows`, over the observed components; with a factorisation per time where some are missing."""
    whole = lambda: correlated_rows(residual, roots)
    if observed is None or observed.ndim == 1:
        return whole()
    each_state = jax.vmap(log_normal_density, (0, 0, None))
    one = lambda time: each_state(time[0], roots, time[1])

    def parts() -> Float[Array, "M K"]:
        times = jnp.moveaxis(residual(slice(None)), 2, 0), observed
        return jax.lax.map(one, times, batch_size=min(len(observed), AT_ONCE))

    return by_parts(observed, lambda: whole().T, parts).T
