"""What makes one fit another one, in a few bytes: so that an interrupted fit goes on with what it was begun with."""

import functools
import hashlib
import re
import types
from collections.abc import Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

# By the name of an argument: a digest of it, and how it looks to people.
Fingerprint: TypeAlias = dict[str, list[str]]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(parts: Mapping[str, Any]) -> Fingerprint:
    """Of everything that the course of a fit depends on, by name.

    Of functions, their code counts and what they close over; what they read from their module does not.
    """
    return {name: [digest(part), _summary(part)] for name, part in parts.items()}


def differences(saved: Fingerprint, now: Fingerprint) -> list[str]:
    """What differs, in words."""
    names = [name for name in {**now, **saved} if saved.get(name, [None])[0] != now.get(name, [None])[0]]
    return [_difference(name, saved.get(name), now.get(name)) for name in names]


def digest(part: Any) -> str:
    """The same for equal values, in any process."""
    hashed = hashlib.blake2b(digest_size=16)
    _feed(hashed, part, ())
    return hashed.hexdigest()


def _difference(name: str, saved: list[str] | None, now: list[str] | None) -> str:
    then, here = saved[1] if saved else "nothing", now[1] if now else "nothing"
    return f"{name} ({then} there, {here} here)" if then != here else f"{name} (other values)"


def _summary(part: Any) -> str:
    if part is None or isinstance(part, int | float):
        return str(part)
    if isinstance(part, str):
        return part if len(part) < 40 else "..."
    if eqx.is_array(part):
        return f"{part.dtype}{list(part.shape)}"
    if isinstance(part, list):
        return f"[{', '.join(map(_summary, part))}]"
    if isinstance(part, dict):
        return f"({', '.join(f'{name}={_summary(each)}' for name, each in part.items() if each is not None)})"
    return type(part).__name__


def _feed(hashed: Any, part: Any, within: tuple[int, ...]) -> None:
    """Add a value and all that it holds; `within`: what it is inside of, which functions may hold again."""
    if id(part) in within:
        hashed.update(b"again")
        return
    name, items = _taken_apart(part)
    hashed.update(f"{len(name)}:".encode() + name + f"{len(items)}".encode())
    for item in items:
        _feed(hashed, item, (*within, id(part)))


def _taken_apart(part: Any) -> tuple[bytes, list[Any]]:
    """What kind of value it is, with what cannot be taken apart further, and what it is made of."""
    kind = f"{type(part).__module__}.{type(part).__qualname__}"
    if isinstance(part, int | float) and not isinstance(part, bool):  # of any kind: a tolerance of 0 is one of 0.0
        return repr(float(part) if float(part) == part else part).encode(), []
    if isinstance(part, jax.Array | np.ndarray | np.generic):
        return _array(part)
    if isinstance(part, types.ModuleType | type):
        return f"{part.__name__} {getattr(part, '__module__', '')}".encode(), []
    if isinstance(part, types.FunctionType):
        return b"function", [part.__code__, _closed_over(part), part.__defaults__, part.__kwdefaults__]
    if isinstance(part, types.CodeType):
        return b"code" + part.co_code, [part.co_consts, part.co_names]
    if isinstance(part, types.MethodType):
        return b"method", [part.__func__, part.__self__]
    if isinstance(part, functools.partial):
        return b"partial", [part.func, part.args, part.keywords]
    if isinstance(part, Mapping):
        return kind.encode(), [[key, part[key]] for key in sorted(part, key=repr)]
    if isinstance(part, set | frozenset):
        return kind.encode(), sorted(part, key=repr)
    if isinstance(part, tuple | list):
        return kind.encode(), list(part)
    if hasattr(part, "__wrapped__"):  # what jits or differentiates a function
        return kind.encode(), [part.__wrapped__]  # pyright: ignore[reportAttributeAccessIssue]
    fields = getattr(part, "__dict__", {})
    if fields:
        return kind.encode(), [[name, fields[name]] for name in sorted(fields)]
    return kind.encode() + _ADDRESS.sub("", repr(part)).encode(), []


def _array(part: Any) -> tuple[bytes, list[Any]]:
    if isinstance(part, jax.Array) and jnp.issubdtype(part.dtype, jax.dtypes.prng_key):
        return f"{part.dtype}".encode(), [jax.random.key_data(part)]
    array = np.asarray(part)
    return f"array {array.dtype} {array.shape}".encode() + array.tobytes(), []


def _closed_over(function: types.FunctionType) -> list[Any]:
    return [getattr(cell, "cell_contents", None) for cell in function.__closure__ or ()]
