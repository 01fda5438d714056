"""Cells of other libraries."""

from typing import Any, final

import equinox as eqx
import jax.numpy as jnp

from ssm.cells.base import AbstractCell
from ssm.cells.gru import GRU
from ssm.cells.lstm import LSTM
from ssm.shapes import Array, Float
from ssm.trees import float_dtype


@final
class Wrapped(AbstractCell):
    """Any module in the shape of an Equinox cell: cell(x, h) -> h, with `input_size` and `hidden_size`.

    The state is a vector that starts at zero. For other states, derive from `ssm.cells.AbstractCell`.
    """

    cell: Any

    @property
    def input_size(self) -> int:
        """I."""
        return self.cell.input_size

    @property
    def output_size(self) -> int:
        """H."""
        return self.cell.hidden_size

    def initial(self) -> Float[Array, "H"]:
        """Zeros."""
        return jnp.zeros(self.cell.hidden_size, float_dtype(self.cell))

    def advance(self, state: Float[Array, "H"], projected: Float[Array, "I"]) -> Float[Array, "H"]:
        """cell(x, h)."""
        return self.cell(projected, state)


def as_cell(cell: object) -> AbstractCell:
    """A cell of ours, made of `cell` if it is not one already.

    Raises TypeError for what is neither ours nor has the shape of an Equinox cell.
    """
    if isinstance(cell, AbstractCell):
        return cell
    if isinstance(cell, eqx.nn.GRUCell):
        return GRU.of(cell)
    if isinstance(cell, eqx.nn.LSTMCell):
        return LSTM.of(cell)
    if isinstance(cell, eqx.Module) and callable(cell) and hasattr(cell, "input_size") and hasattr(cell, "hidden_size"):
        return Wrapped(cell)
    raise TypeError(
        "cell: expected one of ssm.cells, or an Equinox module cell(x, h) with input_size and hidden_size, "
        f"got {type(cell).__name__}"
    )
