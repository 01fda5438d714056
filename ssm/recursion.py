"""The idea: a belief about the present, moved on, corrected by one observation, read out as the next one.

    belief_t        = update(predict(belief_{t-1}), y_t)          h_t = f(h_{t-1}, x_t)
    p(y_t | y_{<t}) = emit(predict(belief_{t-1}))                 p(x_t | x_{<t}) = p(x_t | g(h_t))

so that log p(y_{1:T}) = Σ_t log p(y_t | y_{<t}) is one line for every model. A member says how its belief
starts, moves, is corrected and is read out; `ssm.scan` does the rest.
"""

from typing import Any, ClassVar, Generic, TypeGuard, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.maps.base import AbstractKernel, AbstractMap
from ssm.model import AbstractModel
from ssm.numeric.unwritten import unwritten
from ssm.shapes import Key, PyTree, Scalar

Belief = TypeVar("Belief")
Protocol = TypeVar("Protocol")


class AbstractRecursion(AbstractModel, Generic[Belief]):
    """One instant of a model over sequences.

    Laws (tests/laws/test_laws.py), for prepared u and y and any belief:
        update(prior, u, y)[1]  ==  emit(prior, u).log_prob(y)
        filter(ys)              ==  filter(ys[:k]), then the rest from that belief
    """

    is_stochastic: ClassVar[bool] = False  # does the recursion itself draw (particles, latent samples)?

    @property
    def feeds_back(self) -> bool:
        """Whether the next belief depends on the observation itself rather than on what it says about a state.

        True: futures are drawn, each fed its own past (a network that reads its outputs, a GARCH). False: a step
        without an observation is `predict` alone, and the forecast is exact (a filter). No method tells the two apart,
        so a member says it, `feeds_back: ClassVar[bool] = True`; forecasts and gaps raise TypeError until it does.
        """
        raise TypeError(
            f"{type(self).__name__}.feeds_back: say whether the next belief depends on the observation itself. "
            "feeds_back = True: it does, as in a GARCH or a network that reads its outputs; forecasts are drawn, and "
            "`miss` must say what becomes of the belief where nothing is observed. feeds_back = False: observations "
            "only correct the belief about a state, as in a filter; where nothing is observed `predict` alone is exact"
        )

    def init(self, u: PyTree, *, key: Key | None = None) -> Belief:
        """p(x_1), or the first hidden state."""
        raise unwritten(self)

    def predict(self, belief: Belief, u: PyTree, *, key: Key | None = None) -> Belief:
        """p(x_t | y_{<t}) from p(x_{t-1} | y_{<t})."""
        raise unwritten(self)

    def update(self, prior: Belief, u: PyTree, y: PyTree, *, key: Key | None = None) -> tuple[Belief, Scalar]:
        """p(x_t | y_{<=t}) and log p(y_t | y_{<t}), from p(x_t | y_{<t}) and the prepared y_t."""
        raise unwritten(self)

    def miss(self, prior: Belief, u: PyTree, *, key: Key | None = None) -> Belief:
        """The belief at a time when nothing is observed: the prior, unless the model reads its own outputs.

        There the belief is lost unless the member says here what becomes of it: NaN, and so is all evidence after it.
        """
        return _lost(prior) if self.feeds_back else prior

    def emit(self, prior: Belief, u: PyTree) -> Any:
        """p(y_t | y_{<t}) as a distribution, from p(x_t | y_{<t})."""
        raise unwritten(self)

    def absorb(self, prior: Belief, u: PyTree, y: PyTree, *, key: Key | None = None) -> Belief:
        """The belief after a y, not prepared, that was drawn from `emit(prior, u)`; as `update`, without evidence.

        A model whose `update` draws afresh given y says here what it had drawn when it made y; one whose `prepare`
        changes y says here how a y that is not prepared is read.
        """
        return self.update(prior, u, y, key=key)[0]

    def draw_state(self, prior: Belief, key: Key) -> Belief:
        """A prior that is certain of one state, drawn from it, for drawing sequences; a point is certain already."""
        return prior

    def offers(self, protocol: type) -> bool:
        """Whether a member whose class has a protocol can do, with its parameters, what that asks; see `offers`."""
        return True

    def ways(self) -> tuple[type, ...]:
        """Passes that know this member better than the scan, best first (`ssm.passes.base.AbstractWay`): the one door.

        The last of them may be its own way in order, below `ssm.passes.in_order.InOrder`.
        """
        return ()


class AbstractParallelRecursion(AbstractRecursion[Belief]):
    """A recursion whose whole step can be held as data and composed: it runs in O(log T) depth."""

    def lift(self, u: PyTree, y: PyTree) -> AbstractMap[Belief]:
        """predict, then update with the prepared y (y is None: predict only)."""
        raise unwritten(self)


class AbstractDeterministicRecursion(AbstractRecursion[Belief]):
    """A recursion whose belief is a point and whose step is a differentiable function of it."""


class AbstractReversibleRecursion(AbstractRecursion[Belief]):
    """A recursion that can be walked backwards, given what the forward walk found."""

    def reverse(self, filtered: Belief, predicted: Belief, u: PyTree) -> AbstractKernel[Belief]:
        """p(x_t | x_{t+1}, y_{<=t}) from p(x_t | y_{<=t}), p(x_{t+1} | y_{<=t}) and u_{t+1}."""
        raise unwritten(self)


def _lost(belief: PyTree) -> PyTree:
    """A belief of which nothing is known: NaN in every number."""
    numbers = [leaf for leaf in jax.tree.leaves(belief) if eqx.is_inexact_array(leaf)]
    if not numbers:
        raise TypeError("miss: this belief has no numbers that could be NaN; say in `miss` what becomes of it in a gap")
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan) if eqx.is_inexact_array(leaf) else leaf, belief)


def offers(recursion: Any, protocol: type[Protocol]) -> TypeGuard[Protocol]:
    """Whether a member follows a protocol, such as `AbstractParallelRecursion`, and can with the parameters it has."""
    return isinstance(recursion, protocol) and (
        not isinstance(recursion, AbstractRecursion) or recursion.offers(protocol)
    )
