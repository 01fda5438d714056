"""Where a fit begins: at the given model, and at random ones made from the data, all at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ssm.data import Sequences
from ssm.numeric.compiling import compiled
from ssm.numeric.protocols import offers
from ssm.numeric.trees import index, length, stack, widen
from ssm.numeric.trial import mapped
from ssm.parameters import constrain
from ssm.parameters.freezing import moved
from ssm.passes.expectation import AbstractExpectation
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Bool, Key, PyTree
from ssm.steps import Step


def starting_points(
    model: AbstractRecursion, sequences: Sequences, restarts: int, frozen: tuple[str, ...], key: Key | None
) -> list[PyTree]:
    """The given model and random ones, `restarts` in all; frozen parameters are the same in each.

    Raises TypeError for a model that cannot be made from data, ValueError where the key is missing.
    """
    models = [model]
    if restarts > 1:
        if not offers(model, AbstractExpectation):
            raise TypeError(
                f"restarts: no random {model.described} can be made from the data; fit several models that you "
                "make yourself, and keep the one of the highest objective"
            )
        if key is None:
            raise ValueError("key: restarts draw their starting points; pass key=jax.random.key(seed)")
        models += [_random(model, sequences.steps, frozen, each) for each in jax.random.split(key, restarts - 1)]
    return models


# Trees of arrays with a new leading axis R.
together = compiled(stack)


@compiled
def _random(model: AbstractExpectation, steps: Step, frozen: tuple[str, ...], key: Key) -> PyTree:
    return moved(model, constrain(model).restart(key, steps), frozen)


def for_each(function: Callable[[Any], PyTree], starts: PyTree) -> PyTree:
    """vmap over the starts; a single one is taken out instead, which keeps the fast forward pass."""
    if length(starts) > 1:
        return mapped(function)(starts)
    return jax.tree.map(lambda leaf: leaf[None], function(index(starts, 0)))


def keep(finished: Bool[Array, "R"], old: PyTree, new: PyTree) -> PyTree:
    """The old state of the starts that are finished, the new one of the others."""
    choose = lambda if_true, if_false: jnp.where(widen(finished, if_false.ndim), if_true, if_false)
    return jax.tree.map(choose, old, new)
