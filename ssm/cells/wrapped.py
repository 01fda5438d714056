"""Cells of other libraries."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.cells.base import AbstractCell
from ssm.cells.gru import GRU
from ssm.cells.lstm import LSTM
from ssm.numeric.checks import positive_int
from ssm.numeric.trees import float_dtype
from ssm.shapes import Array, Float, PyTree

EXPECTED = (
    "an Equinox module cell(x, state) -> state with input_size and hidden_size, where x is (input_size,) and state a "
    "vector h (hidden_size,) or a pair of them, (h, c), as of eqx.nn.LSTMCell"
)


@final
class Wrapped(AbstractCell):
    """Any module in the shape of an Equinox cell: cell(x, state) -> state, with `input_size` and `hidden_size`.

    The state is a vector h or a pair of vectors (h, c), which the cell is asked for once, without computing it; it
    starts at zero, and h is what the head reads. For other states, derive from `ssm.cells.AbstractCell`. Raises
    TypeError for what takes neither.
    """

    cell: Any
    paired: bool = eqx.field(static=True)

    def __init__(self, cell: Any):
        if not (callable(cell) and hasattr(cell, "input_size") and hasattr(cell, "hidden_size")):
            raise TypeError(f"cell: expected {EXPECTED}; got {type(cell).__name__}")
        self.cell, self.paired = cell, False
        positive_int("input_size", self.input_size)
        positive_int("hidden_size", self.output_size)
        said = self._refusal(self._zeros())
        if said is not None:
            self.paired = True
            if self._refusal((self._zeros(), self._zeros())) is not None:
                raise TypeError(
                    f"cell: expected {EXPECTED}; {type(cell).__name__}, given a vector, {said}; for other states, "
                    "derive from ssm.cells.AbstractCell"
                )

    def _refusal(self, state: PyTree) -> str | None:
        """What is wrong with this kind of state; None if the cell takes it and returns its like."""
        x = jnp.zeros(self.input_size, float_dtype(self.cell))
        try:
            new = eqx.filter_eval_shape(lambda cell, x, state: cell(x, state), self.cell, x, state)
        except Exception as error:  # whatever a foreign cell does with a state that is not its own
            return f"raised {type(error).__name__}: {error}"
        kind = lambda tree: jax.tree.map(
            lambda leaf: (getattr(leaf, "shape", None), getattr(leaf, "dtype", None)), tree
        )
        return None if kind(new) == kind(state) else f"returned {new}"

    def _zeros(self) -> Float[Array, "H"]:
        return jnp.zeros(self.cell.hidden_size, float_dtype(self.cell))

    @property
    def input_size(self) -> int:
        """I."""
        return self.cell.input_size

    @property
    def output_size(self) -> int:
        """H."""
        return self.cell.hidden_size

    def initial(self) -> PyTree:
        """Zeros: h, or (h, c)."""
        return (self._zeros(), self._zeros()) if self.paired else self._zeros()

    def advance(self, state: PyTree, projected: Float[Array, "I"]) -> PyTree:
        """cell(x, state)."""
        return self.cell(projected, state)

    def output(self, state: PyTree) -> Float[Array, "H"]:
        """h."""
        return state[0] if self.paired else state


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
    if isinstance(cell, eqx.Module):
        return Wrapped(cell)
    raise TypeError(f"cell: expected one of ssm.cells, or {EXPECTED}; got {type(cell).__name__}")
