"""The idea: a belief about the present, moved on, corrected by one observation, read out as the next one.

    belief_t        = update(predict(belief_{t-1}), y_t)          h_t = f(h_{t-1}, x_t)
    p(y_t | y_{<t}) = emit(predict(belief_{t-1}))                 p(x_t | x_{<t}) = p(x_t | g(h_t))

so that log p(y_{1:T}) = Σ_t log p(y_t | y_{<t}) is one line for every model. A member says how its belief
starts, moves, is corrected and is read out; `ssm.scan` does the rest.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeGuard, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.maps.base import AbstractKernel, AbstractMap
from ssm.model import AbstractModel
from ssm.numeric.unwritten import unwritten
from ssm.shapes import Array, Key, PyTree, Scalar
from ssm.steps import Step

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

    @property
    def is_quickened(self) -> bool:
        """Whether there is a cheaper form of this recursion, which `quicken` makes."""
        return False

    def quicken(self, steps: Step) -> "tuple[AbstractRecursion[Any], Step]":
        """The cheaper form and its prepared steps (T, ...).

        What it keeps (`record`) are the same beliefs. Where they cannot be trusted its increments must be NaN or
        infinite, and the driver then runs this one.
        """
        raise unwritten(self)

    def record(self, belief: Belief) -> Any:
        """What is kept of a belief: all of it, unless some is for the walk alone."""
        return belief

    def resume(self, kept: Any) -> Belief:
        """The belief to walk on with, from what was kept, by this form of a recursion or by another."""
        return kept

    def draw_state(self, prior: Belief, key: Key) -> Belief:
        """A prior that is certain of one state, drawn from it, for drawing sequences; a point is certain already."""
        return prior

    def offers(self, protocol: type) -> bool:
        """Whether a member whose class has a protocol can do, with its parameters, what that asks; see `offers`."""
        return True

    @property
    def predicts_at_once(self) -> bool:
        """Whether predicting for all times at once, after the scan, is cheaper than keeping predictions."""
        return False

    @property
    def gains_in_blocks(self) -> bool:
        """Whether a step is many operations on small arrays, so that a CPU walks faster in blocks of steps."""
        return False

    @property
    def flags_are_dear(self) -> bool:
        """Whether steps with flags take much longer than steps without, whatever the flags say."""
        return False

    @property
    def runs_side_by_side(self) -> bool:
        """Whether the methods that end so know this member (`ssm.schedules.SideBySide`)."""
        return False

    def takes_side_by_side(self, steps: Step, lanes: int | None = None) -> bool:
        """Whether they know these steps, (T,) or (B, T), in as many `lanes`, or in as many as suit."""
        return True

    def gains_side_by_side(self, shape: tuple[int, ...]) -> bool:
        """Whether that is faster on a CPU, for steps (T,) or (B, T)."""
        return False

    def forward_side_by_side(self, steps: Step, schedule: Any) -> tuple[Array, Any]:
        """Beliefs and log p(y_t | y_<t) of steps (T,) or (B, T) as observed, as `ssm.scan.Saved`.

        First a flag: whether the answer holds. Predicted beliefs are None where they follow from filtered ones.
        """
        raise unwritten(self)


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

    def smooth_directly(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> Belief | None:
        """Smoothed beliefs (T, ...) of prepared steps, where there is a better way than through reversed kernels."""
        return None

    def lag_directly(
        self, steps: Step, predicted: Belief, filtered: Belief, lag: int, by_kernels: Callable[[], Belief]
    ) -> Belief:
        """p(x_t | y_{1:t+lag}) of prepared steps: through the reversed kernels, unless a member knows better."""
        return by_kernels()

    def draw_directly(self, steps: Step, predicted: Belief, filtered: Belief, key: Key, num_samples: int) -> Any | None:
        """Paths (S, T, ...), as `smooth_directly`."""
        return None

    def settle(self, smoothed: Belief) -> Belief:
        """Smoothed beliefs (T, ...) with the rounding that a long way back accumulates taken out, if it can be."""
        return smoothed

    def smooth_side_by_side(self, steps: Step, schedule: Any) -> "tuple[Array, Belief, Array]":
        """The same flag, smoothed beliefs, and log p(y_t | y_<t)."""
        raise unwritten(self)

    def decode_side_by_side(self, steps: Step, schedule: Any) -> "tuple[Array, Array]":
        """The best path (T,) or (B, T) of steps as observed, and its log-probability, for a max-product recursion."""
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
