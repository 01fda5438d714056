"""What families with a location for every state share: their sizes."""

from typing import Any

import equinox as eqx
import numpy as np

from ssm.emissions.base import AbstractEmission
from ssm.shapes import Array, Float


class AbstractLocated(AbstractEmission):
    """A family whose `loc` says how many states there are, and of what shape an observation is."""

    loc: eqx.AbstractVar[Float[Array, "K *event"]]

    @property
    def num_states(self) -> int:
        """K."""
        return self.loc.shape[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """() or (N,)."""
        return self.loc.shape[1:]


def leading_axes(parameter: Any) -> tuple[str, ...]:
    """(K,) for scalar observations, (K, N) for vectors."""
    return ("K",) if np.ndim(parameter) == 1 else ("K", "N")
