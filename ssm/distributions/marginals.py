"""Single components of a distribution, and densities of the observed components alone."""

from collections.abc import Callable
from typing import Any

import distrax
import equinox as eqx
import jax.numpy as jnp

from ssm.numeric.roots import empty_pivots, solve_lower, triangular_root
from ssm.shapes import Array, Bool, Float

# What the components of a multivariate family are, each on its own: a new family adds one line. Univariate families
# and products of independent ones need none.
MARGINALS: dict[type, Callable[[Any], Any]] = {
    distrax.MultivariateNormalDiag: lambda joint: distrax.Normal(joint.mean(), joint.stddev()),
    distrax.MultivariateNormalFromBijector: lambda joint: distrax.Normal(joint.mean(), joint.stddev()),
}

# The log-density of some components of a multivariate family, (distribution, y, observed): one line, too.
PARTIAL: dict[type, Callable[[Any, Array, Array], Array]] = {
    distrax.MultivariateNormalFromBijector: lambda joint, y, observed: log_normal_density(
        y - joint.mean(), jnp.linalg.cholesky(joint.covariance()), observed
    ),
}


def marginals(distribution: Any) -> Any:
    """The univariate distributions of the components, as one distribution whose batch axes they are.

    Raises TypeError for multivariate families that are not in `MARGINALS`.
    """
    if isinstance(distribution, distrax.Independent):
        return marginals(distribution.distribution)
    if distribution.event_shape == ():
        return distribution
    return _look_up(MARGINALS, distribution, "quantile: no marginal distributions are known for")(distribution)


def marginal_log_prob(distribution: Any, y: Array, observed: Bool[Array, "*event"]) -> Array:
    """log-density of the observed components of y alone, the others integrated out.

    Knows products of independent components, what is in `PARTIAL`, and distributions that have a
    `marginal_log_prob(y, observed)` of their own; raises TypeError for others.
    """
    if hasattr(distribution, "marginal_log_prob"):
        return distribution.marginal_log_prob(y, observed)
    if isinstance(distribution, distrax.Independent) and distribution.distribution.event_shape == ():
        terms = jnp.where(observed, distribution.distribution.log_prob(y), 0)
        return jnp.sum(terms, axis=tuple(range(-len(distribution.event_shape), 0)))
    if isinstance(distribution, distrax.MultivariateNormalDiag):
        parts = distrax.Normal(distribution.loc, distribution.stddev())
        return jnp.sum(jnp.where(observed, parts.log_prob(y), 0), axis=-1)
    return _look_up(PARTIAL, distribution, "mask: cannot leave out single components of")(distribution, y, observed)


class UnknownMarginals(TypeError):
    """A family whose single components are not known."""


def is_known(density: Callable, *arguments: Any) -> bool:
    """Whether `density(*arguments)`, which is not computed, needs no marginal distribution that is not known."""
    try:
        eqx.filter_eval_shape(density, *arguments)
    except UnknownMarginals:
        return False
    return True


def _look_up(table: dict[type, Callable], distribution: Any, problem: str) -> Callable:
    for family, function in table.items():
        if isinstance(distribution, family):
            return function
    raise UnknownMarginals(
        f"{problem} a {type(distribution).__name__}; emit a product of independent components or a multivariate "
        "normal, draw samples with Forecast.sample instead of quantiles, or mask whole time steps"
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
