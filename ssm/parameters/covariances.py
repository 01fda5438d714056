"""Covariances as parameters: what all of them say, and those without structure."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric.linalg import square
from ssm.numeric.protocols import unwritten
from ssm.numeric.roots import as_triangular, empty_pivots, semidefinite_root
from ssm.parameters.base import AbstractParameter
from ssm.shapes import Array, Bool, Float, PyTree, Scalar


class AbstractCovariance(AbstractParameter):
    """A positive semi-definite matrix, stored as what makes a lower-triangular square root of it.

    The root is what square-root filters compute with; its diagonal may be zero or negative, so singular
    covariances need no special case and gradient steps can cross zero.
    """

    root: eqx.AbstractVar[Float[Array, "*batch D D"]]  # right of a pivot that is not zero it is not read

    def constrained(self) -> Self:
        """Itself: the recursions use the root, not the product."""
        return self

    @property
    def num_dims(self) -> int:
        """D."""
        return self.root.shape[-1]

    @property
    def lower(self) -> Float[Array, "*batch D D"]:
        """The lower-triangular square root."""
        raise unwritten(self)

    @property
    def matrix(self) -> Float[Array, "*batch D D"]:
        """root @ rootᵀ."""
        return square(self.lower)

    def fitted(self, root: Float[Array, "*batch D D"]) -> Self:
        """That of this structure under which noise of covariance root @ rootᵀ has the highest expected density."""
        raise unwritten(self)

    def entries_among(self, known: Bool[np.ndarray, "D"]) -> PyTree:
        """This tree with booleans as leaves: True at the numbers that are of these components alone."""
        raise unwritten(self)

    def tells_apart(self, known: Bool[np.ndarray, "D"]) -> bool:
        """Whether no variance is of these components and of others."""
        return True

    def wishart(self, degrees: Scalar, scale: Array) -> tuple[Scalar, Float[Array, "D D"]]:
        """n and S of the density of an inverse-Wishart, which is -½ (n log |R| + tr R⁻¹ S) up to a constant."""
        raise unwritten(self)

    @property
    def shape_of_scale(self) -> tuple[int, ...]:
        """The shape of the scale of an inverse-Wishart."""
        raise unwritten(self)


class Covariance(AbstractCovariance):
    """A covariance without structure, stored as its root.

    A row without a pivot may go on to the right of the diagonal: so it comes to vary with the rows below.
    """

    root: Float[Array, "*batch D D"]

    def free_entries(self) -> PyTree:
        """What lies on or below the diagonal."""
        below: Any = np.tril(np.ones(self.root.shape, bool))
        return Covariance(below)

    @property
    def lower(self) -> Float[Array, "*batch D D"]:
        """The square root: lower-triangular once it is constrained, as `of` makes it."""
        below = jnp.tril(self.root)
        return jnp.where(empty_pivots(below)[..., None], self.root, below)

    def constrained(self) -> "Covariance":
        """With a root that is triangular."""
        flat = self.lower.reshape(-1, *self.root.shape[-2:])
        return Covariance(as_triangular(flat).reshape(self.root.shape))

    def fitted(self, root: Float[Array, "*batch D D"]) -> "Covariance":
        """That of this root."""
        return Covariance(root)

    def entries_among(self, known: Bool[np.ndarray, "D"]) -> PyTree:
        """Rows and columns."""
        both: Any = np.outer(known, known)
        return Covariance(both)

    def wishart(self, degrees: Scalar, scale: Float[Array, "D D"]) -> tuple[Scalar, Float[Array, "D D"]]:
        """ν + D + 1, and Ψ."""
        return degrees + scale.shape[0] + 1, scale

    @property
    def shape_of_scale(self) -> tuple[int, ...]:
        """(D, D)."""
        return self.root.shape[-2:]

    @classmethod
    def of(cls, matrix: Float[Array, "*batch D D"]) -> "Covariance":
        """The parameter whose value is `matrix`; singular matrices are welcome."""
        flat = matrix.reshape((-1,) + matrix.shape[-2:])
        return cls(jax.vmap(semidefinite_root)(flat).reshape(matrix.shape))
