"""What emissions made of one other emission share: the other says what an observation is."""

import numpy as np

from ssm.emissions.common.base import AbstractEmission
from ssm.numeric.protocols import unwritten
from ssm.shapes import Array, Bool, PyTree


class AbstractWrapped(AbstractEmission):
    """An emission of what another observes: as that one in all that its subclasses do not say themselves."""

    @property
    def _inside(self) -> AbstractEmission:
        """The other one; its numbers are not looked at."""
        raise unwritten(self)

    @property
    def num_states(self) -> int:
        """As of what is inside."""
        return self._inside.num_states

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As of what is inside."""
        return self._inside.event_shape

    @property
    def event_kind(self) -> str:
        """As of what is inside."""
        return self._inside.event_kind

    @property
    def num_classes(self) -> int:
        """As of what is inside."""
        return self._inside.num_classes

    @property
    def num_inputs(self) -> int | None:
        """As of what is inside."""
        return self._inside.num_inputs

    def informed(self, us: PyTree, observed: Bool[Array, "T *parts"] | None) -> Bool[Array, "T *parts"] | None:
        """As of what is inside."""
        return self._inside.informed(us, observed)

    def misses_parts(self, ys: Array, us: PyTree) -> bool:
        """As of what is inside."""
        return self._inside.misses_parts(ys, us)

    def validate(self, ys: np.ndarray) -> None:
        """As of what is inside."""
        self._inside.validate(ys)

    def validate_events(self, ys: np.ndarray, seen: np.ndarray) -> None:
        """As of what is inside."""
        self._inside.validate_events(ys, seen)

    def validate_inputs(self, us: PyTree) -> None:
        """As of what is inside."""
        self._inside.validate_inputs(us)
