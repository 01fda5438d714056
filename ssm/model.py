"""What every model is: what it observes, and what it can be drawn from."""

from abc import abstractmethod
from typing import Any

import jax.numpy as jnp
import numpy as np

from ssm.numeric.protocols import AbstractComplete, unwritten
from ssm.parameters.replacing import AbstractReplaceable
from ssm.shapes import PyTree, Scalar
from ssm.steps import Step


class AbstractModel(AbstractReplaceable, AbstractComplete):
    """What the boundary asks of everything that makes observations, before anything is inferred or drawn."""

    __getattribute__ = object.__getattribute__  # a method is a method, not a module made anew (30 µs) at every look

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation y_t."""

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

    @property
    def described(self) -> str:
        """What errors call it."""
        return type(self).__name__

    @property
    def event_kind(self) -> str:
        """What one observation is made of: "real" numbers, or integer "symbol"s."""
        return "real"

    @property
    def num_classes(self) -> int:
        """C, for a model of symbols 0 .. C-1."""
        raise unwritten(self)

    @property
    def num_inputs(self) -> int | None:
        """Size of u_t: 0 if the model reads no inputs, None if it takes whatever its functions take."""
        return 0

    @property
    def num_steps(self) -> int | None:
        """How many times the model's parameters cover; None if they do not vary in time."""
        return None

    def prepare(self, steps: Step) -> Step:
        """All that needs no carry, for all times at once, before the scan; the identity by default.

        Takes stacked steps (T, ...) as they come from the data and returns them with what `predict`, `update`
        and `emit` want to see in the place of u and y. Where `observed` has an axis per component, the prepared
        y must account for it (partly missing vectors are marginalised); a step with nothing observed is
        skipped by the driver.
        """
        return steps

    def misses_parts(self, steps: Step) -> bool:
        """Whether single components of vectors (flags per component in these steps) may be missing."""
        return True

    def log_prior(self) -> Scalar:
        """log p(parameters) up to a constant, added to the evidence in every fit; 0 without priors."""
        return jnp.zeros(())

    def validate(self, ys: np.ndarray) -> None:
        """Raise ValueError if observed values, in one flat array, lie outside what the model can emit."""
        return None

    def validate_events(self, ys: np.ndarray, seen: np.ndarray) -> None:
        """As `validate`, of events (M, *event) and which of their components are there, one flag each."""
        if seen.any():
            self.validate(ys[seen])

    def validate_steps(self, steps: Step) -> None:
        """Raise ValueError or TypeError if concrete steps, (T, ...) or (B, T, ...), are not what the model takes."""
        return None


class AbstractStateSpace(AbstractModel):
    """A model that can be drawn from: distributions of the state and of the observation, given points.

    `u` is what `prepare` made of the inputs. Distributions are made where they are used and never returned
    from a scan.
    """

    @property
    def weighs_otherwise(self) -> str | None:
        """Where a state is not weighed by p(y | x) alone: why, as the end of an error. None where it is."""
        return None

    @abstractmethod
    def initial_state(self, u: PyTree) -> Any:
        """p(x_1 | u_1)."""

    @abstractmethod
    def next_state(self, state: PyTree, u: PyTree) -> Any:
        """p(x_t | x_{t-1}, u_t)."""

    @abstractmethod
    def observation(self, state: PyTree, u: PyTree) -> Any:
        """p(y_t | x_t, u_t)."""
