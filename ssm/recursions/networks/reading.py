"""What a recurrent network reads at each time: its own past observations, inputs, or both.

A type per answer: how a state starts, how it moves on to the next time, and what it takes from an observation.
"""

from typing import ClassVar, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp

from ssm.cells.base import AbstractCell
from ssm.heads.base import AbstractHead
from ssm.numeric.protocols import unwritten
from ssm.shapes import Array, Float, PyTree


class AbstractReading(eqx.Module):
    """The state between h_{t-1} and h_t.

    `known` and `taken` are the parts of a step that need no state: what is made of u_t, and of an encoded y_t.
    """

    feeds_back: ClassVar[bool]  # does it read observations?
    has_inputs: ClassVar[bool]  # does it read inputs?

    def num_inputs(self, cell: AbstractCell, head: AbstractHead) -> int:
        """Size of u_t: what the cell reads beyond an encoded observation."""
        return cell.input_size - (head.encoded_size if self.feeds_back else 0)

    def fits(self, cell: AbstractCell, head: AbstractHead) -> bool:
        """Whether the cell reads as many numbers as there are."""
        extra = self.num_inputs(cell, head)
        return extra > 0 if self.has_inputs else extra == 0

    def known(self, cell: AbstractCell, u: PyTree) -> PyTree:
        """What `start` and `move` want to see of u_t."""
        raise unwritten(self)

    def taken(self, cell: AbstractCell, encoded: Float[Array, "E"]) -> PyTree:
        """What `take` wants to see of y_t."""
        raise unwritten(self)

    def start(self, cell: AbstractCell, head: AbstractHead, known: PyTree) -> PyTree:
        """The state before y_1."""
        raise unwritten(self)

    def move(self, cell: AbstractCell, state: PyTree, known: PyTree) -> PyTree:
        """The state before y_t, from that after y_{t-1}."""
        raise unwritten(self)

    def take(self, cell: AbstractCell, state: PyTree, taken: PyTree) -> PyTree:
        """The state after y_t, from that before."""
        raise unwritten(self)

    def hidden(self, state: PyTree) -> PyTree:
        """The cell's own state."""
        return state


@final
class Past(AbstractReading):
    """h_t = f(h_{t-1}, y_t), and y_{t+1} | h_t: the autoregressive network."""

    feeds_back: ClassVar[bool] = True
    has_inputs: ClassVar[bool] = False

    def known(self, cell: AbstractCell, u: PyTree) -> PyTree:
        """Nothing."""
        return u

    def taken(self, cell: AbstractCell, encoded: Float[Array, "E"]) -> PyTree:
        """The projection of the observation."""
        return cell.project(encoded)

    def start(self, cell: AbstractCell, head: AbstractHead, known: PyTree) -> PyTree:
        """h_0."""
        return cell.initial()

    def move(self, cell: AbstractCell, state: PyTree, known: PyTree) -> PyTree:
        """Nothing happens between observations."""
        return state

    def take(self, cell: AbstractCell, state: PyTree, taken: PyTree) -> PyTree:
        """One step of the cell."""
        return cell.advance(state, taken)


@final
class Inputs(AbstractReading):
    """h_t = f(h_{t-1}, u_t), and y_t | h_t: a function of the inputs alone."""

    feeds_back: ClassVar[bool] = False
    has_inputs: ClassVar[bool] = True

    def known(self, cell: AbstractCell, u: PyTree) -> PyTree:
        """The projection of the input."""
        return cell.project(u)

    def taken(self, cell: AbstractCell, encoded: Float[Array, "E"]) -> PyTree:
        """Nothing."""
        return None

    def start(self, cell: AbstractCell, head: AbstractHead, known: PyTree) -> PyTree:
        """h_1 = f(h_0, u_1)."""
        return cell.advance(cell.initial(), known)

    def move(self, cell: AbstractCell, state: PyTree, known: PyTree) -> PyTree:
        """One step of the cell."""
        return cell.advance(state, known)

    def take(self, cell: AbstractCell, state: PyTree, taken: PyTree) -> PyTree:
        """The observation changes nothing."""
        return state


class Remembered(NamedTuple):
    """The cell's state, and the last observation, which waits for the next input."""

    hidden: PyTree
    last: Float[Array, "*batch E"]


@final
class Both(AbstractReading):
    """h_t = f(h_{t-1}, [y_{t-1}, u_t]), and y_t | h_t; zeros in the place of y_0."""

    feeds_back: ClassVar[bool] = True
    has_inputs: ClassVar[bool] = True

    def known(self, cell: AbstractCell, u: PyTree) -> PyTree:
        """The input itself."""
        return u

    def taken(self, cell: AbstractCell, encoded: Float[Array, "E"]) -> PyTree:
        """The encoded observation itself."""
        return encoded

    def start(self, cell: AbstractCell, head: AbstractHead, known: PyTree) -> Remembered:
        """h_1 = f(h_0, [0, u_1])."""
        before = jnp.zeros(head.encoded_size, known.dtype)
        return self.move(cell, Remembered(cell.initial(), before), known)

    def move(self, cell: AbstractCell, state: Remembered, known: PyTree) -> Remembered:
        """One step of the cell."""
        return Remembered(cell(state.hidden, jnp.concatenate([state.last, known])), state.last)

    def take(self, cell: AbstractCell, state: Remembered, taken: PyTree) -> Remembered:
        """Remember the observation for the next step."""
        return Remembered(state.hidden, taken)

    def hidden(self, state: Remembered) -> PyTree:
        """The cell's own state."""
        return state.hidden


READINGS = {"past": Past(), "inputs": Inputs(), "both": Both()}
