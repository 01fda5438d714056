"""Fast programs alone: what they claim is read by Python, and others are compiled only where it does not hold.

Inside a user's `jit`, `vmap` or `grad` nobody can look: there all stand in one program, with choices between them.
"""

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric.checks import is_concrete
from ssm.numeric.compiling import compiled
from ssm.shapes import Array, Bool, Flag, PyTree

Function = TypeVar("Function", bound=Callable[..., Any])

LEVELS = 3  # as many alternatives as any choice has


WAYS, OPTIONS = 0, 1  # what is chosen among: ways through the data, and inside one of them


class _Trial(NamedTuple):
    """One program that is traced, and will be looked at."""

    levels: tuple[int, int]  # how many of the first alternatives of each choice are passed over, of ways and of options
    claims: list[Bool[Array, "2"]]


_trial: ContextVar[_Trial | None] = ContextVar("trial", default=None)


def on_trial() -> bool:
    """Whether one alternative of a choice may stand alone, if it is claimed that it holds."""
    return _trial.get() is not None


def claim(holds: Flag | Bool[Array, "2"], kind: int = WAYS) -> None:
    """Take what a program found only if this is so; said of one kind of choice, or as `heard` of both."""
    trial = _trial.get()
    assert trial is not None, "no one will look at this claim"
    trial.claims.append(holds if holds.ndim else jnp.ones(2, bool).at[kind].set(holds))


def turn(alternatives: Sequence[Any], kind: int = WAYS) -> int:
    """Which of some alternatives, fastest first, is tried now; the last one holds always."""
    trial = _trial.get()
    assert trial is not None, "nothing is tried"
    return min(trial.levels[kind], len(alternatives) - 1)


def first_that_holds(
    options: Sequence[tuple[Callable[[], Flag], Callable[[], PyTree]]], otherwise: Callable[[], PyTree]
) -> PyTree:
    """What the first of some options finds whose condition holds, and if none does, what is found otherwise."""
    if not on_trial():
        which: Any = len(options)
        for i, (condition, _) in reversed(list(enumerate(options))):
            which = jnp.where(condition(), i, which)
        return jax.lax.switch(which, [*(find for _, find in options), otherwise])
    now = turn([*options, otherwise], OPTIONS)
    if now == len(options):
        return otherwise()
    condition, find = options[now]
    claim(condition(), OPTIONS)
    return find()


def heard(function: Callable[..., PyTree]) -> Callable[..., tuple[PyTree, Bool[Array, "2"] | None]]:
    """The function with, beside its result, whether all that is claimed of each kind holds; None if nothing is.

    For bodies of loops and of `vmap`, out of which no claim comes by itself.
    """
    trial = _trial.get()
    return (lambda *arguments: (function(*arguments), None)) if trial is None else _beginning(function, trial.levels)


def _beginning(
    function: Callable[..., PyTree], levels: tuple[int, int]
) -> Callable[..., tuple[PyTree, Bool[Array, "2"] | None]]:
    @functools.wraps(function)
    def both(*arguments: Any, **options: Any) -> tuple[PyTree, Bool[Array, "2"] | None]:
        trial = _Trial(levels, [])
        before = _trial.set(trial)
        try:
            found = function(*arguments, **options)
        finally:
            _trial.reset(before)
        return found, functools.reduce(jnp.logical_and, trial.claims) if trial.claims else None

    return both


def mapped(function: Callable[..., PyTree], in_axes: Any = 0) -> Callable[..., PyTree]:
    """`jax.vmap`, out of which claims come."""
    if not on_trial():
        return jax.vmap(function, in_axes)

    def all_together(*arguments: Any) -> PyTree:
        found, holds = jax.vmap(heard(function), in_axes)(*arguments)
        if holds is not None:
            claim(jnp.all(holds, axis=0))
        return found

    return all_together


def tried(function: Function) -> Function:
    """`compiled`; where Python can look at claims, as programs of one alternative each, compiled when it is its turn.

    Ways are tried from the best one on at every call, as in one program: it may hold for other data. Which option
    inside of them held for arguments of some shapes is remembered, since one is about as fast as another.
    """
    every = [(way, option) for way in range(LEVELS) for option in range(LEVELS)]
    alone = {levels: compiled(_beginning(function, levels)) for levels in every}
    whole = compiled(function)
    begins: dict[Any, int] = {}

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if on_trial():  # within another one, which hears its claims
            return function(*arguments, **options)
        leaves, structure = jax.tree.flatten((arguments, options))
        # What a fast program found may be NaN where it does not hold, which `jax_debug_nans` takes for a mistake.
        if not all(map(is_concrete, leaves)) or getattr(jax.config, "jax_debug_nans"):  # noqa: B009
            return whole(*arguments, **options)
        kind = structure, tuple(getattr(leaf, "shape", None) for leaf in leaves)
        levels = 0, begins.get(kind, 0)
        while levels in alone:
            found, holds = alone[levels](*arguments, **options)
            if holds is None:
                return found
            if not is_concrete(holds):  # constants inside a user's `jit`
                break
            failed = ~np.asarray(holds)
            if not failed.any():
                return found
            levels = levels[WAYS] + int(failed[WAYS]), levels[OPTIONS] + int(failed[OPTIONS])
            begins[kind] = levels[OPTIONS]
        return whole(*arguments, **options)

    return call  # pyright: ignore[reportReturnType]
