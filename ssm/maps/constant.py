"""The map that answers one belief to everything."""

from typing import Any, Self, final

import jax.numpy as jnp

from ssm.maps.base import AbstractKernel, AbstractMap
from ssm.numeric.trees import select
from ssm.shapes import Flag, Key, PyTree


@final
class ConstantKernel(AbstractKernel[Any], AbstractMap[Any]):
    """b ↦ belief; where `passes`, b ↦ b instead, so that there is an identity.

    The way back through a recursion whose states are certain: the future adds nothing to what is known exactly.
    """

    belief: Any
    passes: Flag

    @classmethod
    def of(cls, belief: Any) -> Self:
        """The map that answers `belief`."""
        return cls(belief, jnp.zeros((), bool))

    def then(self, second: Self) -> Self:
        """The second answer, unless the second map passes on the first."""
        return type(self)(select(second.passes, self.belief, second.belief), self.passes & second.passes)

    def apply(self, belief: Any) -> Any:
        """The constant belief."""
        return select(self.passes, belief, self.belief)

    def sample(self, key: Key, state: PyTree) -> PyTree:
        """A draw from the constant belief."""
        return select(self.passes, state, self.belief.sample(key))

    def identity(self) -> Self:
        """The map that passes everything."""
        return type(self)(self.belief, jnp.ones((), bool))

    def forget(self, belief: Any) -> Self:
        """The map that answers `belief` instead."""
        return type(self)(belief, jnp.zeros((), bool))
