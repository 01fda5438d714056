"""Densities of the observed components alone."""

import distrax
import jax.numpy as jnp

from ssm.distributions.families import Distribution
from ssm.linalg import empty_pivots, solve_lower, triangular_root
from ssm.shapes import Array, Bool, Float


def marginal_log_prob(distribution: Distribution, y: Array, observed: Bool[Array, "*event"]) -> Array:
    """log-density of the observed components of y alone, the others integrated out.

    Knows products of independent components and multivariate normals; raises TypeError for others.
    """
    if isinstance(distribution, distrax.Independent) and distribution.distribution.event_shape == ():
        terms = jnp.where(observed, distribution.distribution.log_prob(y), 0)
        return jnp.sum(terms, axis=tuple(range(-len(distribution.event_shape), 0)))
    if isinstance(distribution, distrax.MultivariateNormalDiag):
        parts = distrax.Normal(distribution.loc, distribution.stddev())
        return jnp.sum(jnp.where(observed, parts.log_prob(y), 0), axis=-1)
    if isinstance(distribution, distrax.MultivariateNormalFromBijector):
        root = jnp.linalg.cholesky(distribution.covariance())
        return log_normal_density(y - distribution.mean(), root, observed)
    raise TypeError(
        f"mask: cannot leave out single components of a {type(distribution).__name__}; emit a product of "
        "independent components or a multivariate normal, or mask whole time steps"
    )


def log_normal_density(
    residual: Float[Array, "N"], root: Float[Array, "N N"], observed: Bool[Array, "N"] | None = None
) -> Float[Array, ""]:
    """log N(residual; 0, root rootᵀ), over the observed components alone.

    A direction of zero variance says nothing when its residual is zero, and makes the density zero (-inf)
    when it is not.
    """
    size = residual.shape[-1]
    if observed is not None:
        # Rows of the root that belong to the observed components, the rest replaced by unit noise of their own.
        kept = jnp.where(observed[:, None], root, 0)
        own = jnp.diag(jnp.where(observed, 0, 1).astype(root.dtype))
        root = triangular_root(jnp.concatenate([kept, own], axis=1))
        residual = jnp.where(observed, residual, 0)
        size = jnp.sum(observed).astype(root.dtype)
    empty = empty_pivots(root)
    whitened = solve_lower(root, residual)
    pivot = jnp.where(empty, 1, jnp.abs(jnp.diagonal(root)))
    dimension = size - jnp.sum(empty).astype(root.dtype)
    constant = 0.5 * jnp.log(2 * jnp.pi).astype(root.dtype)
    density = -0.5 * jnp.sum(whitened**2) - jnp.sum(jnp.log(pivot)) - dimension * constant
    # What the empty directions should read, given the others, up to rounding of the numbers it was made from.
    leftover = jnp.abs(residual - root @ whitened)
    rounding = jnp.sqrt(jnp.finfo(root.dtype).eps) * (jnp.abs(residual) + jnp.sqrt(jnp.sum(root**2, axis=1)))
    return jnp.where(jnp.any(empty & (leftover > rounding)), -jnp.inf, density)
