"""Zeros and ones, and numbers of successes: p(y | x = k) = Π_n C(total, y_n) p_kn^y_n (1 - p_kn)^(total - y_n)."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, bernoulli, binomial, keeps_digits, log_binomial, log_choose
from ssm.emissions.common.components import sum_components
from ssm.emissions.common.seeds import average, rows_of, spread_out, state_shape
from ssm.emissions.counts.exponential_family import AbstractExponentialFamily, WeightedSums
from ssm.numeric import checks
from ssm.numeric.logspace import on_support, ratio
from ssm.parameters import Constant, value
from ssm.parameters.bounded import Probability, beta_counts, counts, unit_interval
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar


@final
class Bernoulli(AbstractExponentialFamily):
    """Zeros and ones: scalars, `probs` (K,), or vectors of independent components, (K, N).

    log p = Σ_n [y_n log probs + (1 - y_n) log(1 - probs)], as matrix products in O(T K) memory; a missing component
    leaves its term out. Probabilities of exactly 0 and 1 stay. Observations are the numbers 0 and 1; others raise
    ValueError. M-step: the weighted frequency of ones (Bishop 2006, eq. 9.59).

    `pseudo_counts` = (ones, zeros), numbers of at least 0 or arrays of them that broadcast to the shape of `probs`, is
    a beta prior of concentrations 1 + ones and 1 + zeros: that many observations beforehand. With a few of both no
    fit ends at 0 or 1, and nothing that was not seen is impossible.
    """

    _probs: Probability
    _pseudo_counts: tuple[Constant, Constant] | None

    def __init__(self, probs: Array, pseudo_counts: tuple[Array | float, Array | float] | None = None):
        probs = unit_interval("probs", probs)
        self._probs = Probability.of(probs)
        self._pseudo_counts = None if pseudo_counts is None else beta_counts(pseudo_counts, probs)

    @property
    def probs(self) -> Float[Array, "K *event"]:
        """Probability of a one."""
        return self._probs.probs

    @property
    def pseudo_counts(self) -> tuple[Float[Array, "K *event"], Float[Array, "K *event"]] | None:
        """Ones and zeros beforehand."""
        return None if self._pseudo_counts is None else (value(self._pseudo_counts[0]), value(self._pseudo_counts[1]))

    def log_prior(self) -> Scalar:
        """Σ ones log probs + zeros log(1 - probs), up to a constant."""
        if self.pseudo_counts is None:
            return jnp.zeros((), self._probs.logits.dtype)
        terms = lambda counts, logs: jnp.sum(jnp.where(counts > 0, counts * logs, 0))
        (ones, zeros), (log_one, log_zero) = self.pseudo_counts, self._probs.log_both
        return terms(ones, log_one) + terms(zeros, log_zero)

    @property
    def _axes(self) -> tuple[int, ...]:
        return self._probs.logits.shape

    @property
    def _has_borders(self) -> bool:
        return True

    def _statistics(self, ys: Float[Array, "T *event"]) -> tuple[Array, ...]:
        return ys, 1 - ys

    def _natural(self) -> tuple[Array, ...]:
        return self._probs.log_both

    def _log_normaliser(self) -> Array:
        return jnp.zeros_like(self._probs.logits)

    def _log_base(self, ys: Float[Array, "T *event"]) -> Array:
        return on_support((ys == 0) | (ys == 1), ys)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Independent zeros and ones."""
        return bernoulli(self._probs.exact_logits[state], self._probs.logits.dtype)

    def fitted(self, sums: WeightedSums, frozen: frozenset[str] = frozenset()) -> "Bernoulli":
        """Weighted frequencies, of what was observed now and beforehand."""
        if "probs" in frozen:
            return self
        ones, total = sums.statistics[0], sums.total
        if self.pseudo_counts is not None:
            before, others = self.pseudo_counts
            ones, total = ones + before, total + before + others
        frequency = jnp.where(total > 0, ratio(ones, total), self.probs)
        return Bernoulli(jnp.clip(frequency, 0, 1), self.pseudo_counts)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "Bernoulli":
        """`from_data`."""
        return Bernoulli(Bernoulli.from_data(key, self.num_states, ys, observed).probs, self.pseudo_counts)

    def validate(self, ys: np.ndarray) -> None:
        """Zeros and ones only."""
        counts("Bernoulli", ys, 1)

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "Bernoulli":
        """Uniform probabilities; scalars unless `num_components` is given."""
        return cls(jax.random.uniform(key, state_shape(num_states, num_components)))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "Bernoulli":
        """Halfway between the frequencies of the data and data points drawn far apart."""
        return cls(_starting_probs(key, num_states, ys, observed, 1))


@final
class Binomial(AbstractExponentialFamily):
    """Successes in `total` trials: scalars, `probs` (K,), or vectors of independent components, (K, N).

    log p = Σ_n [log C(total, y_n) + y_n log probs + (total - y_n) log(1 - probs)]; a missing component leaves its term
    out. Probabilities of exactly 0 and 1 stay. Observations are whole numbers 0 .. total; others raise ValueError.
    M-step: the weighted mean divided by `total`.
    """

    _probs: Probability
    total: int = eqx.field(static=True)

    def __init__(self, total: int, probs: Array):
        self.total = checks.positive_int("total", total)
        self._probs = Probability.of(unit_interval("probs", probs))

    @property
    def probs(self) -> Float[Array, "K *event"]:
        """Probability of a success."""
        return self._probs.probs

    @property
    def _axes(self) -> tuple[int, ...]:
        return self._probs.logits.shape

    @property
    def _has_borders(self) -> bool:
        return True

    def _statistics(self, ys: Float[Array, "T *event"]) -> tuple[Array, ...]:
        return ys, self.total - ys

    def _natural(self) -> tuple[Array, ...]:
        return self._probs.log_both

    def _log_normaliser(self) -> Array:
        return jnp.zeros_like(self._probs.logits)

    def _log_base(self, ys: Float[Array, "T *event"]) -> Array:
        inside = (ys >= 0) & (ys <= self.total) & (ys == jnp.round(ys))
        return on_support(inside, ys, log_choose(self.total, jnp.where(inside, ys, 0)))

    @property
    def _fits_product(self) -> bool:
        return bool(keeps_digits(self.total, self._probs.logits.dtype))

    def _one_by_one(self, ys: Float[Array, "T *event"], seen: Bool[Array, "T *event"] | None) -> Float[Array, "T K"]:
        def density(y: Array, log_one: Array, log_zero: Array) -> Array:
            inside = (y >= 0) & (y <= self.total) & (y == jnp.round(y))
            known = jnp.where(inside, y, 0)
            return on_support(inside, y, log_binomial(known, self.total - known, (log_one, log_zero)))

        return sum_components(density, (ys,), seen, *self._natural())

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Independent numbers of successes."""
        return binomial(self.total, self.probs[state])

    def fitted(self, sums: WeightedSums, frozen: frozenset[str] = frozenset()) -> "Binomial":
        """Weighted frequencies."""
        if "probs" in frozen:
            return self
        return Binomial(self.total, jnp.clip(sums.keep(self.probs, sums.mean(0, self.probs) / self.total), 0, 1))

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "Binomial":
        """`from_data`."""
        return Binomial.from_data(key, self.num_states, self.total, ys, observed)

    def validate(self, ys: np.ndarray) -> None:
        """Whole numbers 0 .. total."""
        counts("Binomial", ys, self.total)

    @classmethod
    def random(cls, key: Key, num_states: int, total: int, num_components: int | None = None) -> "Binomial":
        """Uniform probabilities; scalars unless `num_components` is given."""
        return cls(total, jax.random.uniform(key, state_shape(num_states, num_components)))

    @classmethod
    def from_data(
        cls,
        key: Key,
        num_states: int,
        total: int,
        ys: Float[Array, "M *event"],
        observed: Bool[Array, "M"] | None = None,
    ) -> "Binomial":
        """Halfway between the frequencies of the data and data points drawn far apart."""
        return cls(total, _starting_probs(key, num_states, ys, observed, checks.positive_int("total", total)))


def _starting_probs(key: Key, num_states: int, ys: Any, observed: Any, total: int) -> Array:
    """Strictly between 0 and 1, (K, *event)."""
    ys, observed = rows_of(ys, observed)
    points = spread_out(key, checks.positive_int("num_states", num_states), ys, observed) / total
    frequency = 0.98 * average(ys / total, observed) + 0.01  # no state starts with a hard zero
    return (points + frequency) / 2
