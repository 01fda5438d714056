"""The least spread that an M-step gives: without one, the likelihood of a state on a single point grows without bound.

No unit decides what is small: spreads are compared with those of the other states, with all the data and with what the
precision can tell apart. A bound that moves with the fit never lies above where the fit is: EM stays monotone.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from ssm.numeric import checks
from ssm.numeric.logspace import ratio
from ssm.numeric.roots import semidefinite_root, triangular_root
from ssm.shapes import Array, Float

# Of the typical (geometric mean) scale of the states; of that of all the data, which one far state may stretch; of a
# mean, in epsilons; and in the covariances of components of unit variance, epsilons for each component.
TYPICAL, WHOLE, ROUNDING, CONDITION = 1e-4, 1e-8, 1.0, 32.0
ROUNDING_OF_LINES = 256.0  # a mean that is a sum of products; with less, its rounding lets EM fall at the bound


def checked_minimum(minimum_scale: float | None) -> float | None:
    """None, for what the data say, or a number of at least zero."""
    return None if minimum_scale is None else checks.non_negative("minimum_scale", minimum_scale)


def smallest_scales(
    count: Float[Array, "K *event"],
    mean: Float[Array, "K *event"],
    variance: Float[Array, "K *event"],
    whole: Float[Array, "K *event"] | None = None,
    rounding: float = ROUNDING,
) -> Float[Array, "K *event"]:
    """The least standard deviation of each state and component, given what each found without a bound.

    `variance` is what a state leaves unexplained, `whole` all that there is in it, the same by default.
    """
    whole = variance if whole is None else whole
    total = jnp.sum(count, axis=0)
    middle = ratio(jnp.sum(count * mean, axis=0), total)
    spread = jnp.sqrt(ratio(jnp.sum(count * (whole + (mean - middle) ** 2), axis=0), total))
    lowest = of_all(spread, middle, WHOLE)
    typical = jnp.exp(ratio(jnp.sum(count * jnp.log(jnp.maximum(jnp.sqrt(variance), lowest)), axis=0), total))
    told_apart = rounding * float(jnp.finfo(mean.dtype).eps) * jnp.sqrt(mean**2 + whole)
    return jnp.maximum(jnp.maximum(TYPICAL * typical, lowest), told_apart)


def of_all(spread: Array, middle: Array, share: float) -> Array:
    """A share of the standard deviation of all data; where they are constant, 1e-4 of what is always seen, or 1e-4."""
    constant = spread <= float(jnp.finfo(middle.dtype).eps) * jnp.abs(middle)
    return jnp.where(constant, TYPICAL * jnp.where(middle == 0, 1, jnp.abs(middle)), share * spread)


def bounded_scale(
    count: Float[Array, "K *event"],
    variance: Float[Array, "K *event"],
    smallest: Float[Array, "K *event"],
    before: Float[Array, "..."],
    minimum: float | None,
) -> Float[Array, "..."]:
    """Standard deviations of the highest likelihood that is allowed, pooled over the axes of size one in `before`.

    At least `minimum` or, without one, `smallest`, but no more than `before`; that where nothing counts.
    """
    axes = tuple(axis for axis, size in enumerate(before.shape) if size == 1 and count.shape[axis] > 1)
    total = jnp.sum(count, axes, keepdims=True)
    pooled = lambda squares: jnp.sqrt(ratio(jnp.sum(count * squares, axes, keepdims=True), total)) if axes else squares
    scale = pooled(variance) if axes else jnp.sqrt(variance)
    if minimum is None:
        smallest = pooled(smallest**2) if axes else smallest
        scale = jnp.maximum(scale, jnp.minimum(smallest, before))
    else:
        scale = jnp.maximum(scale, minimum)
    return jnp.where(total > 0, scale, before)


def bounded_roots(
    count: Float[Array, "K"],
    covariance: Float[Array, "K N N"],
    smallest: Float[Array, "K N"],
    before: Float[Array, "K N N"],
    minimum: float | None,
) -> Float[Array, "K N N"]:
    """Triangular roots of the covariances of highest likelihood that are allowed; `before` where nothing counts.

    With bounds b on the standard deviations, B⁻¹ Σ B⁻¹ has eigenvalues of at least 1: raising those that are lower is
    the constrained maximum. `minimum` is the bound of every direction. Without one, bounds are `smallest` and what the
    precision can tell from a direction without variance, no higher than `before` has them. From eigenvectors to roots
    without forming the covariance again, which would round small variances away.
    """
    told_apart = jnp.zeros_like(smallest)
    if minimum is None:
        variance = jnp.maximum(jnp.diagonal(covariance, axis1=1, axis2=2), 0)  # as rounding may leave it
        told_apart = jnp.sqrt(CONDITION * smallest.shape[1] * float(jnp.finfo(smallest.dtype).eps) * variance)
        bounds = jnp.maximum(smallest, told_apart)
    else:
        bounds = jnp.full_like(smallest, max(minimum, float(jnp.finfo(smallest.dtype).tiny) ** 0.5))

    def raised() -> Float[Array, "K N N"]:
        # Below half of what the precision tells apart no bound goes, whatever was before.
        kept = jnp.minimum(_share_kept(before, bounds), 1) if minimum is None else jnp.ones_like(count)
        return jax.vmap(_raised)(covariance, jnp.maximum(kept[:, None] * bounds, told_apart / 2))

    roots = jax.vmap(semidefinite_root)(covariance)
    # No eigenvalue is below 1 / tr Σ⁻¹, which costs a twentieth of them. What is NaN goes the plain way, and stays NaN.
    low = inverse_trace(roots, bounds) > 1
    roots = jax.lax.cond(jnp.any(low & (count > 0)), raised, lambda: roots)
    return jnp.where(count[:, None, None] > 0, roots, before)


def inverse_trace(roots: Float[Array, "K N N"], units: Float[Array, "K N"]) -> Float[Array, "K"]:
    """tr (B⁻¹ L Lᵀ B⁻¹)⁻¹ for triangular roots L and units B, at least one over the smallest eigenvalue.

    Infinite where a pivot is empty.
    """
    eye = jnp.broadcast_to(jnp.eye(roots.shape[1], dtype=roots.dtype), roots.shape)
    singular = jnp.any(jnp.diagonal(roots, axis1=1, axis2=2) == 0, axis=1)
    inverse = solve_triangular(jnp.where(singular[:, None, None], eye, roots), eye, lower=True)
    return jnp.where(singular, jnp.inf, jnp.sum((inverse * units[:, None]) ** 2, axis=(1, 2)))


def _share_kept(roots: Float[Array, "K N N"], bounds: Float[Array, "K N"]) -> Float[Array, "K"]:
    """The share of the bounds that these covariances keep to: below 1 where bounds have grown with the components."""
    return jnp.min(jnp.linalg.svd(roots / bounds[..., None], compute_uv=False), axis=1)


def _raised(covariance: Float[Array, "N N"], bounds: Float[Array, "N"]) -> Float[Array, "N N"]:
    """The root of a covariance whose eigenvalues, in units of the bounds, are raised to at least 1."""
    values, vectors = _eigen(covariance, bounds)
    raised = triangular_root(bounds[:, None] * vectors * jnp.sqrt(jnp.maximum(values, 1)))
    return jnp.where(jnp.min(values) >= 1, semidefinite_root(covariance), raised)


def _eigen(covariance: Float[Array, "*batch N N"], bounds: Float[Array, "*batch N"]) -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors in units of the bounds."""
    scaled = covariance / bounds[..., :, None] / bounds[..., None, :]
    return jnp.linalg.eigh((scaled + jnp.swapaxes(scaled, -1, -2)) / 2)
