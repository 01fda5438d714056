"""One argument of a verb at a time: what came, what was expected, and the arrays that the library works on."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.model import AbstractModel
from ssm.numeric.checks import is_concrete
from ssm.numeric.trees import float_dtype, widen
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, PyTree


def as_array(name: str, values: Any) -> Any:
    """Values as an array of numbers; ValueError for ragged lists, TypeError for what is no number."""
    if isinstance(values, list | tuple) and len({np.shape(value) for value in values if eqx.is_array_like(value)}) > 1:
        raise ValueError(
            f"{name}: got {len(values)} sequences of different shapes; pad them first: ys, lengths = ssm.pad(sequences)"
        )
    try:
        array: Any = values if eqx.is_array(values) else np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name}: got a {type(values).__name__} of sequences of different shapes; "
            "pad them first: ys, lengths = ssm.pad(sequences)"
        ) from error
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    return array


def is_batched(model: AbstractRecursion, ys: Array) -> bool:
    """Whether ys is (B, T, *event) rather than (T, *event); ValueError if it is neither."""
    event = model.event_shape
    name = type(model).__name__
    expected = f"(T, {_tail(event)}) or (B, T, {_tail(event)})" if event else "(T,) or (B, T)"
    extra = ys.ndim - len(event)
    if extra not in (1, 2) or tuple(ys.shape[ys.ndim - len(event) :]) != tuple(event):
        hint = ""
        if event == (1,) and ys.ndim in (1, 2):
            hint = "; for a single series add the axis: ys[..., None]"
        raise ValueError(
            f"ys: {name} observes events of shape {event}, so expected {expected}, got {tuple(ys.shape)}{hint}"
        )
    if 0 in ys.shape[:extra]:
        raise ValueError(f"ys: expected at least one time step, got shape {tuple(ys.shape)}")
    return extra == 2


def padding_flags(lengths: Any, lead: tuple[int, ...]) -> Array | None:
    """Flags that are True from each sequence's length on; None if all are full."""
    if lengths is None:
        return None
    lengths = as_array("lengths", lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {lengths.dtype}")
    if lengths.shape != lead[:-1]:
        raise ValueError(
            f"lengths: expected shape {lead[:-1]} for ys with leading axes {lead}, got {tuple(lengths.shape)}"
        )
    if is_concrete(lengths):
        values = np.asarray(lengths)
        if (values < 1).any() or (values > lead[-1]).any():
            bad = values[(values < 1) | (values > lead[-1])].flat[0]
            raise ValueError(f"lengths: each must lie in 1 .. {lead[-1]}, the length of the time axis, got {bad}")
        if (values == lead[-1]).all():
            return None
    return jnp.arange(lead[-1]) >= jnp.asarray(lengths)[..., None]


@functools.lru_cache(maxsize=32)
def _counted(lead: tuple[int, ...], dtype: str) -> Array:
    """0, 1, ... along the last axis; kept, since a call on short data takes no longer than making them."""
    with jax.ensure_compile_time_eval():
        return jnp.asarray(np.broadcast_to(np.arange(lead[-1], dtype=dtype), lead))


def times_of(lead: tuple[int, ...], padding: Array | None) -> Array:
    """0, 1, ...; in padding time stands still, so that what is keyed or looked up by t does not see it."""
    times = _counted(tuple(lead), jnp.result_type(int).name)
    if padding is None:
        return times
    return jnp.minimum(times, jnp.sum(~padding, axis=-1, keepdims=True, dtype=times.dtype) - 1)


def start_flags(starts: Any, lead: tuple[int, ...]) -> Array | None:
    """Flags that are True where a packed sequence begins; None for one sequence."""
    if starts is None:
        return None
    starts = _flags("starts", starts, lead, lead)
    return jnp.asarray(starts)


def _flags(name: str, flags: Any, *shapes: tuple[int, ...]) -> Array:
    flags = as_array(name, flags)
    if flags.dtype != bool:
        raise TypeError(f"{name}: expected booleans, got {flags.dtype}")
    if tuple(flags.shape) not in shapes:
        expected = " or ".join(str(shape) for shape in dict.fromkeys(shapes))
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(flags.shape)}")
    return flags


class Observed(NamedTuple):
    """Observations at the door."""

    ys: Array  # in the model's dtype; finite, or NaN where what could not be looked at was neither finite nor missing
    flags: Array | None  # (T,) or (T, *event), True where observed
    unsure: bool  # whether the flags are there only because nobody could look whether something is missing


def observations(
    model: AbstractRecursion, ys: Array, mask: Any, padding: Array | None, lead: tuple[int, ...], missing: Any = None
) -> Observed:
    """What came, checked where it can be looked at; `missing` as in `ssm.filter`."""
    if missing is not None and missing is not False:
        raise ValueError(
            "missing: expected None (NaN is looked for, and means missing) or False (there is none), "
            f"got {missing!r}; which observations are there is said by mask="
        )
    observed = None if mask is None else _flags("mask", mask, lead, tuple(ys.shape))
    real, unsure = jnp.issubdtype(ys.dtype, jnp.floating), False
    if real and missing is None:
        there = ~np.isnan(ys) if is_concrete(ys) else ~jnp.isnan(ys)  # under grad alone this can be looked at, too
        if is_concrete(there):
            observed = _without_nan(np.asarray(there), len(model.event_shape), observed, padding)
        else:
            unsure = mask is None
            there = there if padding is None else there | _spread(padding, ys)
            observed = there if observed is None else _spread(observed, ys) & there
    counted = _both(_spread(observed, ys), None if padding is None else _spread(~padding, ys))
    looked_at = _check_values(model, ys, counted)
    dtype = jnp.zeros((), int).dtype if model.event_kind == "symbol" else float_dtype(model)
    ys = jnp.asarray(ys)
    if counted is not None:
        ys = jnp.where(counted, ys, jnp.zeros((), ys.dtype))
    if real and not looked_at:
        ys = jnp.where(jnp.isfinite(ys), ys, jnp.nan)  # what an error would name poisons all that it touches
    return Observed(ys.astype(dtype), None if observed is None else jnp.asarray(observed), unsure)


def _without_nan(there: Any, event_rank: int, observed: Any, padding: Array | None) -> Any:
    """Flags that are False where concrete ys are NaN, which is not `there`; None if all is there."""
    if padding is not None and is_concrete(padding):
        there = there | np.asarray(_spread(padding, there))
    if there.all():
        return observed
    steps = there.ndim - event_rank
    whole = there.reshape(there.shape[:steps] + (-1,))
    if (whole.all(-1) == whole.any(-1)).all() and (observed is None or observed.ndim == steps):
        there = whole.any(-1)  # every step is seen or missing as a whole: one flag each
    return there if observed is None else _both(_spread(observed, there), there)


def _check_values(model: AbstractRecursion, ys: Array, real: Array | None) -> bool:
    """Whether values could be looked at; ValueError or TypeError for what the model cannot emit."""
    if model.event_kind == "symbol" and ys.dtype.kind not in "iu" and not (is_concrete(ys) and ys.dtype.kind == "f"):
        raise TypeError(f"ys: {type(model).__name__} observes symbols, so expected integers, got {ys.dtype}")
    if not is_concrete(ys) or (real is not None and not is_concrete(real)):
        return False
    values = np.asarray(ys)
    seen = np.broadcast_to(True if real is None else np.asarray(real), values.shape)
    counted = values if real is None else values[seen]
    if counted.dtype.kind == "f":
        if not np.isfinite(counted).all():
            raise ValueError(f"ys: expected finite numbers (NaN for missing), got {counted[~np.isfinite(counted)][0]}")
        if model.event_kind == "symbol" and (counted != np.round(counted)).any():
            first = counted[counted != np.round(counted)][0]
            raise TypeError(f"ys: {type(model).__name__} observes symbols, so expected integers, got {first}")
    event = tuple(model.event_shape)
    model.validate_events(values.reshape(-1, *event), seen.reshape(-1, *event))
    return True


def inputs_of(model: AbstractModel, inputs: PyTree, lead: tuple[int, ...], name: str = "inputs") -> PyTree:
    """Inputs with leading axes `lead`, in the model's dtype; ValueError if it reads others, or none."""
    expected = model.num_inputs
    if inputs is None:
        if expected:
            raise ValueError(
                f"{name}: {type(model).__name__} reads {expected} inputs per step; pass an array {(*lead, expected)}"
            )
        return None
    if expected == 0:
        raise ValueError(f"{name}: this {type(model).__name__} reads no inputs, so they would be ignored")

    def leaf(array: Any) -> Array:
        array = as_array(name, array)
        shape = tuple(array.shape)
        if shape[: len(lead)] != lead or (expected is not None and shape[len(lead) :] != (expected,)):
            tail = "..." if expected is None else str(expected)
            raise ValueError(f"{name}: expected shape ({', '.join(map(str, lead))}, {tail}), got {shape}")
        if is_concrete(array) and array.dtype.kind == "f" and not np.isfinite(np.asarray(array)).all():
            raise ValueError(f"{name}: inputs must be known and finite at every step, got NaN or infinity")
        looked_at, array = is_concrete(array), jnp.asarray(array)
        if expected is None and not jnp.issubdtype(array.dtype, jnp.floating):
            return array
        array = array.astype(float_dtype(model))
        return array if looked_at else jnp.where(jnp.isfinite(array), array, jnp.nan)

    return jax.tree.map(leaf, inputs)


def _spread(flags: Any, ys: Any) -> Any:
    """Flags with trailing axes of size one, to broadcast against ys."""
    return None if flags is None else widen(flags, ys.ndim)


def _both(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return a & b


def _tail(event: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in event)
