"""What a recurrent cell is: one step of h_t = f(h_{t-1}, x_t), and what the outside sees of h_t."""

from abc import abstractmethod

from ssm.numeric.protocols import AbstractComplete
from ssm.parameters.replacing import AbstractReplaceable
from ssm.shapes import Array, Float, PyTree


class AbstractCell(AbstractReplaceable, AbstractComplete):
    """One step of a recurrent network, for one sequence: a cell holds parameters and no state.

    Law: cell(h, x) == cell.advance(h, cell.project(x)). What needs no state goes into `project`, which the
    library computes for all times at once wherever x is known ahead.
    """

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Size of x_t."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Size of `output(h_t)`."""

    @abstractmethod
    def initial(self) -> PyTree:
        """h_0, an array or a tree of arrays."""

    def project(self, x: Float[Array, "I"]) -> PyTree:
        """The part of a step that does not need the state; x itself by default."""
        return x

    @abstractmethod
    def advance(self, state: PyTree, projected: PyTree) -> PyTree:
        """h_t from h_{t-1} and the projected x_t."""

    def output(self, state: PyTree) -> Float[Array, "H"]:
        """What the outside sees of a state; the state itself by default."""
        return state

    def __call__(self, state: PyTree, x: Float[Array, "I"]) -> PyTree:
        """h_t from h_{t-1} and x_t."""
        return self.advance(state, self.project(x))
