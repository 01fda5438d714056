"""Covariances with structure: what a model is made with, and what a fit keeps."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.numeric.roots import triangular_root
from ssm.parameters.covariances import AbstractCovariance, Covariance
from ssm.shapes import Array, Bool, Float, PyTree, Scalar


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

    def entries_among(self, known: Bool[np.ndarray, "D"]) -> PyTree:
        """These."""
        return eqx.tree_at(lambda covariance: covariance.scale, self, known)

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

    def entries_among(self, known: Bool[np.ndarray, "D"]) -> PyTree:
        """All or none."""
        return eqx.tree_at(lambda covariance: covariance.scale, self, known.all())

    def tells_apart(self, known: Bool[np.ndarray, "D"]) -> bool:
        """Where these are all components or none."""
        return bool(known.all() or not known.any())

    def wishart(self, degrees: Scalar, scale: Scalar) -> tuple[Scalar, Float[Array, "D D"]]:
        """As if each component had its share of one observation."""
        return (degrees + 2) / self.size, scale / self.size * jnp.eye(self.size, dtype=scale.dtype)

    @property
    def shape_of_scale(self) -> tuple[int, ...]:
        """(), a number."""
        return ()


@final
class BlockDiagonal(AbstractCovariance):
    """Noises in groups that are independent of each other: the covariances of the groups, one after the other.

    `blocks`: a sequence of matrices, `ssm.Diagonal`, `ssm.Spherical` or blocks again; those that vary in time have the
    same leading axis T. In the place of a covariance of `ssm.LinearGaussian`; what lies outside of the blocks stays
    zero in every fit, and EM takes the blocks of what it would take without this structure, each in its own form.
    Single blocks are frozen by their number::

        noise = ssm.BlockDiagonal([sensors, ssm.Spherical(0.1, 3)])
        ssm.fit(model, ys, ssm.EM(), frozen=["emission_covariance.blocks.0"])  # the first is known

    Counts the free numbers of its blocks. Raises ValueError where there is no block and for wrong ones; there is no
    inverse-Wishart prior of several blocks.
    """

    blocks: tuple[AbstractCovariance, ...]

    def __init__(self, blocks: Sequence[Array | AbstractCovariance]):
        self.blocks = tuple(_block(f"blocks[{i}]", block) for i, block in enumerate(blocks))
        if not self.blocks:
            raise ValueError("blocks: expected at least one")
        times = {block.lower.shape[0] for block in self.blocks if block.lower.ndim == 3}
        if len(times) > 1:
            raise ValueError(f"blocks: those that vary in time must share their leading axis T, got {sorted(times)}")

    @property
    def num_dims(self) -> int:
        """The sum of those of the blocks."""
        return sum(block.num_dims for block in self.blocks)

    @property
    def lower(self) -> Float[Array, "*batch D D"]:
        """The roots of the blocks, one after the other."""
        roots = [block.lower for block in self.blocks]
        lead, rows, end = np.broadcast_shapes(*(root.shape[:-2] for root in roots)), [], 0
        for root in roots:
            begin, end = end, end + root.shape[-1]
            wide = jnp.broadcast_to(root, (*lead, *root.shape[-2:]))
            rows.append(jnp.pad(wide, [(0, 0)] * (wide.ndim - 1) + [(begin, self.num_dims - end)]))
        return jnp.concatenate(rows, axis=-2)

    @property
    def root(self) -> Float[Array, "*batch D D"]:
        """The same."""
        return self.lower

    def free_entries(self) -> PyTree:
        """As the blocks say."""
        return self._each(lambda block, _: block.free_entries(), np.zeros(self.num_dims))

    def fitted(self, root: Float[Array, "D D"]) -> "BlockDiagonal":
        """The blocks of root rootᵀ."""
        return self._each(lambda block, rows: block.fitted(triangular_root(rows)), root)

    def entries_among(self, known: Bool[np.ndarray, "D"]) -> PyTree:
        """As the blocks say."""
        return self._each(lambda block, known: block.entries_among(known), known)

    def tells_apart(self, known: Bool[np.ndarray, "D"]) -> bool:
        """Where all blocks do."""
        return all(block.tells_apart(rows) for block, rows in self._with_rows(known))

    @property
    def shape_of_scale(self) -> tuple[int, ...]:
        """None."""
        raise ValueError("degrees: blocks of a covariance have no inverse-Wishart prior together; leave degrees out")

    def _each(self, function: Callable[[AbstractCovariance, Any], PyTree], rows: Any) -> "BlockDiagonal":
        """A function of each block and of its rows."""
        found = tuple(function(block, those) for block, those in self._with_rows(rows))
        return eqx.tree_at(lambda covariance: covariance.blocks, self, found)

    def _with_rows(self, rows: Any) -> list[tuple[AbstractCovariance, Any]]:
        ends = np.cumsum([block.num_dims for block in self.blocks])
        return [(block, rows[end - block.num_dims : end]) for block, end in zip(self.blocks, ends, strict=True)]


def _block(name: str, block: Any) -> AbstractCovariance:
    if isinstance(block, AbstractCovariance):
        return block
    axes = ("T", "D", "D") if np.ndim(block) == 3 else ("D", "D")
    return Covariance.of(checks.covariance(name, block, axes))


def _variances(values: object, axes: tuple[str, ...]) -> Array:
    """Numbers of at least zero, with these axes, or a leading axis T before them."""
    timed = jnp.ndim(jnp.asarray(values)) == len(axes) + 1
    return checks.non_negatives("variances", values, ("T", *axes) if timed else axes)
