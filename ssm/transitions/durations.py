"""Explicit durations: a semi-Markov chain whose modes last as long as they were drawn to last."""

from collections.abc import Callable
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from ssm.durations.base import AbstractDurations, Tabulated
from ssm.numeric import checks
from ssm.numeric.linalg import HIGHEST, matrix_times_column, row_times_matrix
from ssm.numeric.logspace import dot_log, log, log_sum
from ssm.parameters import Simplex, value
from ssm.parameters.freezing import inner
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.transitions.base import AbstractTransition, normalised, random_like, stationary_of


class Segments(NamedTuple):
    """Expected segments: `jumps` (M, M) from mode to mode, `durations` (M, D) of each mode and length that began."""

    jumps: Float[Array, "*batch M M"]
    durations: Float[Array, "*batch M D"]


class Segment(NamedTuple):
    """One stay in a mode: from the step `start` on, for `length` steps."""

    mode: int
    start: int
    length: int


@final
class Durations(AbstractTransition):
    """An explicit-duration chain over M modes: a mode lasts d ~ durations[mode] steps, then jumps by `transition`.

    Shapes: `transition` (M, M), rows that sum to one, where a mode may follow itself unless the diagonal is zero;
    `durations` a family of `ssm.durations` over 1 .. D. A state is a mode and the number of steps r that are left of
    its segment, this one included: K = M D states, mode m with r steps left is number m D + r - 1. A step costs
    O(M D + M²). With `initial` (M,) the first segment begins at t = 1, and p(x_1) = initial[mode] durations[mode, r];
    the last one may go on after the end of the sequence, and counts only as far as it was seen. Without it the HMM
    is given p(x_1) over all K states, or "stationary": a sequence then begins in the middle of a segment.
    Sources: Ferguson 1980; Yu 2010, section 2 (the residual-time form).
    """

    _transition: Simplex | Float[Array, "M M"]
    _durations: AbstractDurations | Tabulated
    _initial: Simplex | Float[Array, "M"] | None

    def __init__(self, transition: Array, durations: AbstractDurations, initial: Array | None = None):
        if not isinstance(durations, AbstractDurations):
            raise TypeError(f"durations: expected a family of ssm.durations, got {type(durations).__name__}")
        modes = durations.probs.shape[0]
        self._durations = durations
        self._transition = Simplex.of(checks.probabilities("transition", transition, (modes, modes)))
        self._initial = None if initial is None else Simplex.of(checks.probabilities("initial", initial, (modes,)))

    @property
    def transition(self) -> Float[Array, "M M"]:
        """p(next mode | mode that ends)."""
        return value(self._transition)

    @property
    def durations(self) -> AbstractDurations:
        """The family of the durations."""
        return self._durations.family if isinstance(self._durations, Tabulated) else self._durations

    @property
    def table(self) -> Float[Array, "M D"]:
        """p(d | mode)."""
        return value(self._durations).probs

    @property
    def initial(self) -> Float[Array, "M"] | None:
        """p(mode at t = 1), where a segment begins there."""
        return value(self._initial)

    @property
    def num_states(self) -> int:
        """K = M D."""
        return self.transition.shape[0] * self.durations.max_duration

    # -- reading ----------------------------------------------------------------------------------------------

    def modes(self, probs: Float[Array, "*batch K"]) -> Float[Array, "*batch M"]:
        """p(mode) from probabilities of all states, such as `smooth(...).smoothed.probs`."""
        return jnp.sum(probs.reshape(*probs.shape[:-1], *self.table.shape), axis=-1)

    def mode(self, states: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        """The modes of states, such as those that `decode` or `simulate` give."""
        return states // self.durations.max_duration

    def remaining(self, states: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        """Steps that are left of the segment, this one included."""
        return states % self.durations.max_duration + 1

    def segments(self, path: Int[Array, "T"]) -> list[Segment]:
        """A path of states as segments; the last one is as long as it was seen."""
        modes, left = np.asarray(self.mode(path)), np.asarray(self.remaining(path))
        starts = np.flatnonzero(np.append(True, left[:-1] == 1)).tolist()
        lengths = np.diff([*starts, len(modes)]).tolist()
        return [Segment(int(modes[s]), s, n) for s, n in zip(starts, lengths, strict=True)]

    # -- the operator -----------------------------------------------------------------------------------------

    def push(self, probs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """One step less is left; what had one left jumps and draws a duration."""
        left = probs.reshape(self.table.shape)
        entered = row_times_matrix(left[:, 0], self.transition)
        later = jnp.pad(left[:, 1:], ((0, 0), (0, 1)))
        return (later + entered[:, None] * self.table).reshape(-1)

    def pull(self, values: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """The same, transposed."""
        values = values.reshape(self.table.shape)
        jumped = matrix_times_column(self.transition, jnp.sum(self.table * values, axis=1))
        return jnp.concatenate([jumped[:, None], values[:, :-1]], axis=1).reshape(-1)

    def push_logs(
        self, logs: Float[Array, "K"], u: PyTree, add: Callable[[Array, int], Array] = log_sum
    ) -> Float[Array, "K"]:
        """Of going on and of all jumps."""
        left = logs.reshape(self.table.shape)
        entered = add(left[:, :1] + log(self.transition), 0)
        later = jnp.pad(left[:, 1:], ((0, 0), (0, 1)), constant_values=-jnp.inf)
        return add(jnp.stack([later, entered[:, None] + log(self.table)]), 0).reshape(-1)

    def pull_logs(self, logs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """The same, transposed."""
        values = logs.reshape(self.table.shape)
        jumped = log_sum(log(self.transition) + log_sum(log(self.table) + values, 1), 1)
        return jnp.concatenate([jumped[:, None], values[:, :-1]], axis=1).reshape(-1)

    @property
    def has_start(self) -> bool:
        """Whether `initial` was given."""
        return self._initial is not None

    def start(self) -> Float[Array, "K"]:
        """initial[mode] durations[mode, r], or what is stationary."""
        return self.stationary() if self.initial is None else (self.initial[:, None] * self.table).reshape(-1)

    def stationary(self) -> Float[Array, "K"]:
        """p(mode, r) ∝ p(mode of a segment) p(d >= r | mode) (Cox 1962, section 5.3)."""
        longer = jnp.flip(jnp.cumsum(jnp.flip(self.table, axis=1), axis=1), axis=1)
        weights = stationary_of(self.transition)[:, None] * longer
        return (weights / jnp.sum(weights)).reshape(-1)

    # -- learning ---------------------------------------------------------------------------------------------

    def count(self, before: Float[Array, "T K"], gain: Float[Array, "T K"], us: PyTree) -> Segments:
        """Expected jumps and durations of the segments that began: three matrix products."""
        product = lambda spec, *arrays: jnp.einsum(spec, *arrays, precision=HIGHEST)
        gain = gain.reshape(len(gain), *self.table.shape)
        ended = before.reshape(gain.shape)[:, :, 0]  # (T, M)
        begun = product("nd,tnd->tn", self.table, gain)
        entered = product("tm,mn->tn", ended, self.transition)
        jumps = self.transition * product("tm,tn->mn", ended, begun)
        return Segments(jumps, self.table * product("tn,tnd->nd", entered, gain))

    def expected_log_prob(self, counts: Segments, us: PyTree) -> Scalar:
        """Σ jumps log transition + Σ durations log p(d | mode)."""
        return dot_log(counts.jumps, self.transition) + dot_log(counts.durations, self.table)

    def maximise(self, counts: Segments, us: PyTree, frozen: frozenset[str] = frozenset()) -> "Durations":
        """Jumps as shares of each row; durations by their family."""
        return self._fitted(counts, self.initial, frozen)

    def maximise_with_start(
        self, counts: Segments, us: PyTree, starts: Float[Array, "K"], frozen: frozenset[str] = frozenset()
    ) -> "Durations":
        """As `maximise`, with the first segments among those counted."""
        if self.initial is None:
            return super().maximise_with_start(counts, us, starts, frozen)
        first = starts.reshape(self.table.shape)
        initial = self.initial if "initial" in frozen else normalised(jnp.sum(first, axis=1), self.initial)
        return self._fitted(Segments(counts.jumps, counts.durations + first), initial, frozen)

    def _fitted(self, counts: Segments, initial: Float[Array, "M"] | None, frozen: frozenset[str]) -> "Durations":
        transition = self.transition if "transition" in frozen else normalised(counts.jumps, self.transition)
        held = "durations" in frozen
        family = self.durations
        return Durations(
            transition, family if held else family.maximise(counts.durations, inner("durations", frozen)), initial
        )

    def restart(self, key: Key) -> "Durations":
        """Random rows on the same support, random durations."""
        for_transition, for_durations, for_initial = jax.random.split(key, 3)
        initial = None if self.initial is None else random_like(for_initial, self.initial)
        return Durations(random_like(for_transition, self.transition), self.durations.restart(for_durations), initial)
