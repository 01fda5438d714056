"""Two neighbouring times at once: p(x_t, x_{t+1} | y) for the times that are asked for."""

import jax
import jax.numpy as jnp
import numpy as np

from ssm.data import Sequences, observe
from ssm.data.arguments import as_array
from ssm.numeric.checks import is_concrete
from ssm.numeric.trees import index
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.base import AbstractPass, Answer, Walked
from ssm.passes.capabilities import AbstractChain
from ssm.passes.door import ask
from ssm.schedules import AbstractSchedule, resolve
from ssm.shapes import Array, Float, Int, PyTree


def smooth_pairs(
    model: AbstractChain,
    ys: Array,
    times: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
) -> Float[Array, "*B M K K"]:
    """p(x_t = i, x_{t+1} = j | y_{1:T}) in row i, column j, for each t of `times` (M,).

    The pairs of all times would be a (T, K, K) array, which is never made; their sum over time is
    `ssm.expected_statistics(...).transitions`. Where a packed sequence starts at t + 1 the two are independent.
    Raises ValueError for times outside 0 .. T - 2, or of which a sequence (`lengths`) has no t + 1; where neither
    can be seen, under `jit`, their pairs are NaN. Other arguments and errors as in `ssm.filter`; TypeError unless the
    model is an HMM. Source: Rabiner 1989, eq. 37.
    """
    if not isinstance(model, AbstractChain):
        raise TypeError(f"model: smooth_pairs needs a discrete state space, ssm.HMM, got {type(model).__name__}")
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    times = _checked(times, sequences)
    return _smooth_pairs(model, sequences, times, resolve(schedule, model, sequences.steps.t.shape))


def _checked(times: Array, sequences: Sequences) -> Int[Array, "M"]:
    times = as_array("times", times)
    if times.dtype.kind not in "iu":
        raise TypeError(f"times: expected integers, got {times.dtype}")
    if times.ndim != 1:
        raise ValueError(f"times: expected shape (M,), got {tuple(times.shape)}")
    padding = sequences.steps.padding
    if is_concrete(times) and times.size and (padding is None or is_concrete(padding)):
        shortest = sequences.size if padding is None else int(np.sum(~np.asarray(padding), axis=-1).min())
        bad = (np.asarray(times) < 0) | (np.asarray(times) > shortest - 2)
        if bad.any():
            raise ValueError(
                f"times: a pair (t, t + 1) of {shortest} steps has t in 0 .. {shortest - 2}, "
                f"got {np.asarray(times)[bad][0]}"
            )
    return jnp.asarray(times)


@tried
def _smooth_pairs(model, sequences, times, schedule):
    def pairs(way: AbstractPass) -> Answer:
        return way.each(lambda walked: _pairs(walked, way.smooth(walked).probs, times))

    return ask(pairs, constrain(model), sequences.steps, schedule)


def _pairs(walked: Walked, smoothed: Float[Array, "T K"], times: Int[Array, "M"]) -> Float[Array, "M K K"]:
    """The pairs of one sequence."""
    steps, u = walked.steps, walked.prepared.u

    def pair(t: Int[Array, ""]) -> Float[Array, "K K"]:
        after = t + 1
        # 1. p(x_t = i | x_{t+1} = j, y) in row j;  2. times p(x_{t+1} = j | y)
        before = walked.model.reverse(index(walked.filtered, t), index(walked.predicted, after), index(u, after))
        both = (before.as_map().rows * smoothed[after][:, None]).T
        if steps.first is not None:
            both = jnp.where(steps.first[after], smoothed[t][:, None] * smoothed[after], both)
        there = (t >= 0) & (after < len(smoothed))
        if steps.padding is not None:
            there = there & ~steps.padding[after]
        return jnp.where(there, both, jnp.nan)

    return jax.vmap(pair)(times)
