"""An optax optimiser that is equal to another one if it computes the same."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.extend.core import ClosedJaxpr

from ssm.shapes import PyTree

# Where in memory a function stands, on which two processes do not agree.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Optimiser:
    """A gradient transformation as a static argument of a jitted step.

    Two calls of `optax.adam(1e-2)` make two objects, and a step compiled for one would be compiled again for
    the other. Here they are told apart by the program that they trace to, so a second fit with an equal
    optimiser compiles nothing.
    """

    def __init__(self, transformation: optax.GradientTransformation, parameters: PyTree):
        self._init, self._update = _promoting(transformation.init), _promoting(transformation.update)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), parameters)
        state = jax.eval_shape(self._init, like)
        start = jax.make_jaxpr(self._init)(like)
        update = jax.make_jaxpr(self._update)(like, state, like)
        constants = [jnp.asarray(constant).tolist() for program in (start, update) for constant in _constants(program)]
        self._program = f"{start} {update} {constants}"

    def init(self, parameters: PyTree) -> PyTree:
        """The state before the first update."""
        return self._init(parameters)

    def update(self, gradient: PyTree, state: PyTree, parameters: PyTree) -> tuple[PyTree, PyTree]:
        """New parameters and state, one step down the gradient."""
        change, state = self._update(gradient, state, parameters)
        return eqx.apply_updates(parameters, change), state

    @property
    def description(self) -> str:
        """The same in another process, for an optimiser that computes the same."""
        return _ADDRESS.sub("", self._program)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Optimiser) and self._program == other._program

    def __hash__(self) -> int:
        return hash(self._program)


def _constants(program: ClosedJaxpr) -> Iterator[Any]:
    """The arrays that a program and the programs inside it close over."""
    yield from program.consts
    is_program = lambda value: isinstance(value, ClosedJaxpr)
    for equation in program.jaxpr.eqns:
        for value in filter(is_program, jax.tree.leaves(equation.params, is_leaf=is_program)):
            yield from _constants(value)


def _promoting(function: Callable) -> Callable:
    """optax raises floats to integer counts, which strict dtype promotion, where switched on, forbids."""

    def promoted(*arguments: PyTree) -> PyTree:
        with jax.numpy_dtype_promotion("standard"):
            return function(*arguments)

    return promoted


def transformation(
    optimiser: optax.GradientTransformation | None, max_grad_norm: float | None
) -> optax.GradientTransformation:
    """The user's optimiser (Adam at 1e-2 by default) behind the bound on the gradient's norm."""
    optimiser = optax.adam(1e-2) if optimiser is None else optimiser
    return optimiser if max_grad_norm is None else optax.chain(optax.clip_by_global_norm(max_grad_norm), optimiser)
