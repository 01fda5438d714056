"""Distributions whose support moves with their parameters: there a draw is followed, elsewhere its density is."""

import functools
import operator
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from ssm.shapes import PyTree, Scalar

# Draws are differentiable functions of the parameters, and densities say nothing of where the support ends.
MOVING = (distrax.Deterministic, distrax.Uniform)


def moves_support(distribution: Any) -> bool:
    """Whether a distribution, or what one is made of, has a support that moves with its parameters."""
    if isinstance(distribution, distrax.Joint):
        return any(map(moves_support, _parts(distribution)))
    inside = distribution.distribution if isinstance(distribution, distrax.Independent | distrax.Transformed) else None
    return isinstance(distribution, MOVING) or (inside is not None and moves_support(inside))


def held(distribution: Any, draw: PyTree) -> PyTree:
    """A draw as a number that parameters do not move, but for what lies in a support that they move."""
    if isinstance(distribution, distrax.Joint):
        return jax.tree.map(held, distribution.distributions, draw, is_leaf=_is_distribution)
    return draw if moves_support(distribution) else jax.lax.stop_gradient(draw)


def held_log_prob(distribution: Any, draw: PyTree) -> Scalar:
    """The log-density of what `held` holds."""
    if isinstance(distribution, distrax.Joint):
        each = jax.tree.map(held_log_prob, distribution.distributions, draw, is_leaf=_is_distribution)
        return functools.reduce(operator.add, jax.tree.leaves(each))
    return jnp.zeros(()) if moves_support(distribution) else distribution.log_prob(draw)


def _parts(joint: distrax.Joint) -> list[Any]:
    return jax.tree.leaves(joint.distributions, is_leaf=_is_distribution)


def _is_distribution(node: Any) -> bool:
    return isinstance(node, distrax.Distribution)
