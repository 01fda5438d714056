"""Deep recurrent networks."""

from collections.abc import Sequence
from typing import final

from ssm.cells.base import AbstractCell
from ssm.cells.wrapped import as_cell
from ssm.shapes import Array, Float, PyTree


@final
class Stack(AbstractCell):
    """Cells on top of each other: the output of each at time t is what the next one reads at time t.

    The state is the tuple of their states, the output that of the last (Graves 2013, without skip connections).
    Raises ValueError for no cells, or neighbours whose sizes disagree.
    """

    cells: tuple[AbstractCell, ...]

    def __init__(self, cells: Sequence[AbstractCell]):
        self.cells = tuple(as_cell(cell) for cell in cells)
        if not self.cells:
            raise ValueError("cells: expected at least one cell")
        for i, (below, above) in enumerate(zip(self.cells[:-1], self.cells[1:], strict=True)):
            if below.output_size != above.input_size:
                raise ValueError(
                    f"cells: number {i} gives {below.output_size} numbers, but number {i + 1} reads {above.input_size}"
                )

    @property
    def input_size(self) -> int:
        """What the first cell reads."""
        return self.cells[0].input_size

    @property
    def output_size(self) -> int:
        """What the last cell gives."""
        return self.cells[-1].output_size

    def initial(self) -> tuple[PyTree, ...]:
        """One initial state per cell."""
        return tuple(cell.initial() for cell in self.cells)

    def project(self, x: Float[Array, "I"]) -> PyTree:
        """By the first cell; the others read what is not known ahead."""
        return self.cells[0].project(x)

    def advance(self, state: tuple[PyTree, ...], projected: PyTree) -> tuple[PyTree, ...]:
        """From the first cell up."""
        new = [self.cells[0].advance(state[0], projected)]
        for below, cell, old in zip(self.cells[:-1], self.cells[1:], state[1:], strict=True):
            new.append(cell(old, below.output(new[-1])))
        return tuple(new)

    def output(self, state: tuple[PyTree, ...]) -> Float[Array, "H"]:
        """Of the last cell."""
        return self.cells[-1].output(state[-1])
