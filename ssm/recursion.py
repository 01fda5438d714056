"""The idea: a belief about the present, moved on, corrected by one observation, read out as the next one.

    belief_t        = update(predict(belief_{t-1}), y_t)          h_t = f(h_{t-1}, x_t)
    p(y_t | y_{<t}) = emit(predict(belief_{t-1}))                 p(x_t | x_{<t}) = p(x_t | g(h_t))

so that log p(y_{1:T}) = Σ_t log p(y_t | y_{<t}) is one line for every model. A member says how its belief
starts, moves, is corrected and is read out; `ssm.scan` does the rest.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from ssm.maps.base import AbstractKernel, AbstractMap
from ssm.model import AbstractModel
from ssm.numeric.missing import lost
from ssm.numeric.protocols import AbstractComplete
from ssm.shapes import Key, PyTree, Scalar

Belief = TypeVar("Belief")


class AbstractScan(AbstractComplete, Generic[Belief]):
    """What the driver walks: a member, its way back, or something else that is carried from time to time."""

    @property
    def feeds_back(self) -> bool:
        """See `AbstractModel`."""
        return False

    @abstractmethod
    def init(self, u: PyTree, *, key: Key | None = None) -> Belief:
        """p(x_1), or the first hidden state."""

    @abstractmethod
    def predict(self, belief: Belief, u: PyTree, *, key: Key | None = None) -> Belief:
        """p(x_t | y_{<t}) from p(x_{t-1} | y_{<t})."""

    @abstractmethod
    def update(self, prior: Belief, u: PyTree, y: PyTree, *, key: Key | None = None) -> tuple[Belief, Scalar]:
        """p(x_t | y_{<=t}) and log p(y_t | y_{<t}), from p(x_t | y_{<t}) and the prepared y_t."""

    def miss(self, prior: Belief, u: PyTree, *, key: Key | None = None) -> Belief:
        """The belief at a time when nothing is observed: the prior, unless the model reads its own outputs.

        There the belief is lost unless the member says here what becomes of it: NaN, and so is all evidence after it.
        """
        return lost(prior) if self.feeds_back else prior

    def ways(self) -> tuple[type, ...]:
        """Passes that know this better than the plain scan, best first (`ssm.passes.base.AbstractWay`).

        The last of them may be its own way in order, below `ssm.passes.in_order.InOrder`.
        """
        return ()


class AbstractParallelScan(AbstractScan[Belief]):
    """A whole step of which can be held as data and composed: it runs in O(log T) depth."""

    @abstractmethod
    def lift(self, u: PyTree, y: PyTree) -> AbstractMap[Belief]:
        """predict, then update with the prepared y (y is None: predict only)."""


class AbstractReversibleScan(AbstractScan[Belief]):
    """It can be walked backwards, given what the forward walk found."""

    @abstractmethod
    def reverse(self, filtered: Belief, predicted: Belief, u: PyTree) -> AbstractKernel[Belief]:
        """p(x_t | x_{t+1}, y_{<=t}) from p(x_t | y_{<=t}), p(x_{t+1} | y_{<=t}) and u_{t+1}."""


class AbstractRecursion(AbstractModel, AbstractScan[Belief]):
    """One instant of a model over sequences.

    Laws (tests/laws/test_laws.py), for prepared u and y and any belief:
        update(prior, u, y)[1]  ==  emit(prior, u).log_prob(y)
        filter(ys)              ==  filter(ys[:k]), then the rest from that belief
    """

    is_stochastic: ClassVar[bool] = False  # does the recursion itself draw (particles, latent samples)?

    @abstractmethod
    def emit(self, prior: Belief, u: PyTree) -> Any:
        """p(y_t | y_{<t}) as a distribution, from p(x_t | y_{<t})."""

    def absorb(self, prior: Belief, u: PyTree, y: PyTree, *, key: Key | None = None) -> Belief:
        """The belief after a y, not prepared, that was drawn from `emit(prior, u)`; as `update`, without evidence.

        A model whose `update` draws afresh given y says here what it had drawn when it made y; one whose `prepare`
        changes y says here how a y that is not prepared is read.
        """
        return self.update(prior, u, y, key=key)[0]

    def draw_state(self, prior: Belief, key: Key) -> Belief:
        """A prior that is certain of one state, drawn from it, for drawing sequences; a point is certain already."""
        return prior


class AbstractParallelRecursion(AbstractRecursion[Belief], AbstractParallelScan[Belief]):
    """A model that can be walked in O(log T) depth."""


class AbstractReversibleRecursion(AbstractRecursion[Belief], AbstractReversibleScan[Belief]):
    """A model that can be smoothed."""


class AbstractDeterministicRecursion(AbstractRecursion[Belief]):
    """A model whose belief is a point and whose step is a differentiable function of it."""
