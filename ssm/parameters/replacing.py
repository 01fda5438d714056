"""Models with other parameters: `model.replace(transition=..., emission=...)`."""

import copy
import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks


class AbstractReplaceable(eqx.Module):
    """What has parameters under public names: those of its constructor."""

    # Stored fields that are not made of the argument of the same name alone.
    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # Names of arguments that are parts of others.
    stands_for: ClassVar[Mapping[str, str]] = {}

    def replace(self, **values: Any) -> Self:
        """The same with other values of some constructor arguments, or of parts of them, checked as by the constructor.

        Names are those that `ssm.fit` takes as `frozen`: `model.replace(transition=matrix)`, or with a dot
        `model.replace(**{"emission.loc": loc})`. What is not named stays as it is, bit by bit, options included. Cells,
        heads and networks, which draw their own parameters, go by the names of what is stored, and keep their shapes.
        Works under jit and grad. Raises TypeError for a name that there is not, and what the constructor raises.
        """
        given, changed = _put(self._arguments(), self._named(values), f"{type(self).__name__}.replace")
        given |= {name: self._adopted(name, given[name]) for name in changed}
        new = self._remade(given, changed)
        for field in dataclasses.fields(new):
            kept = set(self._sources(field.name)) <= set(given) - changed and not field.metadata.get("static", False)
            if kept and _alike(old := getattr(self, field.name), getattr(new, field.name)):
                object.__setattr__(new, field.name, old)
        return new

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """By the names of arguments and parts of them."""
        inside = lambda name: name.split(".")[0]
        full = lambda name: self.stands_for.get(inside(name), inside(name)) + name[len(inside(name)) :]
        return {full(name): value for name, value in values.items()}

    def _arguments(self) -> dict[str, Any]:
        """What the constructor would make this of; what is stored, if it draws that itself."""
        names, drawn = _constructor(type(self))
        if drawn:
            return {field.name: getattr(self, field.name) for field in _arrays(self)}
        stored = {source for field in dataclasses.fields(self) for source in self._sources(field.name)}
        return {name: getattr(self, name) for name in names if name in stored}

    def _sources(self, field: str) -> tuple[str, ...]:
        return self.made_of.get(field, (field.lstrip("_"),))

    def _adopted(self, name: str, value: Any) -> Any:
        """A new value as the constructor is to see it."""
        return value

    def _remade(self, given: dict[str, Any], changed: set[str]) -> Self:
        """What the constructor makes of the arguments."""
        names, drawn = _constructor(type(self))
        if drawn:
            return exchanged(self, {name: given[name] for name in changed})
        several = [name for name, kind in names.items() if kind is inspect.Parameter.VAR_POSITIONAL]
        return type(self)(*[part for name in several for part in given.pop(name)], **given)


def exchanged(node: Any, values: Mapping[str, Any]) -> Any:
    """A module with other values of its fields, each of the structure and shapes that are there."""
    new = copy.copy(node)
    for name, value in values.items():
        object.__setattr__(new, name, _fitted(name, getattr(node, name), value))
    return new


def _put(given: dict[str, Any], values: Mapping[str, Any], what: str) -> tuple[dict[str, Any], set[str]]:
    """Values in their places among what is given, and which places these are. TypeError for a place that is not."""
    changed: dict[str, Any] = {}
    for name in dict.fromkeys(each.split(".")[0] for each in values):
        below = {each.removeprefix(f"{name}."): value for each, value in values.items() if each.startswith(f"{name}.")}
        if name not in given:
            raise TypeError(f"{what}: there is no {name!r}; expected {', '.join(given) or 'nothing'}")
        if name in values and below:
            raise TypeError(f"{what}: got {name!r} and also {f'{name}.{next(iter(below))}'!r}, which is a part of it")
        changed[name] = values[name] if name in values else _part(given[name], below, f"{what}: {name}")
    return given | changed, set(changed)


def _part(node: Any, values: Mapping[str, Any], what: str) -> Any:
    """`node` with parts of it replaced."""
    if isinstance(node, AbstractReplaceable):
        return node.replace(**values)
    if isinstance(node, Mapping):
        return _put({str(key): part for key, part in node.items()}, values, what)[0]
    if isinstance(node, tuple | list):
        return type(node)(_put({str(i): part for i, part in enumerate(node)}, values, what)[0].values())
    if isinstance(node, eqx.Module):
        given, changed = _put({field.name: getattr(node, field.name) for field in _arrays(node)}, values, what)
        return exchanged(node, {name: given[name] for name in changed})
    raise TypeError(f"{what} is a {type(node).__name__} without named parts, got {', '.join(values)}")


def _fitted(name: str, old: Any, new: Any) -> Any:
    """A value in the place of another one; ValueError or TypeError unless it has its structure and shapes."""
    if eqx.is_array(old):
        return checks.real(name, new, old.shape).astype(old.dtype)
    if not _alike(old, new):
        raise TypeError(f"{name}: expected a {type(old).__name__} of the sizes and options that are there, got {new!r}")
    return new


def _alike(old: Any, new: Any) -> bool:
    """Whether two trees differ in numbers alone."""
    kind = lambda leaf: (np.shape(leaf), jnp.result_type(leaf)) if eqx.is_array_like(leaf) else None
    same = jax.tree.structure(old) == jax.tree.structure(new)
    return same and list(map(kind, jax.tree.leaves(old))) == list(map(kind, jax.tree.leaves(new)))


def _arrays(module: Any) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(module) if not field.metadata.get("static", False)]


@functools.cache
def _constructor(kind: type) -> tuple[dict[str, Any], bool]:
    """The arguments of a class and their kinds, and whether it draws its parameters itself."""
    parameters = inspect.signature(kind.__init__).parameters
    return {name: parameter.kind for name, parameter in parameters.items() if name != "self"}, "key" in parameters
