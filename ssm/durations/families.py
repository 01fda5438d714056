"""Families of durations: free, geometric, Poisson and negative binomial."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import log_negative_binomial
from ssm.durations.base import AbstractDurations
from ssm.numeric import checks
from ssm.numeric.logspace import log, ratio
from ssm.parameters import Positive, Simplex, value
from ssm.shapes import Array, Float, Key


@final
class Categorical(AbstractDurations):
    """Any distribution: `probs` (M, D), rows that sum to one.

    Hard zeros stay zero. M-step: expected numbers of segments of each duration, normalised.
    """

    _probs: Simplex

    def __init__(self, probs: Array):
        self._probs = Simplex.of(checks.probabilities("probs", probs, ("M", "D")))

    @property
    def max_duration(self) -> int:
        """D."""
        return self._probs.logits.shape[1]

    @property
    def log_weights(self) -> Float[Array, "M D"]:
        """Logits."""
        return self._probs.logits

    def maximise(self, counts: Float[Array, "M D"], frozen: frozenset[str] = frozenset()) -> "Categorical":
        """Shares of each row."""
        total = jnp.sum(counts, axis=1, keepdims=True)
        return self if "probs" in frozen else Categorical(jnp.where(total > 0, ratio(counts, total), self.probs))

    def restart(self, key: Key) -> "Categorical":
        """Uniform on the simplex of what is possible."""
        draws = jnp.where(self.probs > 0, jax.random.exponential(key, self.probs.shape, self.probs.dtype), 0)
        return Categorical(draws / jnp.sum(draws, axis=1, keepdims=True))


@final
class Geometric(AbstractDurations):
    """p(d) ∝ stay^(d-1), d = 1 .. D: each step the mode goes on with probability `stay` (M,).

    With D large this is an ordinary Markov chain. Raises ValueError for `stay` outside [0, 1].
    """

    _stay: Simplex
    _max_duration: int = eqx.field(static=True)

    def __init__(self, stay: Array, max_duration: int):
        stay = checks.unit_interval("stay", stay, ("M",))
        self._stay = Simplex.of(jnp.stack([1 - stay, stay], axis=1))
        self._max_duration = checks.positive_int("max_duration", max_duration)

    @property
    def stay(self) -> Float[Array, "M"]:
        """Probability of going on, before the cut."""
        return value(self._stay)[:, 1]

    @property
    def max_duration(self) -> int:
        """D."""
        return self._max_duration

    @property
    def log_weights(self) -> Float[Array, "M D"]:
        """(d - 1) log stay."""
        later = jnp.arange(self.max_duration)  # d - 1
        rate = log(self.stay)[:, None]
        return jnp.where(later > 0, later.astype(rate.dtype) * jnp.where(later > 0, rate, 0), 0)

    def uncut(self, counts: Float[Array, "M D"]) -> "Geometric":
        """stay = 1 - 1 / mean duration."""
        excess = self._mean_excess(counts, ratio(self.stay, 1 - self.stay))
        stay = jnp.where(jnp.sum(counts, axis=1) > 0, excess / (1 + excess), self.stay)
        return Geometric(stay, self.max_duration)

    def restart(self, key: Key) -> "Geometric":
        """Mean durations of any size up to D."""
        excess = _sizes(key, self.stay, self.max_duration)
        return Geometric(excess / (1 + excess), self.max_duration)


@final
class Poisson(AbstractDurations):
    """d - 1 is Poisson with mean `rate` (M,), cut off after D = `max_duration`."""

    _rate: Positive
    _max_duration: int = eqx.field(static=True)

    def __init__(self, rate: Array, max_duration: int):
        self._rate = Positive.of(checks.positive("rate", rate, ("M",)))
        self._max_duration = checks.positive_int("max_duration", max_duration)

    @property
    def rate(self) -> Float[Array, "M"]:
        """Mean duration less one, before the cut."""
        return value(self._rate)

    @property
    def max_duration(self) -> int:
        """D."""
        return self._max_duration

    @property
    def log_weights(self) -> Float[Array, "M D"]:
        """(d - 1) log rate - log (d - 1)!."""
        rate = jnp.log(self.rate)[:, None]
        later = jnp.arange(self.max_duration).astype(rate.dtype)
        return later * rate - jax.scipy.special.gammaln(later + 1)

    def uncut(self, counts: Float[Array, "M D"]) -> "Poisson":
        """The mean of d - 1."""
        return Poisson(self._mean_excess(counts, self.rate), self.max_duration)

    def restart(self, key: Key) -> "Poisson":
        """Mean durations of any size up to D."""
        return Poisson(_sizes(key, self.rate, self.max_duration), self.max_duration)


@final
class NegativeBinomial(AbstractDurations):
    """d - 1 is negative binomial with mean `mean` and variance mean + mean²/size, cut off after D = `max_duration`.

    Shapes: `size`, `mean` (M,). At size 1 durations are geometric; the larger it is, the more regular they are, up
    to Poisson.
    """

    _size: Positive
    _mean: Positive
    _max_duration: int = eqx.field(static=True)

    def __init__(self, size: Array, mean: Array, max_duration: int):
        mean = checks.positive("mean", mean, ("M",))
        self._size = Positive.of(checks.positive("size", size, mean.shape).astype(mean.dtype))
        self._mean = Positive.of(mean)
        self._max_duration = checks.positive_int("max_duration", max_duration)

    @property
    def size(self) -> Float[Array, "M"]:
        """Number of failures that a segment outlasts."""
        return value(self._size)

    @property
    def mean(self) -> Float[Array, "M"]:
        """Mean duration less one, before the cut."""
        return value(self._mean)

    @property
    def max_duration(self) -> int:
        """D."""
        return self._max_duration

    @property
    def log_weights(self) -> Float[Array, "M D"]:
        """The log-density of d - 1."""
        later = jnp.arange(self.max_duration).astype(self.mean.dtype)
        shape = (self.mean.shape[0], self.max_duration)
        spread = lambda array: jnp.broadcast_to(array, shape)
        return log_negative_binomial(spread(later), spread(self.size[:, None]), spread(self.mean[:, None]))

    def uncut(self, counts: Float[Array, "M D"]) -> "NegativeBinomial":
        """The mean of d - 1; the size as it is."""
        return NegativeBinomial(self.size, self._mean_excess(counts, self.mean), self.max_duration)

    def restart(self, key: Key) -> "NegativeBinomial":
        """Mean durations of any size up to D, and sizes about 1."""
        for_size, for_mean = jax.random.split(key)
        size = jnp.exp(jax.random.normal(for_size, self.size.shape, self.size.dtype))
        return NegativeBinomial(size, _sizes(for_mean, self.mean, self.max_duration), self.max_duration)


def _sizes(key: Key, like: Float[Array, "M"], largest: int) -> Float[Array, "M"]:
    """Numbers between 1/2 and D, uniform in their logarithms."""
    highest = max(float(np.log(largest)), float(np.log(0.5)))
    return jnp.exp(jax.random.uniform(key, like.shape, like.dtype, np.log(0.5).item(), highest))
