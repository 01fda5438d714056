"""Covariances with structure: what a model is made with, and what a fit keeps."""

from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp

from ssm import checks
from ssm.parameters import AbstractCovariance
from ssm.shapes import Array, Float, Scalar


@final
class Diagonal(AbstractCovariance):
    """Independent noises: `variances` (D,), or (T, D) where they vary in time.

    In the place of a covariance of `ssm.LinearGaussian`; it stays diagonal in every fit, and counts D free numbers. EM
    takes the diagonal of what it would take without this structure; a variance of zero stays zero. Raises ValueError
    for negative variances. Stored as standard deviations of either sign.
    """

    is_entrywise: ClassVar[bool] = True

    scale: Float[Array, "*batch D"]

    def __init__(self, variances: Array):
        self.scale = jnp.sqrt(_variances(variances, ("D",)))

    @property
    def lower(self) -> Float[Array, "*batch D D"]:
        """diag(scale)."""
        return self.scale[..., None] * jnp.eye(self.scale.shape[-1], dtype=self.scale.dtype)

    @property
    def root(self) -> Float[Array, "*batch D D"]:
        """The same."""
        return self.lower

    def fitted(self, root: Float[Array, "*batch D D"]) -> "Diagonal":
        """The diagonal of root rootᵀ."""
        return Diagonal(jnp.sum(root**2, axis=-1))

    def wishart(self, degrees: Scalar, scale: Float[Array, "D"]) -> tuple[Scalar, Float[Array, "D D"]]:
        """ν + 2 of each variance, and the diagonal matrix of all Ψ."""
        return degrees + 2, jnp.diag(scale)

    @property
    def shape_of_scale(self) -> tuple[int, ...]:
        """(D,)."""
        return self.scale.shape[-1:]


@final
class Spherical(AbstractCovariance):
    """Independent noises of one variance: a number, or (T,) where it varies in time, and `size`, D.

    As `Diagonal`, with one free number; EM takes the mean of the diagonal.
    """

    scale: Float[Array, "*batch"]
    size: int = eqx.field(static=True)

    def __init__(self, variance: Array | float, size: int):
        self.scale = jnp.sqrt(_variances(variance, ()))
        self.size = checks.positive_int("size", size)

    @property
    def lower(self) -> Float[Array, "*batch D D"]:
        """scale I."""
        return self.scale[..., None, None] * jnp.eye(self.size, dtype=self.scale.dtype)

    @property
    def root(self) -> Float[Array, "*batch D D"]:
        """The same."""
        return self.lower

    def fitted(self, root: Float[Array, "*batch D D"]) -> "Spherical":
        """The mean of the diagonal of root rootᵀ."""
        return Spherical(jnp.mean(jnp.sum(root**2, axis=-1), axis=-1), self.size)

    def wishart(self, degrees: Scalar, scale: Scalar) -> tuple[Scalar, Float[Array, "D D"]]:
        """As if each component had its share of one observation."""
        return (degrees + 2) / self.size, scale / self.size * jnp.eye(self.size, dtype=scale.dtype)

    @property
    def shape_of_scale(self) -> tuple[int, ...]:
        """(), a number."""
        return ()


def _variances(values: object, axes: tuple[str, ...]) -> Array:
    """Numbers of at least zero, with these axes, or a leading axis T before them."""
    timed = jnp.ndim(jnp.asarray(values)) == len(axes) + 1
    return checks.non_negatives("variances", values, ("T", *axes) if timed else axes)
