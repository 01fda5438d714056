"""The recent past: smoothing with a fixed lag, of a whole sequence or of a stream in bounded memory."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.data import each_key, needs_key, observe
from ssm.inference.filtering import at, before_first, one_step
from ssm.inference.smoothing import Smoothed, check_reversible
from ssm.numeric.checks import non_negative_int
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import index
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.base import AbstractPass, Answer, Walked
from ssm.passes.door import ask, in_order, where_missing
from ssm.recursion import AbstractReversibleRecursion
from ssm.scan import everything, scan
from ssm.schedules import AbstractSchedule, Sequential, resolve
from ssm.shapes import Array, Bool, Int, Key, PyTree, Scalar
from ssm.steps import Step


def fixed_lag_smooth(
    model: AbstractReversibleRecursion,
    ys: Array,
    lag: int,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
    key: Key | None = None,
) -> Smoothed:
    """Beliefs p(x_t | y_{1:t+lag}): what is known about each time when `lag` more observations are in.

    `lag` 0 is `ssm.filter`; T - 1 or more is `ssm.smooth`; the last `lag` times see all that is left of their
    sequence. One sweep through the reversed kernels per lag, each for all times at once, so time grows with T lag
    and memory does not grow with `lag`. Other arguments and errors as in `ssm.smooth`; ValueError for a negative
    lag. Source: Moore 1973; Särkkä & Svensson 2023, Bayesian Filtering and Smoothing, ch. 12.
    """
    check_reversible(model, "fixed_lag_smooth")
    needs_key(model, key, "fixed_lag_smooth")
    lag = non_negative_int("lag", lag)
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return _fixed_lag_smooth(model, sequences, lag, resolve(schedule, model, sequences.steps.t.shape), key)


@tried
@where_missing
def _fixed_lag_smooth(model, sequences, lag, schedule, key):
    def smoothed(way: AbstractPass) -> Answer:
        holds, found = way.smoothed() if lag >= sequences.size - 1 else way.lagged(lag)
        return Answer(holds, (found, way.log_evidence))

    found, log_evidence = ask(smoothed, constrain(model), sequences.steps, schedule, each_key(sequences, key))
    return Smoothed(found, jnp.sum(log_evidence, axis=-1))


# -- streaming ------------------------------------------------------------------------------------------------


class LagState(eqx.Module):
    """Where a stream stands, and what it remembers: L = lag + 1 times, the latest one last.

    `smoothed` holds the beliefs p(x_s | y_{1:t}), stacked (L, ...), about the times s = t - lag, ..., t in `times`.
    While the stream is younger than the lag, the first time stands for those before it. `t` counts the steps so far.
    """

    t: Int[Array, ""]
    times: Int[Array, "L"]
    smoothed: Any
    filtered: Any  # p(x_s | y_{1:s})
    predicted: Any  # p(x_s | y_{1:s-1})
    u: PyTree  # what was known before y_s
    y: PyTree  # y_s, prepared
    observed: Bool[Array, "L"]

    @property
    def belief(self) -> Any:
        """The filtered belief p(x_t | y_{1:t})."""
        return index(self.filtered, -1)


class FixedLag(eqx.Module):
    """A stream whose every step also looks `lag` steps back; see `ssm.fixed_lag`."""

    model: AbstractReversibleRecursion
    lag: int = eqx.field(static=True)

    def init(self, u: PyTree = None, *, key: Key | None = None) -> LagState:
        """The state before the first observation; `u` and `key` as in `ssm.init`."""
        needs_key(self.model, key, "fixed_lag")
        belief, first = before_first(self.model, u, key)
        every = lambda tree: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.lag + 1, *leaf.shape)), tree)
        beliefs, t = every(belief), jnp.zeros((), int)
        seen = jnp.zeros(self.lag + 1, bool)
        return LagState(t, every(t), beliefs, beliefs, beliefs, every(first.u), every(first.y), seen)

    def step(
        self, state: LagState, y: Array | None, u: PyTree = None, *, key: Key | None = None
    ) -> tuple[LagState, Scalar]:
        """Take one more observation: the new state, and log p(y_t | y_<t); arguments and errors as in `ssm.step`."""
        needs_key(self.model, key, "fixed_lag")
        if not isinstance(state, LagState):
            raise TypeError(f"state: expected the state of this stream's init or step, got {type(state).__name__}")
        if state.times.shape != (self.lag + 1,):
            raise ValueError(f"state: expected one of lag {self.lag}, got one of lag {state.times.shape[0] - 1}")
        return _step(self.model, one_step(self.model, y, u, by_parts=True), state, key)


def fixed_lag(model: AbstractReversibleRecursion, lag: int) -> FixedLag:
    """Smooth a stream `lag` steps back, in memory that grows with `lag` and not with the stream.

        stream = ssm.fixed_lag(model, lag=5)
        state = stream.init()
        for y in ys:
            state, log_evidence = stream.step(state, y)
            use(state.smoothed)  # beliefs about the last lag + 1 times, the oldest first

    A step costs one of `ssm.step` and `lag` reversed kernels. `state.smoothed` are the last beliefs of `ssm.smooth` on
    the data so far. Raises TypeError for a model that cannot be walked backwards, ValueError for a negative lag.
    """
    check_reversible(model, "fixed_lag")
    return FixedLag(model, non_negative_int("lag", lag))


@compiled
@where_missing
def _step(model, sequences, state, key):
    model, steps = constrain(model), at(sequences.steps, state.t)
    prepared = model.prepare(steps)
    _, saved = scan(model, prepared, belief=state.belief, key=key, save=everything)
    before = (state.times, state.filtered, state.predicted, state.u, state.y, state.observed)
    now = (steps.t, saved.filtered, saved.predicted, prepared.u, prepared.y, jnp.any(prepared.observed)[None])
    both = jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new]), before, now)
    times, filtered, predicted, u, y, observed = both
    # Nothing leads into the first time, which stands for those before it in the memory, too.
    back = Step(t=times, u=u, y=y, observed=observed, first=times == 0)
    window = Walked(model, back, model, back, predicted, filtered, saved.log_evidence, Sequential())
    smoothed = in_order(model).smooth(window)
    smoothed = index(smoothed, jnp.maximum(jnp.arange(len(times)), jnp.sum(times == 0) - 1))
    return LagState(state.t + 1, times, smoothed, filtered, predicted, u, y, observed), saved.log_evidence[0]
