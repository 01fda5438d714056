"""What is known at one instant."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.shapes import Array, Bool, Count, PyTree


class Step(eqx.Module):
    """What is known at one instant; stacked along a leading axis T for a sequence.

    A flag that is None says, before anything is compiled, that it is not needed: everything observed, one
    sequence, no padding.
    """

    t: Count  # which instant
    u: PyTree = None  # known before y: covariates, time step, time-varying parameters
    y: PyTree = None  # the evidence, finite even where missing
    observed: Bool[Array, "*event"] | None = None  # False where missing; one flag, or one per component
    first: Bool[Array, ""] | None = None  # a new sequence starts here
    padding: Bool[Array, ""] | None = None  # not even time passes here


class PartlyObserved(NamedTuple):
    """An observation, and which of its components are there (None: all)."""

    y: Array
    observed: Bool[Array, "*event"] | None


def partly_missing(steps: Step) -> bool:
    """Whether flags come one per component (T, N) rather than one per step (T,)."""
    return steps.observed is not None and steps.observed.ndim > 1


def flatten_steps(steps: Step, event_shape: tuple[int, ...]) -> Step:
    """Steps (T, ...) or (B, T, ...) as M = T or B T exchangeable ones (M, ...), for M-steps."""
    lead = steps.y.ndim - len(event_shape)
    return jax.tree.map(lambda leaf: leaf.reshape((-1,) + leaf.shape[lead:]), steps)


def seen_steps(steps: Step) -> Bool[Array, "*lead"]:
    """Which steps, (T,) or (B, T), have something observed and are no padding."""
    seen = jnp.ones(steps.t.shape, bool)
    if steps.observed is not None:
        seen = seen & jnp.any(steps.observed.reshape(*seen.shape, -1), axis=-1)
    return seen if steps.padding is None else seen & ~steps.padding
