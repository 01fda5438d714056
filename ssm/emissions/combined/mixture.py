"""Each state a mixture of several distributions of one family: p(y | x = k) = Σ_m weights[k, m] p_km(y)."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.emissions.combined.wrapped import AbstractWrapped
from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.components import weights_seen
from ssm.numeric import checks
from ssm.numeric.logspace import finite_max, log, ratio
from ssm.parameters import Simplex, value
from ssm.parameters.freezing import frozen_within
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class Mixture(AbstractWrapped):
    """States of several modes, such as the Gaussian mixtures of `Mixture(weights, Normal(loc, scale))`.

    `weights` (K, M), rows that sum to one; `parts` an emission of K M states, of which k M .. k M + M - 1 belong to
    state k. Missing components are integrated out by the parts. M-step: a weight goes to the parts by
    r_km = w_k weights[k, m] p_km(y) / p(y | k), each is fitted to its share, weights[k, m] = Σ r_km / Σ w_k
    (Rabiner 1989, eqs. 52-54); it climbs. Hard zeros stay.
    """

    _weights: Simplex | Float[Array, "K M"]
    parts: AbstractEmission

    def __init__(self, weights: Array, parts: AbstractEmission):
        if not isinstance(parts, AbstractEmission):
            raise TypeError(f"parts: expected a family of ssm.emissions, got {type(parts).__name__}")
        weights = checks.probabilities("weights", weights, ("K", "M"))
        if weights.size != parts.num_states:
            raise ValueError(
                f"parts: weights of shape {tuple(weights.shape)} need {weights.size} of them, got {parts.num_states} "
                "states; give the parts one state for every state and component, those of state 0 first"
            )
        self._weights = Simplex.of(weights)
        self.parts = parts

    @property
    def weights(self) -> Float[Array, "K M"]:
        """Probability of each part in each state."""
        return value(self._weights)

    @property
    def _inside(self) -> AbstractEmission:
        return self.parts

    @property
    def num_states(self) -> int:
        """K."""
        return self.weights.shape[0]

    def log_likelihoods(
        self, ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """log Σ_m weights[k, m] p_km(y_t)."""
        return _log_sum(self._joint(ys, us, observed))

    def _joint(self, ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None) -> list[Float[Array, "T K"]]:
        """log weights[k, m] p_km(y_t), one table for each m; -inf for parts that are ruled out, whatever they say."""
        table = self.parts.log_likelihoods(ys, us, observed)
        size = self.weights.shape[1]
        joint = lambda m, weight: jnp.where(weight == 0, -jnp.inf, table[:, m::size] + log(weight))
        return [joint(m, self.weights[:, m]) for m in range(size)]

    def given(self, state: Int[Array, ""], u: PyTree) -> Any:
        """The mixture of the parts of `state`."""
        return self.mixture(jax.nn.one_hot(state, self.num_states, dtype=self.weights.dtype), u)

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Any:
        """The mixture of all parts."""
        return self.parts.mixture((probs[:, None] * self.weights).reshape(-1), u)

    def maximise(
        self,
        weights: Float[Array, "T K"],
        ys: Array,
        us: PyTree,
        observed: Bool[Array, "T *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "Mixture":
        """The weights' shares, and the M-step of the parts."""
        shares = self._shares(weights, ys, us, observed)
        counts, below = _total(shares, self.weights.shape), frozen_within(self.parts, "parts", frozen)
        return Mixture(self._weighed(counts, frozen), self.parts.maximise(shares, ys, us, observed, below))

    def sums(
        self, weights: Float[Array, "T K"], ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None
    ) -> tuple[Float[Array, "K M"], PyTree]:
        """Expected counts of the parts, and their statistics."""
        shares = self._shares(weights, ys, us, observed)
        return _total(shares, self.weights.shape), self.parts.sums(shares, ys, us, observed)

    def fitted(self, sums: tuple[Float[Array, "K M"], PyTree], frozen: frozenset[str] = frozenset()) -> "Mixture":
        """Expected counts, normalised, and the parts given their statistics."""
        counts, inner = sums
        below = frozen_within(self.parts, "parts", frozen)
        return Mixture(self._weighed(counts, frozen), self.parts.fitted(inner, below))

    def permuted(self, order: np.ndarray) -> "Mixture":
        """Weights, and the parts of each state together."""
        size = self.weights.shape[1]
        parts = self.parts.permuted((np.asarray(order)[:, None] * size + np.arange(size)).reshape(-1))
        weights = jax.tree.map(lambda leaf: leaf[order], self._weights)
        return eqx.tree_at(lambda m: (m._weights, m.parts), self, (weights, parts))

    def _shares(
        self, weights: Float[Array, "T K"], ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None
    ) -> Float[Array, "T KM"]:
        """The weight of every part: that of its state by its share of the likelihood."""
        tables = self._joint(ys, us, observed)
        whole = _log_sum(tables)
        weights = weights_seen(weights, observed)
        possible = whole > -jnp.inf  # what no part can emit says nothing about them
        shift = jnp.where(possible, whole, 0)
        # The share in one exponential, which is at most 1: a part that is ruled out has a share of 0, however dense.
        each = [jnp.where(possible, weights * jnp.exp(table - shift), 0) for table in tables]
        return jnp.stack(each, axis=2).reshape(len(weights), -1)

    def _weighed(self, counts: Float[Array, "K M"], frozen: frozenset[str]) -> Float[Array, "K M"]:
        total = jnp.sum(counts, axis=1, keepdims=True)
        moved = jnp.where(total > 0, ratio(counts, total), self.weights)
        return self.weights if "weights" in frozen else moved

    def restart(self, key: Key, ys: Array, us: PyTree, observed: Bool[Array, "T"] | None) -> "Mixture":
        """Parts taken from the data, weights drawn on their support."""
        for_weights, for_parts = jax.random.split(key)
        draws = jax.random.exponential(for_weights, self.weights.shape, self.weights.dtype)
        draws = jnp.where(self.weights > 0, draws, 0)
        weights = draws / jnp.sum(draws, axis=1, keepdims=True)
        return Mixture(weights, self.parts.restart(for_parts, ys, us, observed))

    @classmethod
    def random(cls, key: Key, num_states: int, num_parts: int, family: Any, *sizes: int) -> "Mixture":
        """Equal weights on `family.random(key, num_states * num_parts, *sizes)`."""
        count = checks.positive_int("num_states", num_states) * checks.positive_int("num_parts", num_parts)
        return cls(_equal(num_states, num_parts), family.random(key, count, *sizes))

    @classmethod
    def from_data(
        cls,
        key: Key,
        num_states: int,
        ys: Array,
        observed: Bool[Array, "T"] | None = None,
        *,
        num_parts: int,
        family: Any,
        **options: Any,
    ) -> "Mixture":
        """Equal weights on `family.from_data(key, num_states * num_parts, ys, observed, **options)`."""
        count = checks.positive_int("num_states", num_states) * checks.positive_int("num_parts", num_parts)
        return cls(_equal(num_states, num_parts), family.from_data(key, count, ys, observed, **options))


def _log_sum(tables: list[Float[Array, "T K"]]) -> Float[Array, "T K"]:
    """log Σ_m exp(tables[m]), term by term: sums along a short last axis are slow."""
    shift = jax.lax.stop_gradient(finite_max(jnp.stack(tables), axis=0))
    total = jnp.zeros_like(shift)
    for table in tables:
        total = total + jnp.exp(table - shift)
    return log(total) + shift


def _total(shares: Float[Array, "T KM"], shape: tuple[int, ...]) -> Float[Array, "K M"]:
    return jnp.sum(shares, axis=0).reshape(shape)


def _equal(num_states: int, num_parts: int) -> Float[Array, "K M"]:
    return jnp.full((num_states, num_parts), 1 / num_parts)
