"""Blocks of a sequence, or the sequences of a batch, side by side."""

from typing import Any

import equinox as eqx

from ssm.recursion import AbstractScan
from ssm.schedules.base import AbstractSchedule, Walk
from ssm.schedules.sequential import Sequential
from ssm.shapes import PyTree
from ssm.steps import Step


class SideBySide(AbstractSchedule):
    """The sequence in `lanes` blocks, walked together by the vector units of one processor.

    No lane knows where it starts until the one before it has ended. But a recursion that forgets ends up at the
    same belief from any start: so all lanes are swept from a vague start, and swept again from each other's ends
    until every border agrees to `tol` (relative, in every entry; 32 epsilons unless given). By then each lane starts
    where the one before it ended, as in a sequential walk, and an error of `tol` at every border changes the
    log-evidence by at most `tol` times the number of lanes. Where borders do not agree after `max_sweeps` sweeps,
    because the recursion does not forget, and where numbers leave their range, the sequence is walked in order.

    In a batch every sequence is a lane, and there are no borders.

    A `LinearGaussian` with constant matrices and nothing missing is affine in its means: its lanes are joined exactly,
    in one more sweep, and `tol` is what may be left of the way when its covariances count as settled, relative to
    √(P_ii P_jj) (2048 epsilons unless given). Other ones are swept as above, covariances first, until borders agree
    relative to standard deviations (64 epsilons unless given), if there are 4096 steps or more and 3 to 12 states
    (or fewer with several components), or if `lanes` are given.

    For members with such a form (an `HMM` with one matrix for all times, and its best paths; a `LinearGaussian` whose
    start is not diffuse). Anything else that is asked of it, such as packed starts, is walked in order.
    """

    lanes: int | None = eqx.field(static=True, default=None)  # None: by length and size
    tol: float | None = eqx.field(static=True, default=None)
    max_sweeps: int | None = eqx.field(static=True, default=None)  # None: 6, or 3 of covariances that keep moving

    def __check_init__(self):
        if self.lanes is not None and self.lanes < 1:
            raise ValueError(f"SideBySide(lanes): expected at least 1, got {self.lanes}")
        if self.max_sweeps is not None and self.max_sweeps < 1:
            raise ValueError(f"SideBySide(max_sweeps): expected at least 1, got {self.max_sweeps}")

    def run(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """In order: what has a form of its own does not come through here."""
        return Sequential().run(walk, belief, steps)

    def run_backward(self, walk: Walk, belief: Any, steps: Step) -> tuple[Any, PyTree]:
        """In order."""
        return Sequential().run_backward(walk, belief, steps)

    def supports(self, recursion: AbstractScan) -> bool:
        """Members with a way that is so."""
        return any(way.suits(recursion) for way in recursion.ways())


def under_vmap(schedule: AbstractSchedule, shape: tuple[int, ...]) -> AbstractSchedule:
    """The schedule for steps (T,) or (B, T) under a `vmap` over something else.

    One sequence is not cut into blocks there: what to do if they do not hold would be done as well.
    """
    return Sequential() if isinstance(schedule, SideBySide) and len(shape) == 1 else schedule
