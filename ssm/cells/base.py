"""What a recurrent cell is: one step of h_t = f(h_{t-1}, x_t), and what the outside sees of h_t."""

from ssm.numeric.unwritten import unwritten
from ssm.parameters.replacing import AbstractReplaceable
from ssm.shapes import Array, Float, PyTree


class AbstractCell(AbstractReplaceable):
    """One step of a recurrent network, for one sequence: a cell holds parameters and no state.

    Law: cell(h, x) == cell.advance(h, cell.project(x)). What needs no state goes into `project`, which the
    library computes for all times at once wherever x is known ahead.
    """

    @property
    def input_size(self) -> int:
        """Size of x_t."""
        raise unwritten(self)

    @property
    def output_size(self) -> int:
        """Size of `output(h_t)`."""
        raise unwritten(self)

    def initial(self) -> PyTree:
        """h_0, an array or a tree of arrays."""
        raise unwritten(self)

    def project(self, x: Float[Array, "I"]) -> PyTree:
        """The part of a step that does not need the state; x itself by default."""
        return x

    def advance(self, state: PyTree, projected: PyTree) -> PyTree:
        """h_t from h_{t-1} and the projected x_t."""
        raise unwritten(self)

    def output(self, state: PyTree) -> Float[Array, "H"]:
        """What the outside sees of a state; the state itself by default."""
        return state

    def __call__(self, state: PyTree, x: Float[Array, "I"]) -> PyTree:
        """h_t from h_{t-1} and x_t."""
        return self.advance(state, self.project(x))
