"""What may be missing from data that cannot be looked at, decided when the program runs."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.numeric.trees import widen
from ssm.shapes import Array, Bool, Flag, Float, PyTree


@jax.custom_batching.custom_vmap
def somewhere(flags: Bool[Array, "..."]) -> Flag:
    """Whether any flag is true; under `vmap` any of all members, so that a `cond` on it still runs one branch alone.

    For choices between programs that agree wherever both of them hold.
    """
    return jnp.any(flags)


@somewhere.def_vmap
def _somewhere_in_a_batch(axis_size: int, batched: list[bool], flags: Array) -> tuple[Array, bool]:
    return somewhere(flags), False


def choose(needed: Bool[Array, "..."], dear: Callable[[], PyTree], cheap: Callable[[], PyTree]) -> Any:
    """`dear()` where it is needed somewhere, else `cheap()`; the two agree where it is not.

    The gradient of `dear` works it out again: what it would keep, the cheap one would have to fill with zeros.
    """
    return jax.lax.cond(somewhere(needed), jax.checkpoint(dear), cheap)  # pyright: ignore[reportPrivateImportUsage]


def lost(belief: PyTree) -> PyTree:
    """A belief of which nothing is known: NaN in every number."""
    inexact = lambda leaf: eqx.is_inexact_array(leaf)
    if not any(map(inexact, jax.tree.leaves(belief))):
        raise TypeError("miss: this belief has no numbers that could be NaN; say in `miss` what becomes of it in a gap")
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan) if inexact(leaf) else leaf, belief)


def unless_nan(log_prob: Float[Array, "*B"], drawn: PyTree) -> PyTree:
    """What was drawn or decided, arrays (*B, ...): NaN, and -1 for whole numbers, where its log-probability is NaN.

    Comparisons with NaN have answers, which look like any other.
    """

    def leaf(values: Array) -> Array:
        nothing = jnp.nan if jnp.issubdtype(values.dtype, jnp.inexact) else -1
        return jnp.where(widen(jnp.isnan(log_prob), values.ndim), jnp.asarray(nothing, values.dtype), values)

    return jax.tree.map(leaf, drawn)


def by_parts(
    observed: Bool[Array, "M N"],
    whole: Callable[[], Float[Array, "M K"]],
    parts: Callable[[], Float[Array, "M K"]],
) -> Float[Array, "M K"]:
    """Log-likelihoods over the observed components: `parts()` only if some event is there in part.

    `whole()` is the table as if all were there; an event of which nothing is there gets zeros.
    """
    seen = jnp.any(observed, axis=1)

    def as_a_whole() -> Array:
        table = whole()
        return jnp.where(widen(seen, table.ndim), table, 0)

    return choose(seen & ~jnp.all(observed, axis=1), parts, as_a_whole)
