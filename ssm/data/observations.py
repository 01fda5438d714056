"""What users pass, as steps: values are checked where they are concrete; under `jit` shapes, ranks and dtypes are."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from ssm.data.arguments import as_array, inputs_of, is_batched, observations, padding_flags, start_flags, times_of
from ssm.data.models import check_recursion
from ssm.model import AbstractModel
from ssm.numeric.checks import is_concrete
from ssm.numeric.trees import float_dtype, widen
from ssm.numeric.trial import mapped
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Key, Keys, PyTree
from ssm.steps import Step


@functools.partial(jax.tree_util.register_dataclass, data_fields=["steps"], meta_fields=["batched", "unsure"])
@dataclasses.dataclass(frozen=True)
class Sequences:
    """Steps with leading axes (T,) or, if batched, (B, T).

    `unsure`: whether their flags are there only because, under `jit`, nobody could look whether something is missing.
    """

    steps: Step
    batched: bool
    unsure: bool = False

    @property
    def size(self) -> int:
        """T."""
        return self.steps.t.shape[-1]


def observe(
    model: AbstractRecursion,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
) -> Sequences:
    """Observations as steps.

    Shapes: `ys` (T, *event) or (B, T, *event); `inputs` with leading (T,) or (B, T); `mask` True where observed,
    (T,) or (T, *event), with the B of ys; `lengths` () or (B,), how many leading steps are real; `starts` (T,) or
    (B, T), True where a new sequence begins in a packed one. NaN in ys means missing, unless `missing` is False. Raises
    TypeError and ValueError that name the argument, what came and what was expected.
    """
    check_recursion(model)
    ys = as_array("ys", ys)
    batched = is_batched(model, ys)
    lead = ys.shape[: 1 + batched]
    padding = padding_flags(lengths, lead)
    seen = observations(model, ys, mask, padding, lead, missing)
    steps = Step(
        u=inputs_of(model, inputs, lead),
        y=seen.ys,
        observed=seen.flags,
        first=start_flags(starts, lead),
        padding=padding,
        t=times_of(lead, padding),
    )
    model.validate_steps(steps)
    covered = model.num_steps
    if covered is not None and covered < lead[-1]:
        raise ValueError(f"ys: {lead[-1]} time steps, but the model's time-varying parameters cover only {covered}")
    return Sequences(_as_wholes(model, steps) if seen.unsure else steps, batched, seen.unsure)


def _as_wholes(model: AbstractRecursion, steps: Step) -> Step:
    """With one flag per step, where events are vectors of which the model cannot leave out single components.

    A step of which a part is missing keeps its NaN, since that is not allowed; where it can be seen, it is an error.
    """
    observed = steps.observed
    if observed is None or not model.event_shape or model.misses_parts(steps):
        return steps
    whole = jnp.any(observed.reshape(*steps.t.shape, -1), axis=-1)
    partly = widen(whole, observed.ndim) & ~observed
    return dataclasses.replace(steps, y=jnp.where(partly, jnp.nan, steps.y), observed=whole)


def future_steps(
    model: AbstractModel, lead: tuple[int, ...], inputs: PyTree, start: Array | int = 0, name: str = "inputs"
) -> Step:
    """Steps with leading axes `lead`, (steps,) or (B, steps), and nothing observed, at times start, start + 1, ...

    Shapes: `inputs` (*lead, U), `start` () or (B,).
    """
    times = jnp.asarray(start)[..., None] + jnp.arange(lead[-1])
    covered = model.num_steps
    if covered is not None and is_concrete(times) and int(times.max()) >= covered:
        raise ValueError(
            f"steps: time-varying parameters cover {covered} steps, but step {int(times.max()) + 1} was asked for"
        )
    kind = int if model.event_kind == "symbol" else float_dtype(model)
    steps = Step(
        u=inputs_of(model, inputs, lead, name),
        y=jnp.zeros((*lead, *model.event_shape), kind),
        observed=jnp.zeros(lead, bool),
        t=jnp.broadcast_to(times, lead),
    )
    model.validate_steps(steps)
    return steps


def future_observations(model: AbstractRecursion, ahead: Step, ys: Array) -> Step:
    """Future steps with their observations filled in; `ys` has the leading axes of `ahead`."""
    ys = as_array("future_ys", ys)
    lead = ahead.t.shape
    if tuple(ys.shape) != (*lead, *model.event_shape):
        raise ValueError(f"future_ys: expected shape {(*lead, *model.event_shape)}, got {tuple(ys.shape)}")
    seen = observations(model, ys, None, None, lead)
    steps = dataclasses.replace(ahead, y=seen.ys, observed=seen.flags)
    model.validate_steps(steps)
    return _as_wholes(model, steps) if seen.unsure else steps


def over_sequences(function, sequences: Sequences, key: Array | None, *others: PyTree) -> Any:
    """function(steps, key, *others) for the one sequence, or for each of a batch with a key of its own."""
    if not sequences.batched:
        return function(sequences.steps, key, *others)
    keys = each_key(sequences, key)
    in_axes = 0, None if keys is None else 0, *[0 for _ in others]
    return mapped(function, in_axes)(sequences.steps, keys, *others)


def each_pair(sequences: Sequences, key: Key) -> tuple[Keys, Keys]:
    """Two keys for two purposes, each as of `each_key`."""
    keys: Any = each_key(sequences, key)
    both = jax.vmap(jax.random.split)(keys) if sequences.batched else jax.random.split(keys)
    return both[..., 0], both[..., 1]


def each_key(sequences: Sequences, key: Array | None) -> Array | None:
    """The key, or one (B,) for every sequence of a batch."""
    if key is None or not sequences.batched:
        return key
    return jax.vmap(lambda b: jax.random.fold_in(key, b))(jnp.arange(sequences.steps.t.shape[0]))
