"""Overdispersed counts: a Poisson count whose rate is drawn from a gamma distribution."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma

from ssm.distributions import Distribution, log_negative_binomial, negative_binomial
from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.components import by_component, sum_components
from ssm.emissions.common.seeds import average, rows_of, spread_out, standard_deviation, state_shape
from ssm.numeric import checks
from ssm.numeric.find_root import increasing_root
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import on_support, ratio
from ssm.parameters import Positive, value
from ssm.parameters.bounded import NonNegative, counts, non_negative
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree

SMALLEST_SIZE = 1e-4
NEWTON_STEPS = 12  # each reads all data; EM goes on where they end


@final
class NegativeBinomial(AbstractEmission):
    """Counts of variance mean + mean²/size: scalars, `size` and `mean` (K,), or independent components, (K, N).

    log p = Σ_n [log Γ(y_n + size) - log Γ(size) - log y_n! - size log(1 + mean/size) + y_n log(mean/(mean + size))]
    (Lawless 1987, with size = 1/a: any positive number); a missing component leaves its term out. Observations are
    whole numbers of at least 0; others raise ValueError.

    M-step: the weighted mean, and safeguarded Newton steps for the size, which are taken where they do not lower the
    likelihood. Data that are less spread than a Poisson count have their maximum at an infinite size: the size is at
    most `maximum_size`.
    """

    _size: Positive | Float[Array, "K *event"]
    _mean: NonNegative | Float[Array, "K *event"]
    maximum_size: float = eqx.field(static=True)

    def __init__(self, size: Array, mean: Array, maximum_size: float = 1e5):
        mean = non_negative("mean", mean)
        size = checks.positive("size", size, checks.leading_axes(size))
        checks.shape("size", size, mean.shape)
        self._size, self._mean = Positive.of(size.astype(mean.dtype)), NonNegative.of(mean)
        self.maximum_size = checks.non_negative("maximum_size", maximum_size)

    @property
    def size(self) -> Float[Array, "K *event"]:
        """The shape of the gamma distribution of rates."""
        return value(self._size)

    @property
    def mean(self) -> Float[Array, "K *event"]:
        """Mean counts."""
        return value(self._mean)

    @property
    def num_states(self) -> int:
        """K."""
        return self.mean.shape[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """() or (N,)."""
        return self.mean.shape[1:]

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """The density, summed component by component."""
        return sum_components(_log_density, (ys,), by_component(observed, ys), self.size, self.mean)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Independent counts."""
        return negative_binomial(self.size[state], self.mean[state])

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "NegativeBinomial":
        """Weighted means, then sizes that climb."""
        seen = by_component(observed, ys)
        flags = jnp.ones_like(ys) if seen is None else seen.astype(ys.dtype)
        ys = ys if seen is None else jnp.where(seen, ys, 0)
        columns = weights.T  # (K, M)
        total = multiply(columns, flags)
        fits = jnp.where(total > 0, ratio(multiply(columns, ys), total), self.mean)
        mean = self.mean if "mean" in frozen else fits
        size = self.size
        if "size" not in frozen:
            climb = lambda each: _climbed(each[0], each[1], columns * each[2], each[3], self.maximum_size)
            if ys.ndim == 1:
                size = climb((size, mean, flags, ys))
            else:
                size = jax.lax.map(climb, (size.T, mean.T, flags.T, ys.T)).T
            size = jnp.where(total > 0, size, self.size)
        return NegativeBinomial(size, mean, self.maximum_size)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "NegativeBinomial":
        """`from_data`."""
        new = NegativeBinomial.from_data(key, self.num_states, ys, observed)
        return NegativeBinomial(new.size, new.mean, self.maximum_size)

    def validate(self, ys: np.ndarray) -> None:
        """Whole numbers of at least 0."""
        counts("NegativeBinomial", ys)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "NegativeBinomial":
        """Means from an exponential distribution of mean 5, sizes of 2; scalars unless `num_components` is given."""
        shape = state_shape(num_states, num_components)
        return cls(jnp.full(shape, 2.0), 5 * jax.random.exponential(key, shape))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "NegativeBinomial":
        """Means halfway between that of the data and data points drawn far apart; sizes by the moments of the data."""
        ys, observed = rows_of(ys, observed)
        points = spread_out(key, checks.positive_int("num_states", num_states), ys, observed)
        mean = average(ys, observed)
        excess = jnp.maximum(standard_deviation(ys, observed) ** 2 - mean, 1e-3)
        size = jnp.broadcast_to(jnp.clip(mean**2 / excess, 0.1, 1e3), points.shape)
        return cls(size, jnp.maximum((points + mean) / 2, 1e-2))


def _log_density(y: Array, size: Array, mean: Array) -> Array:
    inside = (y >= 0) & (y == jnp.round(y))
    return on_support(inside, y, log_negative_binomial(jnp.where(inside, y, 0), size, mean))


def _climbed(
    size: Float[Array, "K"],
    mean: Float[Array, "K"],
    weights: Float[Array, "K M"],
    ys: Float[Array, "M"],
    highest: float,
) -> Float[Array, "K"]:
    """Sizes of higher likelihood, by the root of its derivative in log size."""
    centre = mean[:, None]

    def downhill(log_size: Float[Array, "K"]) -> Float[Array, "K"]:
        size = jnp.exp(log_size)[:, None]
        score = digamma(ys + size) - digamma(size) - jnp.log1p(centre / size) + (centre - ys) / (size + centre)
        return -jnp.sum(weights * size * score, axis=1)

    def likelihood(size: Float[Array, "K"]) -> Float[Array, "K"]:
        return jnp.sum(weights * log_negative_binomial(ys, size[:, None], centre), axis=1)

    start = jnp.log(size)
    low, high = jnp.full_like(start, np.log(SMALLEST_SIZE)), jnp.full_like(start, np.log(highest))
    new = jnp.exp(increasing_root(downhill, low, high, start, NEWTON_STEPS))
    return jnp.where(likelihood(new) > likelihood(size), new, size)
