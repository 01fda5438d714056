"""Functions between beliefs, held as data, so that they can be composed before they are applied.

Laws (tests/laws/test_maps.py):
    first.then(second).apply(b)  ==  second.apply(first.apply(b))
    a.then(b).then(c)            ==  a.then(b.then(c))
    m.forget(belief).apply(b)    ==  belief                   for every b
    m.identity().apply(b)        ==  b
"""

from typing import Generic, Self, TypeVar

import equinox as eqx

from ssm.numeric.protocols import unwritten
from ssm.shapes import Key, PyTree

Belief = TypeVar("Belief")


class AbstractKernel(eqx.Module, Generic[Belief]):
    """A conditional distribution p(x' | x) that moves beliefs and draws points."""

    def apply(self, belief: Belief) -> Belief:
        """The belief about x' when x is believed to be `belief`."""
        raise unwritten(self)

    def sample(self, key: Key, state: PyTree) -> PyTree:
        """One draw of x' given the point x = `state`."""
        raise unwritten(self)


class AbstractMap(eqx.Module, Generic[Belief]):
    """A belief-to-belief function with associative composition."""

    def then(self, second: Self) -> Self:
        """The map that applies this one, then `second`."""
        raise unwritten(self)

    def apply(self, belief: Belief) -> Belief:
        """The image of `belief`."""
        raise unwritten(self)

    def identity(self) -> Self:
        """The map of this shape that changes nothing."""
        raise unwritten(self)

    def forget(self, belief: Belief) -> Self:
        """The map of this shape that answers `belief` to everything."""
        raise unwritten(self)
