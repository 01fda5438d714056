"""Counts: p(y | x = k) = Π_n rate[k, n]^y_n exp(-rate[k, n]) / y_n!."""

from typing import final

import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, keeps_digits, log_poisson, poisson
from ssm.emissions.common.components import sum_components
from ssm.emissions.common.seeds import average, rows_of, spread_out, state_shape
from ssm.emissions.counts.exponential_family import AbstractExponentialFamily, WeightedSums
from ssm.numeric import checks
from ssm.numeric.logspace import log, on_support
from ssm.parameters import value
from ssm.parameters.bounded import NonNegative, counts, non_negative
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class Poisson(AbstractExponentialFamily):
    """Counts: scalars, `rate` (K,), or vectors of independent components, (K, N).

    log p = Σ_n [y_n log rate - rate - log y_n!]; a missing component leaves its term out. A rate of zero, which emits
    zeros alone, stays. Observations are whole numbers of at least 0; others raise ValueError. M-step: weighted means
    (Zucchini, MacDonald & Langrock 2016, section 4.2.3).
    """

    _rate: NonNegative | Float[Array, "K *event"]

    def __init__(self, rate: Array):
        self._rate = NonNegative.of(non_negative("rate", rate))

    @property
    def rate(self) -> Float[Array, "K *event"]:
        """Mean counts."""
        return value(self._rate)

    @property
    def _axes(self) -> tuple[int, ...]:
        return self.rate.shape

    @property
    def _has_borders(self) -> bool:
        return True

    def _statistics(self, ys: Float[Array, "T *event"]) -> tuple[Array, ...]:
        return (ys,)

    def _natural(self) -> tuple[Array, ...]:
        return (log(self.rate),)

    def _log_normaliser(self) -> Array:
        return self.rate

    def _log_base(self, ys: Float[Array, "T *event"]) -> Array:
        inside = (ys >= 0) & (ys == jnp.round(ys))
        return on_support(inside, ys, -jax.lax.lgamma(jnp.where(inside, ys, 0) + 1))

    @property
    def _fits_product(self) -> Bool[Array, ""]:
        return jnp.all(keeps_digits(self.rate, self.rate.dtype))

    def _one_by_one(self, ys: Float[Array, "T *event"], seen: Bool[Array, "T *event"] | None) -> Float[Array, "T K"]:
        def density(y: Array, rate: Array) -> Array:
            inside = (y >= 0) & (y == jnp.round(y))
            return on_support(inside, y, log_poisson(jnp.where(inside, y, 0), rate, log(rate)))

        return sum_components(density, (ys,), seen, self.rate)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Independent counts."""
        return poisson(self.rate[state])

    def fitted(self, sums: WeightedSums, frozen: frozenset[str] = frozenset()) -> "Poisson":
        """Weighted means."""
        return self if "rate" in frozen else Poisson(sums.mean(0, self.rate))

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "Poisson":
        """`from_data`."""
        return Poisson.from_data(key, self.num_states, ys, observed)

    def validate(self, ys: np.ndarray) -> None:
        """Whole numbers of at least 0."""
        counts("Poisson", ys)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "Poisson":
        """Rates from an exponential distribution of mean 5; scalars unless `num_components` is given."""
        return cls(5 * jax.random.exponential(key, state_shape(num_states, num_components)))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "Poisson":
        """Halfway between the mean of the data and data points drawn far apart."""
        ys, observed = rows_of(ys, observed)
        points = spread_out(key, checks.positive_int("num_states", num_states), ys, observed)
        return cls(jnp.maximum((points + average(ys, observed)) / 2, 1e-2))  # no state starts with a hard zero
