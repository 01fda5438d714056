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
import numpy as np

from ssm.numeric.protocols import unwritten
from ssm.shapes import Array, Float, Int, PyTree


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


def numbered(leaf: Any) -> Int[np.ndarray, "..."]:
    """An array of this shape that counts its entries."""
    return np.arange(np.size(leaf)).reshape(np.shape(leaf))


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
