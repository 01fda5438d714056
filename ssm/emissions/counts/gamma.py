"""Waiting times and other positive numbers, as products of exponential or gamma densities."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma

from ssm.distributions import Distribution, exponential, gamma, keeps_digits, log_poisson
from ssm.emissions.common.components import sum_components
from ssm.emissions.common.seeds import average, rows_of, spread_out, standard_deviation, state_shape
from ssm.emissions.counts.exponential_family import AbstractExponentialFamily, WeightedSums
from ssm.numeric import checks
from ssm.numeric.find_root import increasing_root
from ssm.numeric.logspace import on_support
from ssm.parameters import Positive, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree

SMALLEST_SHAPE = 1e-6


@final
class Exponential(AbstractExponentialFamily):
    """Non-negative numbers of mean 1/rate: scalars, `rate` (K,), or independent components, (K, N).

    log p = Σ_n [log rate - rate y_n]; a missing component leaves its term out. Negative observations raise
    ValueError. M-step: one over the weighted mean, which is taken to be at least `minimum_mean`: the constrained
    maximum where a state would explain zeros alone and the likelihood grow without bound.
    """

    _rate: Positive | Float[Array, "K *event"]
    minimum_mean: float = eqx.field(static=True)

    def __init__(self, rate: Array, minimum_mean: float = 1e-10):
        self._rate = Positive.of(checks.positive("rate", rate, checks.leading_axes(rate)))
        self.minimum_mean = checks.non_negative("minimum_mean", minimum_mean)

    @property
    def rate(self) -> Float[Array, "K *event"]:
        """Events per unit of time."""
        return value(self._rate)

    @property
    def _axes(self) -> tuple[int, ...]:
        return self.rate.shape

    def _statistics(self, ys: Float[Array, "T *event"]) -> tuple[Array, ...]:
        return (ys,)

    def _natural(self) -> tuple[Array, ...]:
        return (-self.rate,)

    def _log_normaliser(self) -> Array:
        return -jnp.log(self.rate)

    def _log_base(self, ys: Float[Array, "T *event"]) -> Array:
        return on_support(ys >= 0, ys)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Independent waiting times."""
        return exponential(self.rate[state])

    def fitted(self, sums: WeightedSums, frozen: frozenset[str] = frozenset()) -> "Exponential":
        """One over weighted means."""
        if "rate" in frozen:
            return self
        mean = jnp.maximum(sums.mean(0, 1 / self.rate), self.minimum_mean)
        return Exponential(sums.keep(self.rate, 1 / mean), self.minimum_mean)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "Exponential":
        """`from_data`."""
        return Exponential(Exponential.from_data(key, self.num_states, ys, observed).rate, self.minimum_mean)

    def validate(self, ys: np.ndarray) -> None:
        """Non-negative numbers."""
        if (ys < 0).any():
            raise ValueError(f"ys: an Exponential emission observes non-negative numbers, got {ys.min():.6g}")

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "Exponential":
        """Rates log-normal around 1; scalars unless `num_components` is given."""
        return cls(jnp.exp(jax.random.normal(key, state_shape(num_states, num_components))))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "Exponential":
        """Means halfway between that of the data and data points drawn far apart."""
        return cls(1 / _starting_means(key, num_states, *rows_of(ys, observed)))


@final
class Gamma(AbstractExponentialFamily):
    """Positive numbers of mean shape/rate: scalars, `shape` and `rate` (K,), or independent components, (K, N).

    log p = Σ_n [shape log rate - log Γ(shape) + (shape - 1) log y_n - rate y_n]; a missing component leaves its term
    out. Observations that are not positive raise ValueError.

    M-step: rate = shape / mean, and the shape a with log a - ψ(a) = log mean(y) - mean(log y), weighted means both, by
    safeguarded Newton steps (Choi & Wette 1969). The shape is at most `maximum_shape`: the constrained maximum where
    a state would shrink onto a single point.
    """

    _shape: Positive | Float[Array, "K *event"]
    _rate: Positive | Float[Array, "K *event"]
    maximum_shape: float = eqx.field(static=True)

    def __init__(self, shape: Array, rate: Array, maximum_shape: float = 1e6):
        rate = checks.positive("rate", rate, checks.leading_axes(rate))
        shape = checks.positive("shape", shape, checks.leading_axes(shape))
        checks.shape("shape", shape, rate.shape)
        self._shape, self._rate = Positive.of(shape.astype(rate.dtype)), Positive.of(rate)
        self.maximum_shape = checks.non_negative("maximum_shape", maximum_shape)

    @property
    def shape(self) -> Float[Array, "K *event"]:
        """The mean squared over the variance."""
        return value(self._shape)

    @property
    def rate(self) -> Float[Array, "K *event"]:
        """The mean over the variance."""
        return value(self._rate)

    @property
    def _axes(self) -> tuple[int, ...]:
        return self.rate.shape

    def _statistics(self, ys: Float[Array, "T *event"]) -> tuple[Array, ...]:
        return jnp.log(jnp.where(ys <= 0, 1, ys)), ys

    def _natural(self) -> tuple[Array, ...]:
        return self.shape, -self.rate

    def _log_normaliser(self) -> Array:
        return jax.lax.lgamma(self.shape) - self.shape * jnp.log(self.rate)

    def _log_base(self, ys: Float[Array, "T *event"]) -> Array:
        return on_support(ys > 0, ys, -jnp.log(jnp.where(ys <= 0, 1, ys)))

    @property
    def _fits_product(self) -> Bool[Array, ""]:
        return jnp.all(keeps_digits(self.shape, self.shape.dtype))

    def _one_by_one(self, ys: Float[Array, "T *event"], seen: Bool[Array, "T *event"] | None) -> Float[Array, "T K"]:
        def density(y: Array, shape: Array, rate: Array) -> Array:
            # shape / y times the Poisson probability of `shape` where rate y is expected
            log_y = jnp.log(jnp.where(y > 0, y, 1))
            value = jnp.log(shape) - log_y + log_poisson(shape, rate * y, jnp.log(rate) + log_y)
            return on_support(y > 0, y, jnp.where(y > 0, value, 0))

        return sum_components(density, (ys,), seen, self.shape, self.rate)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Independent positive numbers."""
        return gamma(self.shape[state], self.rate[state])

    def fitted(self, sums: WeightedSums, frozen: frozenset[str] = frozenset()) -> "Gamma":
        """The maximum over what is not frozen."""
        mean_log, mean = sums.mean(0, jnp.zeros_like(self.rate)), sums.mean(1, self.shape / self.rate)
        low, high = (jnp.full_like(mean, np.log(bound)) for bound in (SMALLEST_SHAPE, self.maximum_shape))
        start, shape = jnp.log(self.shape), self.shape
        if "shape" not in frozen:
            if "rate" in frozen:
                target = mean_log + jnp.log(self.rate)
                slack = lambda log_shape: digamma(jnp.exp(log_shape)) - target
            else:
                target = jnp.log(mean) - mean_log
                slack = lambda log_shape: target - log_shape + digamma(jnp.exp(log_shape))
            shape = sums.keep(shape, jnp.exp(increasing_root(slack, low, high, start)))
        rate = self.rate if "rate" in frozen else sums.keep(self.rate, shape / mean)
        return Gamma(shape, rate, self.maximum_shape)

    def restart(self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None) -> "Gamma":
        """`from_data`."""
        new = Gamma.from_data(key, self.num_states, ys, observed)
        return Gamma(new.shape, new.rate, self.maximum_shape)

    def validate(self, ys: np.ndarray) -> None:
        """Positive numbers."""
        if (ys <= 0).any():
            raise ValueError(f"ys: a Gamma emission observes positive numbers, got {ys.min():.6g}")

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "Gamma":
        """Means log-normal around 1, shapes of 2; scalars unless `num_components` is given."""
        shape = jnp.full(state_shape(num_states, num_components), 2.0)
        return cls(shape, shape / jnp.exp(jax.random.normal(key, shape.shape)))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "Gamma":
        """Means halfway between that of the data and data points drawn far apart; shapes by the moments of the data."""
        ys, observed = rows_of(ys, observed)
        means = _starting_means(key, num_states, ys, observed)
        variation = standard_deviation(ys, observed) / average(ys, observed)
        shape = jnp.broadcast_to(1 / jnp.clip(variation, 1e-2, 1e1) ** 2, means.shape)
        return cls(shape, shape / means)


def _starting_means(key: Key, num_states: int, ys: Array, observed: Array) -> Array:
    """Positive wherever any observation is, (K, *event)."""
    points = spread_out(key, checks.positive_int("num_states", num_states), ys, observed)
    mean = average(ys, observed)
    return (points + jnp.where(mean > 0, mean, 1)) / 2
