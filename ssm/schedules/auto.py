"""Names for schedules, and the choice behind "auto"."""

import jax

from ssm.recursion import AbstractParallelRecursion, AbstractRecursion, offers
from ssm.schedules.associative import Associative
from ssm.schedules.base import AbstractSchedule
from ssm.schedules.blocked import Blocked
from ssm.schedules.fixed_point import FixedPoint
from ssm.schedules.sequential import Sequential
from ssm.schedules.side_by_side import SideBySide

BLOCK = 128

_NAMED = {
    "sequential": Sequential(),
    "associative": Associative(),
    "blocked": Blocked(BLOCK),
    "fixed_point": FixedPoint(),
    "side_by_side": SideBySide(),
}


def resolve(
    schedule: str | AbstractSchedule, recursion: AbstractRecursion, shape: tuple[int, ...] | None = None
) -> AbstractSchedule:
    """The schedule object behind a name, checked against what the recursion supports.

    `shape`: of the steps, (T,) or (B, T); None if they are walked under a `vmap` over something else.

    Raises ValueError for an unknown name and TypeError for a schedule that the recursion does not support;
    both name the ones that would do.
    """
    if schedule == "auto":
        return choose(recursion, shape)
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


def choose(recursion: AbstractRecursion, shape: tuple[int, ...] | None = None) -> AbstractSchedule:
    """The schedule that "auto" stands for.

    On a CPU a sequential scan does the least work, and members that can walk blocks or sequences side by side use
    the processor best (`python -m benchmarks schedules_vs_length side_by_side`). On accelerators each scan step costs
    kernel launches, so parallel recursions are composed; that choice is by depth alone and not yet measured.
    """
    if jax.default_backend() != "cpu" and offers(recursion, AbstractParallelRecursion):
        return Associative()
    if shape is not None and recursion.gains_side_by_side(shape):
        return SideBySide()
    return Sequential()
