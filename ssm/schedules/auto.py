"""Names for schedules, and the choice behind "auto"."""

import jax

from ssm.recursion import AbstractParallelRecursion, AbstractRecursion
from ssm.schedules.associative import Associative
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.blocked import Blocked
from ssm.schedules.fixed_point import FixedPoint
from ssm.schedules.sequential import Sequential

BLOCK = 128

_NAMED = {
    "sequential": Sequential(),
    "associative": Associative(),
    "blocked": Blocked(BLOCK),
    "fixed_point": FixedPoint(),
}


def resolve(schedule: str | AbstractSchedule, recursion: AbstractRecursion) -> AbstractSchedule:
    """The schedule object behind a name, checked against what the recursion supports.

    Raises ValueError for an unknown name and TypeError for a schedule that the recursion does not support;
    both name the ones that would do.
    """
    if schedule == "auto":
        return choose(recursion)
    if isinstance(schedule, str):
        if schedule not in _NAMED:
            raise ValueError(f"schedule: expected one of {', '.join(['auto', *_NAMED])}, got {schedule!r}")
        schedule = _NAMED[schedule]
    if not isinstance(schedule, AbstractSchedule):
        raise TypeError(f"schedule: expected a name or an object of ssm.schedules, got {type(schedule).__name__}")
    if not schedule.supports(recursion):
        supported = [name for name, candidate in _NAMED.items() if candidate.supports(recursion)]
        raise TypeError(
            f"schedule: {type(recursion).__name__} does not support {schedule}; it supports {', '.join(supported)}"
        )
    return schedule


def choose(recursion: AbstractRecursion) -> AbstractSchedule:
    """The schedule that "auto" stands for.

    On a CPU a sequential scan does the least work and won at every length measured
    (`python -m benchmarks schedules`). On accelerators each scan step costs kernel launches, so parallel
    recursions are composed; that choice is by depth alone and not yet measured.
    """
    if jax.default_backend() != "cpu" and isinstance(recursion, AbstractParallelRecursion):
        return Associative()
    return Sequential()
