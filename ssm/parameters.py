"""Unconstrained leaves under constrained values, made plain once at the door of each verb.

A model stores what an optimiser may move freely; its properties and formulas see the constrained value::

    model = ssm.HMM(initial, transition, emission)
    model.transition                  # probabilities (K, K)
    plain(model)                      # the same model on plain arrays
    constrain(model)                  # as the recursions see it: the same, or what it is rewritten as
"""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric.linalg import square
from ssm.numeric.roots import as_triangular, empty_pivots, semidefinite_root
from ssm.numeric.unwritten import unwritten
from ssm.shapes import Array, Bool, Float, Int, PyTree, Scalar

# The logit of an impossible outcome: exp of it is exactly zero in float64, yet it is finite, so that norms,
# differences and weight decay on a model never make a NaN of a hard zero.
IMPOSSIBLE = -1e9
# That of an outcome that is possible, but to which a fit gave no probability at all: zero as exactly, and yet a free
# number of the model.
VANISHED = -1e8


class AbstractParameter(eqx.Module):
    """A constrained array stored by an unconstrained one."""

    # Whether every stored number stands for one number of the value, so that single ones can be frozen.
    is_entrywise: ClassVar[bool] = False

    # Whether numbers beyond VANISHED, either way, stand for values on a border.
    has_borders: ClassVar[bool] = False

    def constrained(self) -> Any:
        """The value in the model's own units: an array, or itself where the recursions use the stored form."""
        raise unwritten(self)

    def named_entries(self, leaf: Any) -> Int[np.ndarray, "..."] | None:
        """Which of the numbers of a leaf each entry is that can be frozen by its index; None where none can."""
        return numbered(leaf) if self.is_entrywise else None

    def free_entries(self) -> PyTree:
        """Which stored numbers are coordinates of the value: moving the others as well adds nothing; all by default."""
        return jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), self)

    def settled(self) -> Self:
        """With what lies within rounding of a border put onto it, where it no longer moves."""
        is_part = lambda node: isinstance(node, AbstractParameter) and node is not self
        return jax.tree.map(lambda part: part.settled() if is_part(part) else part, self, is_leaf=is_part)

    def moved_to(self, best: Any) -> Any:
        """`best`, which a fit made of this and which knows nothing of the borders of this one: as its parts say."""
        is_part = lambda node: isinstance(node, AbstractParameter) and node is not self
        move = lambda part, new: part.moved_to(new) if is_part(part) else new
        return jax.tree.map(move, self, best, is_leaf=is_part)


def least(logs: Array) -> float:
    """log ε: what differs from one by more than this factor adds nothing to it."""
    return float(np.log(np.finfo(logs.dtype).eps))


def numbered(leaf: Any) -> Int[np.ndarray, "..."]:
    """An array of this shape that counts its entries."""
    return np.arange(np.size(leaf)).reshape(np.shape(leaf))


class Simplex(AbstractParameter):
    """Probabilities along the last axis, stored as logits; hard zeros stay exactly zero.

    Zeros of the value that this is made of are hard: of the structure of a model, and not free. Zeros that a fit comes
    to are zeros for good as well, yet they count as free.
    """

    has_borders: ClassVar[bool] = True

    logits: Float[Array, "*batch K"]

    def constrained(self) -> Float[Array, "*batch K"]:
        """softmax(logits)."""
        return jax.nn.softmax(self.logits, axis=-1)

    def free_entries(self) -> PyTree:
        """The possible outcomes of each row but its likeliest: logits count up to a constant."""
        logits = np.asarray(self.logits)
        likeliest = np.arange(logits.shape[-1]) == np.argmax(logits, axis=-1)[..., None]
        return Simplex((logits > IMPOSSIBLE / 2) & ~likeliest)

    def settled(self) -> "Simplex":
        """Outcomes that are an epsilon times less likely than the likeliest one have vanished."""
        logits = self.logits
        vanished = (logits < jnp.max(logits, axis=-1, keepdims=True) + least(logits)) & (logits > VANISHED)
        return Simplex(jnp.where(vanished, jnp.asarray(VANISHED, logits.dtype), logits))

    def moved_to(self, best: "Simplex") -> "Simplex":
        """`best`, whose zeros are hard where they are here."""
        vanished = (best.logits <= IMPOSSIBLE / 2) & (self.logits > IMPOSSIBLE / 2)
        return Simplex(jnp.where(vanished, jnp.asarray(VANISHED, best.logits.dtype), best.logits))

    @classmethod
    def of(cls, probabilities: Float[Array, "*batch K"]) -> "Simplex":
        """The parameter whose value is `probabilities`."""
        possible = ~(probabilities <= 0)  # NaN is kept: it says that there is no value
        logits = jnp.log(jnp.where(possible, probabilities, 1))
        return cls(jnp.where(possible, logits, jnp.asarray(IMPOSSIBLE, logits.dtype)))


class Positive(AbstractParameter):
    """A positive array, stored as its logarithm."""

    is_entrywise: ClassVar[bool] = True

    log: Float[Array, "..."]

    def constrained(self) -> Float[Array, "..."]:
        """exp(log)."""
        return jnp.exp(self.log)

    @classmethod
    def of(cls, value: Float[Array, "..."]) -> "Positive":
        """The parameter whose value is `value`."""
        return cls(jnp.log(value))


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


class AbstractPartlyRead(eqx.Module):
    """A model that does not read all of its numbers."""

    def entries_read(self, entries: Any) -> Any:
        """This tree with booleans as leaves, True at numbers that are free by themselves: False at what is not read."""
        raise unwritten(self)


class AbstractOverparametrised(eqx.Module):
    """A part of a model in which some numbers can be moved together without any effect."""

    def num_redundant(self, entries: Any) -> int:
        """Of the free numbers, True in this tree with booleans as leaves, how many the others make superfluous.

        That is their number less the rank of what they move, for almost all values of the free ones, beside the values
        of those that are held.
        """
        raise unwritten(self)


class AbstractRewritten(eqx.Module):
    """A model that the recursions may see as another one."""

    def rewritten(self) -> Any:
        """What its plain parameters make; itself where there is nothing to rewrite."""
        raise unwritten(self)


class Constant(AbstractParameter):
    """An array that is given, not learnt: no gradient reaches it and no fit moves it."""

    array: Float[Array, "..."]

    def constrained(self) -> Float[Array, "..."]:
        """The array."""
        return jax.lax.stop_gradient(self.array)


def value(parameter: Array | AbstractParameter | None) -> Any:
    """The constrained value of a parameter; a plain array is its own value."""
    return parameter.constrained() if isinstance(parameter, AbstractParameter) else parameter


def plain(model: PyTree) -> PyTree:
    """The same model with every parameter replaced by its constrained value."""
    is_parameter = lambda node: isinstance(node, AbstractParameter)
    return jax.tree.map(lambda node: value(node) if is_parameter(node) else node, model, is_leaf=is_parameter)


def constrain(model: PyTree) -> PyTree:
    """The model as the recursions see it: on plain arrays, and rewritten where it says so."""
    is_rewritten = lambda node: isinstance(node, AbstractRewritten)
    return jax.tree.map(lambda n: n.rewritten() if is_rewritten(n) else n, plain(model), is_leaf=is_rewritten)
