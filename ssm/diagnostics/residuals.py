"""Does the model describe the data: every observation as the normal quantile of what was expected of it."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from ssm.beliefs import Categorical
from ssm.data import Sequences, each_key, needs_key, observe
from ssm.distributions import Tails, tails
from ssm.numeric.trees import widen
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.base import Walked
from ssm.passes.capabilities import AbstractChain
from ssm.passes.door import ask, where_missing
from ssm.schedules import AbstractSchedule, resolve
from ssm.shapes import Array, Float, Key, PyTree
from ssm.steps import Step


class Residuals(eqx.Module):
    """Standard normal, if the model is true; (T, *event) with a leading B for batches, NaN where nothing was observed.

    For discrete observations a segment from `low` to `high`, in which `mid` stands for all of it; otherwise the three
    are one. As an array, `mid`.
    """

    low: Float[Array, "..."]
    mid: Float[Array, "..."]
    high: Float[Array, "..."]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """`mid`, for NumPy."""
        return np.array(self.mid, dtype, copy=copy)


def residuals(
    model: Any,
    ys: Array,
    inputs: PyTree = None,
    *,
    kind: Literal["forecast", "ordinary"] = "forecast",
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
    key: Key | None = None,
) -> Residuals:
    """Normal pseudo-residuals z = Φ⁻¹(P(Y <= y)) (Zucchini & MacDonald 2009, sections 6.2.2 and 6.2.3).

    `kind` "forecast": y_t under p(y_t | y_<t); independent of each other if the model is true. "ordinary", for an
    `ssm.HMM`: y_t under p(y_t | all other observations), which shows outliers best; not independent. Components of a
    vector are each taken under their own marginal distribution. For discrete observations `low` is Φ⁻¹(P(Y < y)),
    `high` Φ⁻¹(P(Y <= y)), and `mid` between the two in probability. Infinite beyond what the dtype can hold: for
    normals about 13 standard deviations in float32 and 37 in float64, for other families 5 and 8 above the median. NaN
    where an exactly diffuse start leaves a component with infinite variance. Components of a `LinearGaussian` that are
    to be independent of each other, too: `ssm.innovations`.
    Other arguments and errors as in `ssm.filter`; TypeError for families whose components have no known cumulative
    probability.
    """
    needs_key(model, key, "residuals")
    if kind not in ("forecast", "ordinary"):
        raise ValueError(f'kind: expected "forecast" or "ordinary", got {kind!r}')
    if kind == "ordinary" and not isinstance(model, AbstractChain):
        raise TypeError(f'kind: "ordinary" residuals are for an ssm.HMM, got {type(model).__name__}; use "forecast"')
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return _residuals(model, sequences, resolve(schedule, model, sequences.steps.t.shape), key, kind)


@tried
@where_missing
def _residuals(model: Any, sequences: Sequences, schedule: AbstractSchedule, key: Key | None, kind: str) -> Residuals:
    question = lambda way: way.each(lambda walked: _of_one(walked, kind))
    return ask(question, constrain(model), sequences.steps, schedule, each_key(sequences, key))


def _of_one(walked: Walked, kind: str) -> Residuals:
    """The residuals of one sequence."""
    model, steps, expected = walked.model, walked.steps, walked.predicted
    prepared = model.prepare(steps)
    if kind == "ordinary":
        others = expected.log_probs + model.messages(prepared)
        expected = Categorical(jax.nn.softmax(others, axis=1))
    read_out = lambda belief, u, y: tails(model.emit(belief, u), y)
    found = _as_normal(jax.vmap(read_out)(expected, prepared.u, steps.y))
    return jax.tree.map(lambda z: jnp.where(_there(steps, z), z, jnp.nan), found)


def _as_normal(sides: Tails) -> Residuals:
    """Normal quantiles, from the tail that is the smaller: in float32, 1 - 1e-9 is 1."""
    quantile = lambda lower, upper: jnp.where(lower < upper, ndtri(lower), -ndtri(upper))
    middle = lambda a, b: a + (b - a) / 2
    return Residuals(
        quantile(sides.below, sides.from_here),
        quantile(middle(sides.below, sides.up_to), middle(sides.above, sides.from_here)),
        quantile(sides.up_to, sides.above),
    )


def _there(steps: Step, z: Float[Array, "T *event"]) -> Array:
    """Which entries were observed, to broadcast against z."""
    there = jnp.ones((1,) * z.ndim, bool)
    if steps.observed is not None:
        there = there & widen(steps.observed, z.ndim)
    return there if steps.padding is None else there & ~widen(steps.padding, z.ndim)
