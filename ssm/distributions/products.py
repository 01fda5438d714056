"""Independent parts of one vector, each a distribution of its own family."""

import functools
import operator
from collections.abc import Callable
from typing import Any, final

import jax
import jax.numpy as jnp

from ssm.distributions.marginals import marginal_log_prob
from ssm.distributions.mixtures import WeightedMixture
from ssm.distributions.quantiles import OWN, quantile
from ssm.shapes import Array, Bool, Float, Int, Key


@final
class Parts:
    """One real vector whose columns are those of its parts in turn: one for a scalar or a symbol, N for a vector."""

    def __init__(self, parts: list[Any], shapes: list[tuple[int, ...]], classes: list[int | None]):
        self.parts = parts
        self.shapes = shapes
        self.classes = classes  # C of a part of symbols
        self.event_shape = (sum(width(shape) for shape in shapes),)

    def log_prob(self, y: Float[Array, "N"]) -> Float[Array, ""]:
        """The sum over the parts."""
        each = [part.log_prob(own) for part, own in zip(self.parts, self._own(y), strict=True)]
        return functools.reduce(operator.add, each)

    def marginal_log_prob(self, y: Float[Array, "N"], observed: Bool[Array, "N"]) -> Float[Array, ""]:
        """As `log_prob`, over the observed components alone."""
        owned = zip(self.parts, self._own(y), columns(observed, self.shapes), strict=True)
        return functools.reduce(operator.add, [marginal_log_prob(part, own, seen) for part, own, seen in owned])

    def sample(self, *, seed: Key) -> Float[Array, "N"]:
        """One draw of each part."""
        keys = jax.random.split(seed, len(self.parts))
        return self._joined([part.sample(seed=key) for part, key in zip(self.parts, keys, strict=True)])

    def mean(self) -> Float[Array, "N"]:
        """Means, of symbols taken as the numbers that they are written as."""
        return self._joined([_moment(*each, 1) for each in zip(self.parts, self.classes, strict=True)])

    def variance(self) -> Float[Array, "N"]:
        """Variances, of symbols taken as the numbers that they are written as."""
        return self._joined([_moment(*each, 2) for each in zip(self.parts, self.classes, strict=True)])

    def quantile(self, q: float | Float[Array, ""]) -> Float[Array, "N"]:
        """Quantiles, component by component."""
        return self._joined([quantile(part, q) for part in self.parts])

    def _own(self, y: Float[Array, "N"]) -> list[Array]:
        owned = zip(self.classes, columns(y, self.shapes), strict=True)
        return [own if count is None else as_symbols(own) for count, own in owned]

    def _joined(self, values: list[Array]) -> Float[Array, "N"]:
        dtype = jnp.result_type(*[value for value in values if jnp.issubdtype(value.dtype, jnp.floating)], float)
        flat = [value.reshape(width(shape)).astype(dtype) for value, shape in zip(values, self.shapes, strict=True)]
        return jnp.concatenate(flat)


@final
class MixtureOfParts:
    """Σ_k w_k Π_i p_i(y | k): the joint, and beside it the mixtures of the single parts, which are its marginals."""

    def __init__(self, given: Callable[[Array], Parts], log_weights: Float[Array, "K"], marginals: Parts):
        self.joint = WeightedMixture(given, jnp.arange(len(log_weights)), log_weights)
        self.marginals = marginals
        self.event_shape = marginals.event_shape
        self.mean, self.variance, self.quantile = marginals.mean, marginals.variance, marginals.quantile

    def log_prob(self, y: Float[Array, "N"]) -> Float[Array, ""]:
        """log Σ_k w_k Π_i p_i(y | k)."""
        return self.joint.log_prob(y)

    def marginal_log_prob(self, y: Float[Array, "N"], observed: Bool[Array, "N"]) -> Float[Array, ""]:
        """As `log_prob`, over the observed components alone."""
        return jax.nn.logsumexp(self.joint.log_joint(y, observed))

    def sample(self, *, seed: Key) -> Float[Array, "N"]:
        """A state, then a draw of each part."""
        return self.joint.sample(seed=seed)


def width(shape: tuple[int, ...]) -> int:
    """How many columns an event takes."""
    return shape[0] if shape else 1


def as_symbols(numbers: Float[Array, "..."]) -> Int[Array, "..."]:
    """Symbols that are written as numbers; -1, which is none, for what is no whole number."""
    return jnp.where(numbers == jnp.round(numbers), numbers, -1).astype(int)


def columns(values: Any, shapes: list[tuple[int, ...]]) -> list[Any]:
    """The columns (..., *event) of each part of values (..., N)."""
    owned, start = [], 0
    for shape in shapes:
        owned.append(values[..., start] if shape == () else values[..., start : start + width(shape)])
        start += width(shape)
    return owned


def _moment(distribution: Any, count: int | None, order: int) -> Array:
    """Mean or variance."""
    if count is None:
        return distribution.mean() if order == 1 else distribution.variance()
    probs = distribution.probs
    symbols = jnp.arange(count).astype(probs.dtype)
    mean = jnp.sum(probs * symbols)
    return mean if order == 1 else jnp.sum(probs * (symbols - mean) ** 2)


OWN[Parts] = OWN[MixtureOfParts] = lambda distribution, q: distribution.quantile(q)
