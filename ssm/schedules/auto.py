"""Names for schedules, and the choice behind "auto"."""

import jax

from ssm.recursion import AbstractParallelRecursion, AbstractRecursion
from ssm.schedules.associative import Associative
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.blocked import Blocked
from ssm.schedules.fixed_point import FixedPoint
from ssm.schedules.sequential import Sequential
from ssm.schedules.side_by_side import SideBySide

BLOCK = 128
LONG = 2000  # steps from which blocks side by side pay on a CPU

_NAMED = {
    "sequential": Sequential(),
    "associative": Associative(),
    "blocked": Blocked(BLOCK),
    "fixed_point": FixedPoint(),
    "side_by_side": SideBySide(),
}


def resolve(
    schedule: str | AbstractSchedule, recursion: AbstractRecursion, alone: int | None = None
) -> AbstractSchedule:
    """The schedule object behind a name, checked against what the recursion supports.

    `alone`: the length of a sequence that is walked by itself, not in a batch.

    Raises ValueError for an unknown name and TypeError for a schedule that the recursion does not support;
    both name the ones that would do.
    """
    if schedule == "auto":
        return choose(recursion, alone)
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


def choose(recursion: AbstractRecursion, alone: int | None = None) -> AbstractSchedule:
    """The schedule that "auto" stands for.

    On a CPU a sequential scan does the least work, and for one long sequence blocks side by side use the processor
    best (`python -m benchmarks schedules`). On accelerators each scan step costs kernel launches, so parallel
    recursions are composed; that choice is by depth alone and not yet measured.
    """
    if jax.default_backend() != "cpu" and isinstance(recursion, AbstractParallelRecursion):
        return Associative()
    if alone is not None and alone >= LONG and recursion.runs_side_by_side:
        return SideBySide()
    return Sequential()
