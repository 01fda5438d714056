"""Names for schedules, and the choice behind "auto"."""

import jax

from ssm.recursion import AbstractScan
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
    schedule: str | AbstractSchedule, recursion: AbstractScan, shape: tuple[int, ...] | None = None
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


def choose(recursion: AbstractScan, shape: tuple[int, ...] | None = None) -> AbstractSchedule:
    """The schedule that "auto" stands for.

    On a CPU a sequential scan does the least work, and members that can walk blocks or sequences side by side use
    the processor best (`python -m benchmarks schedules_vs_length side_by_side`).

    On accelerators no run was timed, but programs of T = 4096 steps were compiled for an H100 and a TPU v5e.
    `Associative`, whose levels are unrolled, takes 15 s and 20 s for the evidence of an HMM, 22 s and 16 s for its
    gradient, 73 s and 319 s for the evidence of a Kalman filter: it is there by name, and not chosen. `Sequential`
    takes 2.0 s and 1.9 s, 3.2 s and 2.3 s, 4.8 s and 2.4 s for the same, in at least T dependent steps; a Kalman
    filter's gradient takes 12 s and 23 s. One long sequence in blocks side by side takes 3.2 s and 1.6 s for the
    evidence of an HMM, in 192 dependent steps; what else has such a form takes 0.9 to 1.6 times as long to compile
    for the TPU as in order, and a Kalman filter with gaps 2.5 times. A batch is walked in order, all sequences at
    once: side by side it would be gathered from the devices it is split over.
    """
    alone = jax.default_backend() == "cpu" or (shape is not None and len(shape) == 1)
    if alone and shape is not None and any(way.pays(recursion, shape) for way in recursion.ways()):
        return SideBySide()
    return Sequential()
