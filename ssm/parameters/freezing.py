"""What of a model a fit moves: all but what is given, and what is frozen by name, whole or entry by entry."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.parameters.base import AbstractOverparametrised, AbstractParameter, AbstractPartlyRead, Constant, numbered
from ssm.shapes import Array, Bool, Int, PyTree

# As users name what is frozen: names, or names with True or with the array of the entries that are.
Frozen: TypeAlias = tuple[str, ...] | list[str] | Mapping[str, Any]

# A name of one entry, such as transition_matrix[0,1].
_ENTRY = re.compile(r"^(.*[^.])\[([\d, ]*)\]$")


def frozen_names(model: PyTree, frozen: Any) -> tuple[str, ...]:
    """Names of what is frozen; those of entries, "transition_matrix[0,1]", for what a mapping has a mask for.

    Raises TypeError for what is no list of names and no mapping, ValueError for masks of another shape.
    """
    if not isinstance(frozen, Mapping):
        if isinstance(frozen, str) or not all(isinstance(name, str) for name in frozen):
            raise TypeError(f"frozen: expected a list of parameter names, or a mapping of them, got {frozen!r}")
        return tuple(frozen)
    names: list[str] = []
    for name, mask in frozen.items():
        mask = np.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"frozen: expected True or an array of bools for {name!r}, got {mask.dtype}")
        if not mask.ndim:
            names += [name] * bool(mask)
            continue
        shape = _place(model, name)[1].shape
        if mask.shape != shape:
            raise ValueError(f"frozen: {name!r} has shape {shape}, got a mask of shape {mask.shape}")
        names += [f"{name}[{','.join(map(str, index))}]" for index in np.argwhere(mask).tolist()]
    return tuple(names)


def trainable(model: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
    """A tree of booleans: True at the floating-point leaves that no name in `frozen` covers.

    A name is a dotted path of attributes, such as "transition" or "emission.scale"; it covers everything
    below it. A leaf of which single entries are frozen is True. Raises ValueError for a name that the model does not
    have.
    """
    given = jax.tree.map(lambda node: isinstance(node, Constant), model, is_leaf=_is_constant)
    given = jax.tree.leaves(jax.tree.map(lambda flag, node: jax.tree.map(lambda _: flag, node), given, model))
    leaves, structure = jax.tree.flatten(model)
    paths = leaf_names(model)
    held_entries(model, frozen)  # raises for entries that the model does not have
    whole = [name for name in frozen if not _ENTRY.match(name)]
    for name in whole:
        _check_known(name, paths)
    free = [
        eqx.is_inexact_array(leaf) and not constant and not any(_covers(name, path) for name in whole)
        for path, leaf, constant in zip(paths, leaves, given, strict=True)
    ]
    return jax.tree.unflatten(structure, free)


def held_entries(model: PyTree, frozen: Iterable[str]) -> dict[int, Bool[np.ndarray, "..."]]:
    """By place among the leaves of a model, which entries are frozen one by one.

    Raises ValueError for entries of a parameter that the model does not have, that is stored in other numbers than
    those of its value (probabilities, covariances without structure), or that has no such index.
    """
    found: dict[int, Any] = {}
    for name, index in filter(None, map(_entry, frozen)):
        place, numbers = _place(model, name)
        if len(index) != numbers.ndim or any(i >= size for i, size in zip(index, numbers.shape, strict=False)):
            raise ValueError(f"frozen: {name!r} has shape {numbers.shape}, got the entry {list(index)}")
        stored = jax.tree.leaves(model)[place].shape
        found.setdefault(place, np.zeros(stored, bool)).flat[numbers[index]] = True
    return found


def held_part(name: str, shape: tuple[int, ...], frozen: Iterable[str]) -> Bool[np.ndarray, "..."]:
    """Which entries of the array `name`, which is one parameter, are frozen: all, none or those that are named."""
    held = np.full(shape, any(_covers(each, name) or _covers(name, each) for each in frozen if not _entry(each)))
    for each, index in filter(None, map(_entry, frozen)):
        if _covers(name, each):
            held[index] = True
    return held


def is_held(part: PyTree, name: str, frozen: Iterable[str]) -> bool:
    """Whether all of the part called `name` is frozen, as a whole or in all of its own parts."""
    return all(any(_covers(each, f"{name}.{path}") for each in frozen) for path in leaf_names(part))


def _entry(name: str) -> tuple[str, tuple[int, ...]] | None:
    """The parameter and the index that the name of an entry is made of; None for other names."""
    match = _ENTRY.match(name)
    return match and (match[1], tuple(int(i) for i in match[2].split(",") if i.strip()))


def _place(model: PyTree, name: str) -> tuple[int, Int[np.ndarray, "..."]]:
    """Where among the leaves the one array is that `name` stands for, and which of its numbers each entry is."""
    paths = leaf_names(model)
    _check_known(name, paths)
    places = [i for i, path in enumerate(paths) if _covers(name, path)]
    if len(places) > 1:
        below = ", ".join(paths[i] for i in places)
        raise ValueError(f"frozen: {name!r} stands for several arrays, {below}; name the one that the entries are of")
    if (numbers := _named_entries(model)[places[0]]) is None:
        raise ValueError(
            f"frozen: single entries of {name!r} cannot be frozen, since it is not stored entry by entry; freeze the "
            "whole (a covariance can be ssm.Diagonal, zeros among probabilities stay zero)"
        )
    return places[0], numbers


def _named_entries(model: PyTree) -> list[Int[np.ndarray, "..."] | None]:
    """For each leaf which of its numbers each entry is, by the parameter that it is of; None where none has a name."""
    is_part = lambda node: isinstance(node, AbstractParameter) and node is not model
    own = model.named_entries if isinstance(model, AbstractParameter) else numbered
    each = lambda node: _named_entries(node) if is_part(node) else [own(node)]
    return [entries for node in jax.tree.leaves(model, is_leaf=is_part) for entries in each(node)]


def _check_known(name: str, paths: list[str]) -> None:
    if not any(_covers(name, path) for path in paths):
        known = sorted({".".join(path.split(".")[:2]) for path in paths})
        raise ValueError(f"frozen: the model has no parameter {name!r}; it has {', '.join(known)}")


class Held(eqx.Module):
    """What a fit does not move: whole leaves, and by place among all leaves which entries of others."""

    rest: PyTree
    entries: dict[int, tuple[Array, Array]]  # which, and the array that holds them


def partition(model: PyTree, frozen: tuple[str, ...] = ()) -> tuple[PyTree, Held]:
    """The leaves that a fit moves, and the rest; `combine` puts them together."""
    free, rest = eqx.partition(model, trainable(model, frozen))
    return free, Held(rest, _given(model, frozen))


def combine(free: PyTree, held: Held) -> Any:
    """The model, with frozen entries as they were given, whatever was done to them since."""
    return _put_back(eqx.combine(free, held.rest), held.entries)


def _given(model: PyTree, frozen: tuple[str, ...]) -> dict[int, tuple[Array, Array]]:
    """`Held.entries` of a model."""
    leaves = jax.tree.leaves(model)
    return {i: (jnp.asarray(mask), leaves[i]) for i, mask in held_entries(model, frozen).items()}


def _put_back(model: PyTree, entries: dict[int, tuple[Array, Array]]) -> Any:
    """The model with those entries as they were given."""
    leaves, structure = jax.tree.flatten(model)
    for i, (mask, given) in entries.items():
        leaves[i] = jnp.where(mask, given, leaves[i])
    return jax.tree.unflatten(structure, leaves)


def inner(name: str, frozen: frozenset[str]) -> frozenset[str]:
    """The frozen names below `name`, as it sees them."""
    return frozenset(each.removeprefix(name + ".") for each in frozen if each.startswith(name + "."))


def frozen_within(part: PyTree, name: str, frozen: frozenset[str]) -> frozenset[str]:
    """The frozen names of the part called `name`, as it sees them: all that it has, if it is frozen as a whole."""
    if any(_covers(each, name) for each in frozen):
        return frozenset(path.split(".")[0] for path in leaf_names(part))
    return inner(name, frozen)


def moved(model: PyTree, best: PyTree, frozen: tuple[str, ...]) -> PyTree:
    """The parameters of `best` where they are free, and those of `model` elsewhere.

    A part of `best` that was not moved at all may have come back plain, without its stored form.
    """
    is_parameter = lambda node: isinstance(node, AbstractParameter)

    def choose(old: PyTree, new: PyTree, free: PyTree) -> PyTree:
        if is_parameter(old):
            if not is_parameter(new):
                return old
            new = old.moved_to(new)
        return jax.tree.map(lambda old, new, use: new if use else old, old, new, free)

    chosen = jax.tree.map(choose, model, best, trainable(model, frozen), is_leaf=is_parameter)
    return _put_back(chosen, _given(model, frozen))


def free_entries(model: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
    """The model's tree with a boolean array at each leaf: True at the numbers that are free coordinates of its values.

    Given numbers, hard zeros, what the model does not read and what `frozen` covers are not. Needs concrete values.
    """
    is_parameter = lambda node: isinstance(node, AbstractParameter)
    all_of = lambda leaf: np.ones(getattr(leaf, "shape", ()), bool)
    own = lambda node: node.free_entries() if is_parameter(node) else all_of(node)
    entries = jax.tree.map(own, model, is_leaf=is_parameter)
    is_partly_read = lambda node: isinstance(node, AbstractPartlyRead)
    read = lambda node, entries: node.entries_read(entries) if is_partly_read(node) else entries
    entries = jax.tree.map(read, model, entries, is_leaf=is_partly_read)
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda f, m: m & f, trainable(model, frozen), entries))
    for i, mask in held_entries(model, frozen).items():
        leaves[i] = leaves[i] & ~mask
    return jax.tree.unflatten(structure, leaves)


def leaf_names(model: PyTree) -> list[str]:
    """The dotted public name of each leaf, as `frozen` takes it."""
    return [_dotted(path) for path, _ in jax.tree_util.tree_flatten_with_path(model)[0]]


def num_parameters(model: PyTree, frozen: Frozen = ()) -> int:
    """How many numbers of a model are free: those that a fit moves, less what can be moved without any effect.

    A row of probabilities counts one less than its possible outcomes, with those to which a fit gave no probability;
    zeros that a model was made with count none, nor do given arrays; a covariance (D, D) counts D (D + 1) / 2, what
    several states share counts once; what a diffuse start does not read counts none; `frozen` as in `ssm.fit`.

    Levels that all logits share, constants that add up, rotations of factors and classes of a transition of low rank
    are left out: for chains and networks the number is the rank of the derivatives of log p(y_t | y_<t), for almost
    all values of the parameters. Not left out are what observations do not show of the states of a LinearGaussian
    (their basis, D² numbers if nothing is given or frozen, and some of their noise), a variational encoder, and the
    input bias of a cell that reads its own symbols, which one-hot columns could carry: as in other libraries these are
    counted as they are written, so freeze what fixes a basis before AIC and BIC are compared across D.
    """
    entries = free_entries(model, frozen_names(model, frozen))
    is_redundant = lambda node: isinstance(node, AbstractOverparametrised)
    superfluous = lambda node, entries: node.num_redundant(entries) if is_redundant(node) else 0
    counts = jax.tree.leaves(jax.tree.map(superfluous, model, entries, is_leaf=is_redundant))
    return int(sum(mask.sum() for mask in jax.tree.leaves(entries))) - sum(counts)


def _is_constant(node: PyTree) -> bool:
    return isinstance(node, Constant)


def _dotted(path: tuple) -> str:
    """A key path as a dotted public name: the underscore of a stored field is left out."""
    return ".".join(str(getattr(key, "name", getattr(key, "idx", key))).lstrip("_") for key in path)


def _covers(name: str, path: str) -> bool:
    return path == name or path.startswith(name + ".")
