"""The M-step of a linear-Gaussian model: least squares (Shumway & Stoffer 1982; Ghahramani & Hinton 1996)."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.emissions.normals.scatter import moments_of
from ssm.numeric.logspace import ratio
from ssm.numeric.roots import empty_pivots
from ssm.parameters import numbered
from ssm.parameters.freezing import held_part, is_held
from ssm.parameters.stable import Stable, is_stable
from ssm.parameters.tied import Tied
from ssm.recursions.gaussian.learning.moments import Moments, Part, parts
from ssm.recursions.gaussian.regression.regression import Regression
from ssm.shapes import Bool, Int, Key, Scalar
from ssm.steps import Step, flatten_steps, seen_steps


def expected_log_prob(model: Any, statistics: Moments) -> Scalar:
    """Q: the expected complete-data log-likelihood."""
    if model.num_steps is not None:
        raise TypeError(
            "Q: the statistics of a LinearGaussian are sums over time, which say nothing of parameters that vary in "
            "time; its log_prob, and the gradient of that, do"
        )
    each = [getattr(statistics, name).log_prob(part.coefficients, part.root) for name, part in parts(model).items()]
    return jnp.sum(jnp.stack(each))


def log_prior(model: Any) -> Scalar:
    """That of all regressions that have a prior."""
    each = [
        beforehand.log_prob(part.coefficients, part.root)
        for name, part in parts(model).items()
        if (beforehand := _beforehand(model, name, part.coefficients.shape[1])) is not None
    ]
    return jnp.sum(jnp.stack(each)) if each else jnp.zeros(())


def _beforehand(model: Any, name: str, num_columns: int) -> Regression | None:
    """The observations that the prior of a regression stands for."""
    prior = getattr(model, f"{name}_prior")
    return prior and prior.moments(getattr(model, f"_{name}_covariance"), num_columns)


def maximise(model: Any, statistics: Moments, frozen: frozenset[str]) -> Any:
    """The model with every parameter that is constant in time, and not frozen, where it maximises Q."""
    found = {}
    for name, part in parts(model).items():
        widths = [block.shape[1] for block in part.blocks.values()]
        free, numbers = _entries(model, part, frozen)
        covariance = getattr(model, f"_{name}_covariance")
        sums = getattr(statistics, name).total()
        beforehand = _beforehand(model, name, free.shape[1])
        sums = sums if beforehand is None else sums.plus(beforehand)
        bound = model.stable and name == "transition"
        inside = (lambda coefficients: is_stable(coefficients[:, : len(coefficients)])) if bound else None
        keep = is_held(covariance, f"{name}_covariance", frozen)
        coefficients, root = sums.maximise(free, keep, inside, numbers)
        ends = np.cumsum(widths)
        for block, end, width in zip(part.blocks, ends, widths, strict=True):
            found[block] = coefficients[:, end - width : end].reshape(getattr(model, block).shape)
        if name == "initial" and model.diffuse is not None:  # what is not read stays as it is
            found["initial_mean"] = jnp.where(model.known, found["initial_mean"], model.initial_mean)
            root = jnp.where(model.known[:, None], root, covariance.lower)
        found[f"_{name}_covariance"] = covariance.fitted(root)
    return _replaced(model, found)


def _entries(model: Any, part: Part, frozen: frozenset[str]) -> tuple[Bool[np.ndarray, "N J"], Int[np.ndarray, "N J"]]:
    """Which entries of the coefficients of a regression are free, and which parameter of it each of them is."""
    shape, count = (len(part.root), 0), 0
    free: list[Any] = [np.zeros(shape, bool)]
    numbers: list[Any] = [np.zeros(shape, int)]
    for name, block in part.blocks.items():
        stored, entries = _stored(model, name), getattr(model, name)
        own = stored.named_entries(stored.numbers) if isinstance(stored, Tied) else numbered(entries)
        free.append(~held_part(name, entries.shape, frozen).reshape(block.shape))
        numbers.append(count + own.reshape(block.shape))
        count += block.size
    return np.concatenate(free, axis=1), np.concatenate(numbers, axis=1)


def _stored(model: Any, name: str) -> Any:
    """A parameter as it is stored."""
    return getattr(model, f"_{name}", getattr(model, name))


def _replaced(model: Any, found: dict[str, Any]) -> Any:
    """The model with these parameters, each in its own form."""
    new: dict[str, Any] = {}
    for name, best in found.items():
        stored = _stored(model, name)
        if name == "transition_matrix" and model.stable:
            best = Stable.of(best)
        elif isinstance(stored, Tied):
            best = stored.fitted(best)
        new[f"_{name}" if hasattr(model, f"_{name}") else name] = best
    return eqx.tree_at(lambda model: [getattr(model, name) for name in new], model, list(new.values()))


def restart(model: Any, key: Key, steps: Step) -> Any:
    """A random stable model that explains the spread of the data: half by states of unit variance, half by noise.

    What varies in time stays as it is, and so do singular covariances.
    """
    flat = flatten_steps(steps, model.event_shape)
    seen = jnp.broadcast_to(seen_steps(flat)[:, None], flat.y.shape)
    if flat.observed is not None:
        seen = seen & flat.observed.reshape(len(seen), -1)
    sums = moments_of(jnp.ones((1, len(seen)), flat.y.dtype), flat.y, seen.astype(flat.y.dtype), flat.y[0])
    mean, spread = sums.mean[0], jnp.sqrt(ratio(sums.scatter, sums.count)[0] / 2)
    size, dtype = model.num_dims, mean.dtype
    for_memory, for_turn, for_emission = jax.random.split(key, 3)
    memory = jax.random.uniform(for_memory, (), dtype, 0.5, 0.98)
    turn = jnp.linalg.qr(jax.random.normal(for_turn, (size, size), dtype))[0]
    emission = spread[:, None] * jax.random.normal(for_emission, (len(mean), size), dtype) / math.sqrt(size)
    known = {name for part in parts(model).values() for name in part.blocks}
    drawn: dict[str, Any] = {
        "initial_mean": jnp.zeros(size, dtype) if "emission_bias" in known else jnp.linalg.lstsq(emission, mean)[0],
        "transition_matrix": memory * turn,
        "emission_matrix": emission,
        "emission_bias": mean,
    }
    drawn = {name: array for name, array in drawn.items() if name in known}
    if "transition_matrix" in drawn and isinstance(model._transition_matrix, Tied):
        # The mean of entries of a turn may be more than a turn.
        matrix = model._transition_matrix.fitted(drawn["transition_matrix"]).entries
        drawn["transition_matrix"] = matrix * (memory / jnp.maximum(memory, jnp.linalg.norm(matrix, ord=2)))
    scales = {
        "_initial_covariance": jnp.ones(size, dtype),
        "_transition_covariance": jnp.sqrt(1 - memory**2) * jnp.ones(size, dtype),
        "_emission_covariance": spread,
    }
    for name, scale in scales.items():
        root = getattr(model, name).lower
        if root.ndim == 2:
            drawn[name] = getattr(model, name).fitted(jnp.where(jnp.any(empty_pivots(root)), root, jnp.diag(scale)))
    return _replaced(model, drawn)
