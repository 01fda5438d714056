"""The one boundary: what users pass is checked here, and becomes steps.

Inside the library every array is finite where it counts, flags are booleans and shapes agree. Values are
checked where they are concrete; under `jit` the shapes, ranks and dtypes still are.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.checks import is_concrete
from ssm.recursion import AbstractModel, AbstractRecursion, AbstractStateSpace, Step
from ssm.shapes import Array, PyTree
from ssm.trees import float_dtype


class Sequences(NamedTuple):
    """Steps with leading axes (T,) or, if batched, (B, T)."""

    steps: Step
    batched: bool

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
) -> Sequences:
    """Observations as steps.

    Shapes: `ys` (T, *event) or (B, T, *event); `inputs` with leading (T,) or (B, T); `mask` True where observed,
    (T,) or (T, *event), with the B of ys; `lengths` () or (B,), how many leading steps are real; `starts` (T,) or
    (B, T), True where a new sequence begins in a packed one. NaN in concrete ys means missing. Raises
    TypeError and ValueError that name the argument, what came and what was expected.
    """
    check_recursion(model)
    ys = _as_array("ys", ys)
    batched = _is_batched(model, ys)
    lead = ys.shape[: 1 + batched]
    padding = _padding(lengths, lead)
    ys, observed = _observed(model, ys, mask, padding, lead)
    steps = Step(
        u=_inputs(model, inputs, lead),
        y=ys,
        observed=observed,
        first=_starts(starts, lead),
        padding=padding,
        t=_times(lead, padding),
    )
    covered = model.num_steps
    if covered is not None and covered < lead[-1]:
        raise ValueError(f"ys: {lead[-1]} time steps, but the model's time-varying parameters cover only {covered}")
    return Sequences(steps, batched)


def future_steps(
    model: AbstractModel, lead: tuple[int, ...], inputs: PyTree, start: Array | int = 0, name: str = "inputs"
) -> Step:
    """Steps with leading axes `lead`, (steps,) or (B, steps), and nothing observed, at times start, start + 1, ...

    Shapes: `inputs` (*lead, U), `start` () or (B,).
    """
    times = jnp.asarray(start)[..., None] + jnp.arange(lead[-1])
    covered = model.num_steps
    if covered is not None and is_concrete(times) and int(times.max()) >= covered:
        raise ValueError(f"steps: time-varying parameters cover {covered} steps, but step {int(times.max()) + 1} was asked for")
    kind = int if model.event_kind == "symbol" else float_dtype(model)
    return Step(
        u=_inputs(model, inputs, lead, name),
        y=jnp.zeros((*lead, *model.event_shape), kind),
        observed=jnp.zeros(lead, bool),
        t=jnp.broadcast_to(times, lead),
    )


def future_observations(model: AbstractRecursion, ahead: Step, ys: Array) -> Step:
    """Future steps with their observations filled in; `ys` has the leading axes of `ahead`."""
    ys = _as_array("future_ys", ys)
    lead = ahead.t.shape
    if tuple(ys.shape) != (*lead, *model.event_shape):
        raise ValueError(f"future_ys: expected shape {(*lead, *model.event_shape)}, got {tuple(ys.shape)}")
    ys, observed = _observed(model, ys, None, None, lead)
    return dataclasses.replace(ahead, y=ys, observed=observed)


def pad(sequences: Sequence[Array]) -> tuple[Array, Array]:
    """Sequences of different lengths, (T_b, *event) each, as one (B, T, *event) array and its `lengths` (B,).

    Pass both on: `ssm.log_prob(model, ys, lengths=lengths)`.
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError("sequences: expected at least one")
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or any(array.ndim == 0 for array in arrays):
        raise ValueError(f"sequences: expected arrays that differ in length only, got shapes {[a.shape for a in arrays]}")
    lengths = np.array([len(array) for array in arrays])
    if (lengths == 0).any():
        raise ValueError(f"sequences: each needs at least one time step, but number {np.argmin(lengths)} is empty")
    padded = np.zeros((len(arrays), lengths.max(), *arrays[0].shape[1:]), np.result_type(*arrays))
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return jnp.asarray(padded), jnp.asarray(lengths)


def over_sequences(function, sequences: Sequences, key: Array | None, *others: PyTree):
    """function(steps, key, *others) for the one sequence, or for each of a batch with a key of its own."""
    if not sequences.batched:
        return function(sequences.steps, key, *others)
    count = sequences.steps.t.shape[0]
    keys = None if key is None else jax.vmap(lambda b: jax.random.fold_in(key, b))(jnp.arange(count))
    return jax.vmap(function, in_axes=(0, None if keys is None else 0, *[0 for _ in others]))(sequences.steps, keys, *others)


def check_recursion(model: object) -> None:
    """Raise TypeError unless `model` can infer: a recursion, not only a way to draw."""
    if isinstance(model, AbstractRecursion):
        return
    name = type(model).__name__
    if isinstance(model, AbstractStateSpace):
        raise TypeError(
            f"model: a {name} says how states and observations are drawn, not how states are inferred; "
            "wrap it: ssm.ParticleFilter(model, num_particles)"
        )
    raise TypeError(f"model: expected a model of this library, such as ssm.HMM, got {name}")


def needs_key(model: AbstractRecursion, key: Array | None, verb: str) -> None:
    """Raise ValueError for a stochastic recursion without a key, TypeError for something that is no typed key."""
    check_recursion(model)
    if key is None:
        if model.is_stochastic:
            raise ValueError(f"key: {verb} of a {type(model).__name__} draws; pass key=jax.random.key(seed)")
        return
    check_key(key)


def check_key(key: object) -> None:
    """Raise TypeError unless `key` is one typed JAX key."""
    if not (eqx.is_array(key) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"key: expected a typed key, jax.random.key(seed), got {type(key).__name__} {getattr(key, 'dtype', '')}")
    if key.shape != ():
        raise ValueError(f"key: expected one key, got an array of keys of shape {key.shape}")


# -- one argument each ----------------------------------------------------------------------------------------


def _as_array(name: str, values: object) -> Array:
    if isinstance(values, list | tuple) and len({np.shape(value) for value in values if eqx.is_array_like(value)}) > 1:
        raise ValueError(
            f"{name}: got {len(values)} sequences of different shapes; pad them first: ys, lengths = ssm.pad(sequences)"
        )
    try:
        array = values if eqx.is_array(values) else np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name}: got a {type(values).__name__} of sequences of different shapes; "
            "pad them first: ys, lengths = ssm.pad(sequences)"
        ) from error
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    return array


def _is_batched(model: AbstractRecursion, ys: Array) -> bool:
    event = model.event_shape
    name = type(model).__name__
    expected = f"(T, {_tail(event)}) or (B, T, {_tail(event)})" if event else "(T,) or (B, T)"
    extra = ys.ndim - len(event)
    if extra not in (1, 2) or tuple(ys.shape[ys.ndim - len(event) :]) != tuple(event):
        hint = ""
        if event == (1,) and ys.ndim in (1, 2):
            hint = "; for a single series add the axis: ys[..., None]"
        raise ValueError(f"ys: {name} observes events of shape {event}, so expected {expected}, got {tuple(ys.shape)}{hint}")
    if 0 in ys.shape[:extra]:
        raise ValueError(f"ys: expected at least one time step, got shape {tuple(ys.shape)}")
    return extra == 2


def _padding(lengths: object, lead: tuple[int, ...]) -> Array | None:
    if lengths is None:
        return None
    lengths = _as_array("lengths", lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {lengths.dtype}")
    if lengths.shape != lead[:-1]:
        raise ValueError(f"lengths: expected shape {lead[:-1]} for ys with leading axes {lead}, got {tuple(lengths.shape)}")
    if is_concrete(lengths):
        values = np.asarray(lengths)
        if (values < 1).any() or (values > lead[-1]).any():
            bad = values[(values < 1) | (values > lead[-1])].flat[0]
            raise ValueError(f"lengths: each must lie in 1 .. {lead[-1]}, the length of the time axis, got {bad}")
        if (values == lead[-1]).all():
            return None
    return jnp.arange(lead[-1]) >= jnp.asarray(lengths)[..., None]


def _times(lead: tuple[int, ...], padding: Array | None) -> Array:
    """0, 1, ...; in padding time stands still, so that what is keyed or looked up by t does not see it."""
    times = jnp.broadcast_to(jnp.arange(lead[-1]), lead)
    if padding is None:
        return times
    return jnp.minimum(times, jnp.sum(~padding, axis=-1, keepdims=True, dtype=times.dtype) - 1)


def _starts(starts: object, lead: tuple[int, ...]) -> Array | None:
    if starts is None:
        return None
    starts = _flags("starts", starts, lead, lead)
    return jnp.asarray(starts)


def _flags(name: str, flags: object, *shapes: tuple[int, ...]) -> Array:
    flags = _as_array(name, flags)
    if flags.dtype != bool:
        raise TypeError(f"{name}: expected booleans, got {flags.dtype}")
    if tuple(flags.shape) not in shapes:
        expected = " or ".join(str(shape) for shape in dict.fromkeys(shapes))
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(flags.shape)}")
    return flags


def _observed(
    model: AbstractRecursion, ys: Array, mask: object, padding: Array | None, lead: tuple[int, ...]
) -> tuple[Array, Array | None]:
    """Finite observations in the model's dtype, and which of them (T,) or (T, *event) are there."""
    observed = None if mask is None else _flags("mask", mask, lead, tuple(ys.shape))
    if is_concrete(ys) and ys.dtype.kind == "f":
        observed = _without_nan(np.asarray(ys), len(model.event_shape), observed, padding)
    real = _both(_spread(observed, ys), None if padding is None else _spread(~padding, ys))
    _check_values(model, ys, real)
    dtype = jnp.zeros((), int).dtype if model.event_kind == "symbol" else float_dtype(model)
    ys = jnp.asarray(ys)
    if real is not None:
        ys = jnp.where(real, ys, jnp.zeros((), ys.dtype))
    return ys.astype(dtype), None if observed is None else jnp.asarray(observed)


def _without_nan(ys: np.ndarray, event_rank: int, observed: Array | None, padding: Array | None) -> Array | None:
    """Flags that are False where concrete ys are NaN; None if all is there."""
    there = ~np.isnan(ys)
    if padding is not None and is_concrete(padding):
        there = there | np.asarray(_spread(padding, ys))
    if there.all():
        return observed
    steps = ys.ndim - event_rank
    whole = there.reshape(there.shape[:steps] + (-1,))
    if (whole.all(-1) == whole.any(-1)).all() and (observed is None or observed.ndim == steps):
        there = whole.any(-1)  # every step is seen or missing as a whole: one flag each
    return there if observed is None else _both(_spread(observed, there), there)


def _check_values(model: AbstractRecursion, ys: Array, real: Array | None) -> None:
    if model.event_kind == "symbol" and ys.dtype.kind not in "iu" and not (is_concrete(ys) and ys.dtype.kind == "f"):
        raise TypeError(f"ys: {type(model).__name__} observes symbols, so expected integers, got {ys.dtype}")
    if not is_concrete(ys) or (real is not None and not is_concrete(real)):
        return
    values = np.asarray(ys)
    counted = values if real is None else values[np.broadcast_to(np.asarray(real), values.shape)]
    if counted.dtype.kind == "f":
        if not np.isfinite(counted).all():
            raise ValueError(f"ys: expected finite numbers (NaN for missing), got {counted[~np.isfinite(counted)][0]}")
        if model.event_kind == "symbol" and (counted != np.round(counted)).any():
            raise TypeError(f"ys: {type(model).__name__} observes symbols, so expected integers, got {counted[counted != np.round(counted)][0]}")
    if counted.size:
        model.validate(counted)


def _inputs(model: AbstractModel, inputs: PyTree, lead: tuple[int, ...], name: str = "inputs") -> PyTree:
    expected = model.num_inputs
    if inputs is None:
        if expected:
            raise ValueError(f"{name}: {type(model).__name__} reads {expected} inputs per step; pass an array {(*lead, expected)}")
        return None
    if expected == 0:
        raise ValueError(f"{name}: this {type(model).__name__} reads no inputs, so they would be ignored")

    def leaf(array: object) -> Array:
        array = _as_array(name, array)
        shape = tuple(array.shape)
        if shape[: len(lead)] != lead or (expected is not None and shape[len(lead) :] != (expected,)):
            tail = "..." if expected is None else str(expected)
            raise ValueError(f"{name}: expected shape ({', '.join(map(str, lead))}, {tail}), got {shape}")
        if is_concrete(array) and array.dtype.kind == "f" and not np.isfinite(np.asarray(array)).all():
            raise ValueError(f"{name}: inputs must be known and finite at every step, got NaN or infinity")
        real = expected is not None or jnp.issubdtype(array.dtype, jnp.floating)
        return jnp.asarray(array).astype(float_dtype(model)) if real else jnp.asarray(array)

    return jax.tree.map(leaf, inputs)


# -- flags ----------------------------------------------------------------------------------------------------


def _spread(flags: Array | None, ys: Array) -> Array | None:
    """Flags with trailing axes of size one, to broadcast against ys."""
    return None if flags is None else flags.reshape(flags.shape + (1,) * (ys.ndim - flags.ndim))


def _both(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


def _tail(event: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in event)
