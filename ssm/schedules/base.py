"""How the beliefs of all times are found; what happens at each time is coded once, in the walk."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx

from ssm.maps.base import AbstractMap
from ssm.numeric.protocols import offers, unwritten
from ssm.numeric.trees import reverse
from ssm.recursion import AbstractScan
from ssm.shapes import PyTree
from ssm.steps import Step


@runtime_checkable
class Walk(Protocol):
    """What `ssm.scan` hands to a schedule: one step, as a function and (for parallel recursions) as data."""

    recursion: AbstractScan

    def __call__(self, belief: Any, step: Step) -> tuple[Any, PyTree]:
        """The next filtered belief, and what the caller asked to save."""
        ...

    def lift(self, step: Step) -> AbstractMap:
        """The same step as a map between beliefs."""
        ...


class AbstractSchedule(eqx.Module):
    """A way to walk through time. All schedules give the same beliefs, up to rounding."""

    requires: ClassVar[type[AbstractScan]] = AbstractScan

    def run(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """The last filtered belief, and what was saved at each of the T steps, stacked."""
        raise unwritten(self)

    def run_backward(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """The same from the last step to the first; what was saved is still in the order of time."""
        last, saved = self.run(walk, belief, reverse(steps))
        return last, reverse(saved)

    def supports(self, recursion: AbstractScan) -> bool:
        """Whether this schedule can walk this recursion."""
        return offers(recursion, self.requires)
