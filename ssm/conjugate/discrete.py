"""Counts, binary components and symbols of unknown rate or probabilities."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.conjugate.base import AbstractConjugate
from ssm.distributions import Distribution, bernoulli, categorical
from ssm.distributions.counts import negative_binomial, poisson
from ssm.numeric import checks
from ssm.parameters import Positive, value
from ssm.shapes import Array, Float, Int, Key


class _Pair(AbstractConjugate):
    """Two positive hyperparameters for each of N independent components, or for a scalar."""

    _first: Positive | Float[Array, "*event"]
    _second: Positive | Float[Array, "*event"]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """() or (N,)."""
        return value(self._first).shape

    def _moved(self, first: Array, second: Array):
        return eqx.tree_at(lambda m: (m._first, m._second), self, (first, second))


@final
class GammaPoisson(_Pair):
    """y ~ Poisson(λ) with λ ~ Gamma(shape, rate), component by component.

    Shapes: () for scalars or (N,), both the same. Observations are whole numbers of at least 0. Predictive:
    negative binomial with mean shape / rate and variance shape (rate + 1) / rate².
    Source: Gelman et al. 2013, section 2.6. Raises ValueError for what is not positive.
    """

    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"_first": ("shape",), "_second": ("rate",)}

    def __init__(self, shape: Array, rate: Array):
        self._first, self._second = _positive_pair("shape", shape, "rate", rate)

    @property
    def shape(self) -> Float[Array, "*event"]:
        """Prior events plus those counted."""
        return value(self._first)

    @property
    def rate(self) -> Float[Array, "*event"]:
        """Prior exposure plus the number of observations."""
        return value(self._second)

    def predictive(self) -> Distribution:
        """Negative binomial."""
        return negative_binomial(self.shape, self.shape / self.rate)

    def add(self, y: Float[Array, "*event"]) -> "GammaPoisson":
        """shape + y, rate + 1."""
        return self._moved(self.shape + y, self.rate + 1)

    def sample(self, key: Key) -> Float[Array, "*event"]:
        """λ."""
        return jax.random.gamma(key, self.shape, dtype=self.shape.dtype) / self.rate

    def observation(self, parameters: Float[Array, "*event"]) -> Distribution:
        """Poisson(λ)."""
        return poisson(parameters)

    def validate(self, ys: np.ndarray) -> None:
        """Whole numbers of at least 0."""
        bad = (ys < 0) | (ys != np.round(ys))
        if bad.any():
            raise ValueError(f"ys: expected counts, whole numbers of at least 0, got {ys[bad][0]}")


@final
class BetaBernoulli(_Pair):
    """y ~ Bernoulli(p) with p ~ Beta(ones, zeros), component by component.

    Shapes: () for scalars or (N,), both the same. Predictive: 1 with probability ones / (ones + zeros).
    The parameters drawn are log-odds. Source: Gelman et al. 2013, section 2.4. Raises ValueError for what is not
    positive.
    """

    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"_first": ("ones",), "_second": ("zeros",)}

    def __init__(self, ones: Array, zeros: Array):
        self._first, self._second = _positive_pair("ones", ones, "zeros", zeros)

    @property
    def ones(self) -> Float[Array, "*event"]:
        """Prior ones plus those seen."""
        return value(self._first)

    @property
    def zeros(self) -> Float[Array, "*event"]:
        """Prior zeros plus those seen."""
        return value(self._second)

    def predictive(self) -> Distribution:
        """Bernoulli with the expected probability."""
        return bernoulli(jnp.log(self.ones) - jnp.log(self.zeros))

    def add(self, y: Float[Array, "*event"]) -> "BetaBernoulli":
        """ones + y, zeros + 1 - y."""
        return self._moved(self.ones + y, self.zeros + (1 - y))

    def sample(self, key: Key) -> Float[Array, "*event"]:
        """log p - log(1 - p), from two gamma draws."""
        for_ones, for_zeros = jax.random.split(key)
        draw = lambda key, count: jax.random.loggamma(key, count, dtype=count.dtype)
        return draw(for_ones, self.ones) - draw(for_zeros, self.zeros)

    def observation(self, parameters: Float[Array, "*event"]) -> Distribution:
        """Bernoulli with these log-odds."""
        return bernoulli(parameters)

    def validate(self, ys: np.ndarray) -> None:
        """0 or 1."""
        bad = (ys != 0) & (ys != 1)
        if bad.any():
            raise ValueError(f"ys: expected 0 or 1, got {ys[bad][0]}")


@final
class DirichletCategorical(AbstractConjugate):
    """y ~ Categorical(p) with p ~ Dirichlet(counts), for symbols 0 .. C-1.

    Shapes: `counts` (C,). Predictive: symbol c with probability counts_c / Σ counts.
    Source: Gelman et al. 2013, section 3.4. Raises ValueError for what is not positive.
    """

    _counts: Positive | Float[Array, "C"]

    def __init__(self, counts: Array):
        self._counts = Positive.of(checks.positive("counts", counts, ("C",)))

    @property
    def counts(self) -> Float[Array, "C"]:
        """Prior counts plus those seen."""
        return value(self._counts)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """One symbol: ()."""
        return ()

    @property
    def event_kind(self) -> str:
        """ "symbol"."""
        return "symbol"

    @property
    def num_classes(self) -> int:
        """C."""
        return self.counts.shape[0]

    def predictive(self) -> Distribution:
        """Categorical with the expected probabilities."""
        return categorical(self.counts / jnp.sum(self.counts))

    def add(self, y: Int[Array, ""]) -> "DirichletCategorical":
        """One more of symbol y."""
        seen = jnp.arange(self.num_classes) == y
        return eqx.tree_at(lambda m: m._counts, self, self.counts + seen.astype(self.counts.dtype))

    def sample(self, key: Key) -> Float[Array, "C"]:
        """p."""
        return jax.random.dirichlet(key, self.counts, dtype=self.counts.dtype)

    def observation(self, parameters: Float[Array, "C"]) -> Distribution:
        """Categorical(p)."""
        return categorical(parameters)

    def validate(self, ys: np.ndarray) -> None:
        """Symbols 0 .. C-1."""
        bad = (ys < 0) | (ys >= self.num_classes)
        if bad.any():
            raise ValueError(f"ys: expected symbols 0 .. {self.num_classes - 1}, got {ys[bad][0]}")


def _positive_pair(first_name: str, first: Any, second_name: str, second: Any) -> tuple[Positive, Positive]:
    """Two positive arrays of one shape, () or (N,)."""
    first = checks.positive(first_name, first, () if np.ndim(first) == 0 else ("N",))
    second = checks.positive(second_name, second, first.shape)
    return Positive.of(first), Positive.of(second.astype(first.dtype))
