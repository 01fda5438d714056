"""Fast programs alone: what they claim is read by Python, and safe ones are compiled only where it does not hold.

Inside a user's `jit`, `vmap` or `grad` nobody can look: there both stand in one program, with a choice between them.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from ssm.numeric.checks import is_concrete
from ssm.numeric.compiling import compiled
from ssm.shapes import Flag, PyTree

Function = TypeVar("Function", bound=Callable[..., Any])

# What the programs that are traced now have claimed; None where no one will look.
_claims: ContextVar[list[Flag] | None] = ContextVar("claims", default=None)


def on_trial() -> bool:
    """Whether fast programs may stand alone, if they `claim` that they hold."""
    return _claims.get() is not None


def claim(holds: Flag) -> None:
    """Take what a fast program found only if this is so."""
    claims = _claims.get()
    assert claims is not None, "no one will look at this claim"
    claims.append(holds)


def heard(function: Callable[..., PyTree]) -> Callable[..., tuple[PyTree, Flag | None]]:
    """The function with, beside its result, whether all that is claimed within it holds; None if nothing is.

    For bodies of loops and of `vmap`, out of which no claim comes by itself.
    """
    return _beginning(function) if on_trial() else lambda *arguments: (function(*arguments), None)


def _beginning(function: Callable[..., PyTree]) -> Callable[..., tuple[PyTree, Flag | None]]:
    @functools.wraps(function)
    def both(*arguments: Any, **options: Any) -> tuple[PyTree, Flag | None]:
        before = _claims.set([])
        try:
            found, claims = function(*arguments, **options), _claims.get()
        finally:
            _claims.reset(before)
        return found, functools.reduce(jnp.logical_and, claims) if claims else None

    return both


def mapped(function: Callable[..., PyTree], in_axes: Any = 0) -> Callable[..., PyTree]:
    """`jax.vmap`, out of which claims come."""
    if not on_trial():
        return jax.vmap(function, in_axes)

    def all_together(*arguments: Any) -> PyTree:
        found, holds = jax.vmap(heard(function), in_axes)(*arguments)
        if holds is not None:
            claim(jnp.all(holds))
        return found

    return all_together


def tried(function: Function) -> Function:
    """`compiled`, where Python can look at claims as two programs: the safe one waits until it is needed.

    Once it was needed for arguments of some shapes, it is taken for them at once.
    """
    fast, whole = compiled(_beginning(function)), compiled(function)
    failed: set[Any] = set()

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if on_trial():  # within another one, which hears its claims
            return function(*arguments, **options)
        leaves, structure = jax.tree.flatten((arguments, options))
        # What a fast program found may be NaN where it does not hold, which `jax_debug_nans` takes for a mistake.
        if not all(map(is_concrete, leaves)) or getattr(jax.config, "jax_debug_nans"):  # noqa: B009
            return whole(*arguments, **options)
        kind = structure, tuple(getattr(leaf, "shape", None) for leaf in leaves)
        if kind not in failed:
            found, holds = fast(*arguments, **options)
            if holds is None or (is_concrete(holds) and bool(holds)):
                return found
            if is_concrete(holds):  # it is not, of constants inside a user's `jit`
                failed.add(kind)
        return whole(*arguments, **options)

    return call  # pyright: ignore[reportReturnType]
