"""What families with a location for every state share: their sizes."""

import equinox as eqx

from ssm.emissions.common.base import AbstractEmission
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
