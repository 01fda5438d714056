"""Several chains at once: a joint state is one state for each, the last one running fastest."""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from ssm.numeric import checks
from ssm.numeric.protocols import unwritten
from ssm.parameters import Simplex, value
from ssm.shapes import Array, Float, Int, Key, Scalar
from ssm.transitions.base import AbstractTransition, normalised, random_like


class AbstractJoint(AbstractTransition):
    """Shared: reading joint states, and chains that start independently of each other."""

    _initials: tuple[Simplex | Array, ...] | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """K_1 .. K_M."""
        raise unwritten(self)

    @property
    def initials(self) -> tuple[Float[Array, "_"], ...] | None:
        """p(x_1) of each chain."""
        return None if self._initials is None else tuple(value(each) for each in self._initials)

    @property
    def num_states(self) -> int:
        """K = K_1 .. K_M."""
        return math.prod(self.sizes)

    def marginals(self, probs: Float[Array, "*batch K"]) -> list[Float[Array, "..."]]:
        """p(state) of each chain, (*batch, K_m), from joint probabilities such as `smooth(...).smoothed.probs`."""
        lead = probs.shape[:-1]
        joint = probs.reshape(*lead, *self.sizes)
        axes = range(len(lead), joint.ndim)
        return [jnp.sum(joint, axis=tuple(other for other in axes if other != axis)) for axis in axes]

    def chains(self, states: Int[Array, "*batch"]) -> tuple[Int[Array, "*batch"], ...]:
        """The state of each chain, from joint states such as those that `decode` or `simulate` give."""
        return tuple(jnp.unravel_index(states, self.sizes))

    @property
    def has_start(self) -> bool:
        """Whether `initials` were given."""
        return self._initials is not None

    def start(self) -> Float[Array, "K"]:
        """The product of the initials, or what is stationary."""
        return self.stationary() if self.initials is None else outer(self.initials)

    def started(self, starts: Float[Array, "K"], frozen: frozenset[str]) -> tuple[Array, ...]:
        """The M-step of the initials."""
        assert self.initials is not None
        pairs = enumerate(zip(self.initials, self.marginals(starts), strict=True))
        held = lambda m: "initials" in frozen or f"initials.{m}" in frozen
        return tuple(old if held(m) else normalised(new, old) for m, (old, new) in pairs)


def total(terms: Iterable[Scalar]) -> Scalar:
    """Their sum."""
    return reduce(operator.add, terms)


def outer(vectors: Sequence[Float[Array, "_"]]) -> Float[Array, "K"]:
    """All products of one entry of each, the last running fastest."""
    return reduce(lambda a, b: (a[:, None] * b).reshape(-1), vectors)


def beside(a: Float[Array, "K I"], b: Float[Array, "K J"]) -> Float[Array, "K _"]:
    """All products of an entry of a and one of b, row by row."""
    return (a[:, :, None] * b[:, None, :]).reshape(a.shape[0], -1)


def along(function: Callable, joint: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """A function of vectors applied along one axis."""
    moved = jnp.moveaxis(joint, axis, -1)
    rows = jax.vmap(function)(moved.reshape(-1, moved.shape[-1]))
    return jnp.moveaxis(rows.reshape(moved.shape), -1, axis)


def checked_initials(initials: Sequence[Any], sizes: tuple[int, ...]) -> tuple[Simplex, ...]:
    """Probabilities (K_m,), one for each chain; ValueError otherwise."""
    if len(initials) != len(sizes):
        raise ValueError(f"initials: expected one for each of {len(sizes)} chains, got {len(initials)}")
    check = lambda m, each: checks.probabilities(f"initials[{m}]", each, (sizes[m],))
    return tuple(Simplex.of(check(m, each)) for m, each in enumerate(initials))


def restarted(key: Key, initials: tuple | None) -> list | None:
    """Random ones on the same support, if there are any."""
    if initials is None:
        return None
    return [random_like(k, each) for k, each in zip(jax.random.split(key, len(initials)), initials, strict=True)]
