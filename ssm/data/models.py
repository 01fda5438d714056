"""What a verb needs of a model, and of a key."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.model import AbstractStateSpace
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array


def check_recursion(model: object) -> None:
    """Raise TypeError unless `model` can infer: a recursion, not only a way to draw."""
    if isinstance(model, AbstractRecursion):
        return
    name = type(model).__name__
    if isinstance(model, AbstractStateSpace):
        raise TypeError(
            f"model: a {name} says how states and observations are drawn, not how states are inferred; "
            "wrap it: ssm.ParticleFilter(model, num_particles)"
        )
    raise TypeError(f"model: expected a model of this library, such as ssm.HMM, got {name}")


def needs_key(model: AbstractRecursion, key: Array | None, verb: str) -> None:
    """Raise ValueError for a stochastic recursion without a key, TypeError for something that is no typed key."""
    check_recursion(model)
    if key is None:
        if model.is_stochastic:
            raise ValueError(f"key: {verb} of a {type(model).__name__} draws; pass key=jax.random.key(seed)")
        return
    check_key(key)


def check_key(key: Any) -> None:
    """Raise TypeError unless `key` is one typed JAX key."""
    if not (eqx.is_array(key) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"key: expected a typed key, jax.random.key(seed), got {type(key).__name__} {getattr(key, 'dtype', '')}"
        )
    if key.shape != ():
        raise ValueError(f"key: expected one key, got an array of keys of shape {key.shape}")
