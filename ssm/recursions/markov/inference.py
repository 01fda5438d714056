"""A Markov chain seen through an emission: what is inferred of its states, before anything is learnt."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from ssm.beliefs import Categorical, LogCategorical
from ssm.beliefs.likelihoods import LogLikelihood
from ssm.distributions import Distribution, categorical
from ssm.emissions.combined.labelled import has_labels
from ssm.emissions.common.base import AbstractEmission
from ssm.maps.markov import MarkovMap
from ssm.model import AbstractStateSpace
from ssm.numeric.logspace import log
from ssm.parameters import Simplex, value
from ssm.recursion import AbstractParallelRecursion, AbstractReversibleRecursion
from ssm.recursions.markov import counts
from ssm.recursions.markov.counts import NOTHING, Known, ReversedChain, ReversedLogChain
from ssm.recursions.markov.in_order import ChainInOrder, ScaledChain
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar
from ssm.steps import Step
from ssm.transitions.base import AbstractTransition
from ssm.transitions.homogeneous import Homogeneous


class ChainFilter(
    AbstractParallelRecursion[LogCategorical], AbstractReversibleRecursion[LogCategorical], AbstractStateSpace
):
    """Inference in `ssm.HMM`; see there.

    By logarithms; a quicker form walks probabilities and proves that none was missed (`in_order.ScaledChain`).
    """

    feeds_back: ClassVar[bool] = False

    _initial: Simplex | Float[Array, "K"] | None  # None: it follows from the transition
    _transition: AbstractTransition
    emission: AbstractEmission

    @property
    def initial(self) -> Float[Array, "K"]:
        """p(x_1)."""
        return self._transition.start() if self._initial is None else value(self._initial)

    @property
    def _start(self) -> Float[Array, "K"] | Literal["stationary"] | None:
        """What `initial` was in the constructor."""
        if self._initial is not None:
            return self.initial
        return None if self._transition.has_start else "stationary"

    def _arguments(self) -> dict[str, Any]:
        """See `AbstractReplaceable`."""
        return {"initial": self._start, "transition": self._transition, "emission": self.emission}

    def _adopted(self, name: str, value: Any) -> Any:
        """A matrix takes the place of a matrix, and its prior stays."""
        bare = name == "transition" and not isinstance(value, AbstractTransition)
        return self._transition.replace(probs=value) if bare and isinstance(self._transition, Homogeneous) else value

    @property
    def weighs_otherwise(self) -> str | None:
        """Labels, which are no part of an observation's density."""
        if not has_labels(self.emission):
            return None
        return (
            "so the labels of an ssm.emissions.Labelled would be ignored; filter the HMM itself, which is exact, or "
            "leave the emission unlabelled"
        )

    @property
    def transition(self) -> Float[Array, "K K"]:
        """p(x_t = j | x_{t-1} = i) in row i, column j; of a transition that varies, see `dynamics`."""
        return self._transition.matrix()

    @property
    def dynamics(self) -> AbstractTransition:
        """How the chain moves, with its structure."""
        return self._transition

    @property
    def num_states(self) -> int:
        """K."""
        return self.emission.num_states

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.emission.event_shape

    @property
    def event_kind(self) -> str:
        """As the emission's."""
        return self.emission.event_kind

    @property
    def num_classes(self) -> int:
        """As the emission's."""
        return self.emission.num_classes

    @property
    def num_inputs(self) -> int | None:
        """What the emission and the transition read: both see the same inputs."""
        return counts.common_inputs(self.emission, self._transition)

    @property
    def num_steps(self) -> int | None:
        """As the transition's."""
        return self._transition.num_steps

    def validate(self, ys: np.ndarray) -> None:
        """As the emission's."""
        self.emission.validate(ys)

    def validate_events(self, ys: np.ndarray, seen: np.ndarray) -> None:
        """As the emission's."""
        self.emission.validate_events(ys, seen)

    def misses_parts(self, steps: Step) -> bool:
        """As the emission."""
        return self.emission.misses_parts(steps.y, steps.u)

    def validate_steps(self, steps: Step) -> None:
        """The emission's inputs."""
        self.emission.validate_inputs(steps.u)

    # -- the recursion ----------------------------------------------------------------------------------------

    def prepare(self, steps: Step) -> Step:
        """Observations to the table of log-likelihoods (T, K), for all times at once."""
        table = LogLikelihood(self.emission.log_likelihoods(steps.y, steps.u, steps.observed))
        return dataclasses.replace(steps, y=table, u=self._known(steps), observed=self._informed(steps))

    def ways(self) -> tuple[type, ...]:
        """Scaled probabilities, while they lose nothing."""
        return ScaledChain, ChainInOrder

    def _informed(self, steps: Step) -> Bool[Array, "T *parts"] | None:
        return self.emission.informed(steps.u, steps.observed)

    def _known(self, steps: Step) -> Known:
        return Known(steps.u, self._transition.prepare(steps.u, steps.t))

    def init(self, u: Known | None = None, *, key: Key | None = None) -> LogCategorical:
        """π."""
        return LogCategorical(log(self.initial))

    def predict(self, belief: Any, u: Known = NOTHING, *, key: Key | None = None) -> Any:
        """p A, in the form of the belief."""
        return belief.moved(self._transition, u.transition)

    def update(self, prior: Any, u: Known, y: PyTree, *, key: Key | None = None) -> tuple[Any, Scalar]:
        """Reweigh by the likelihood and normalise; the normaliser is the evidence."""
        return self.emission.likelihood(y).reweigh(prior)

    def emit(self, prior: Categorical | LogCategorical, u: Known = NOTHING) -> Any:
        """The mixture of the emissions."""
        return self.emission.mixture(prior.probs, u.emission)

    def lift(self, u: Known, y: LogLikelihood | None) -> MarkovMap:
        """A diag(likelihood)."""
        matrix = self._transition.matrix(u.transition)
        unseen = jnp.zeros(self.num_states, matrix.dtype)
        if y is None:
            return MarkovMap.of(matrix)
        # What no state can emit is passed over, as `reweigh` does: later steps can still be told apart.
        return MarkovMap.of(matrix, jnp.where(jnp.all(y.values == -jnp.inf), unseen, y.values))

    def reverse(self, filtered: Any, predicted: Any, u: Known) -> ReversedChain | ReversedLogChain:
        """p(x_t | x_{t+1}, y_{<=t}) ∝ filtered · A, in the form of the beliefs."""
        if isinstance(filtered, LogCategorical):
            return ReversedLogChain(filtered.log_probs, self._transition, u.transition, predicted.log_probs)
        return ReversedChain(filtered.probs, self._transition, u.transition, predicted.probs)

    # -- drawing ----------------------------------------------------------------------------------------------

    def initial_state(self, u: Known) -> Distribution:
        """π."""
        return categorical(self.initial)

    def next_state(self, state: Int[Array, ""], u: Known) -> Distribution:
        """Row `state` of A."""
        return categorical(self._transition.row(state, u.transition))

    def observation(self, state: Int[Array, ""], u: Known) -> Any:
        """The emission of `state`."""
        return self.emission.given(state, u.emission)
