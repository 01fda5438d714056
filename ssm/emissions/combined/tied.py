"""Several states that emit alike: p(y | x = k) = p(y | states[k])."""

from collections.abc import Sequence
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.beliefs.likelihoods import LogLikelihood, ScaledLikelihood
from ssm.emissions.combined.wrapped import AbstractWrapped
from ssm.emissions.common.base import AbstractEmission
from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.parameters.freezing import frozen_within
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class Tied(AbstractWrapped):
    """An emission of M states for a chain of more: state k emits as `states[k]` does.

    `states` is a sequence of K numbers 0 .. M-1, or one number D: each of the M states then stands for D successive
    ones, K = M D. Likelihoods are worked out once for each of the M, and their M-step gets the sums of the weights.
    Raises ValueError for numbers out of range.
    """

    emission: AbstractEmission
    states: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, emission: AbstractEmission, states: int | Sequence[int]):
        if not isinstance(emission, AbstractEmission):
            raise TypeError(f"emission: expected a family of ssm.emissions, got {type(emission).__name__}")
        size = emission.num_states
        if isinstance(states, int):
            numbers = np.repeat(np.arange(size), checks.positive_int("states", states))
        else:
            numbers = np.asarray(states)
        if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iu":
            raise TypeError(f"states: expected a number of repeats, or integers (K,), got {states!r}")
        if numbers.min() < 0 or numbers.max() >= size:
            raise ValueError(
                f"states: the emission has states 0 .. {size - 1}, got numbers from {numbers.min()} to {numbers.max()}"
            )
        self.emission, self.states = emission, tuple(numbers.tolist())

    @property
    def _inside(self) -> AbstractEmission:
        return self.emission

    @property
    def num_states(self) -> int:
        """K."""
        return len(self.states)

    def log_likelihoods(
        self, ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """Those of the emission, repeated."""
        return self._spread(self.emission.log_likelihoods(ys, us, observed))

    def quicken(self, ys: Array, us: PyTree, observed: Bool[Array, "T *event"] | None = None) -> tuple["Tied", PyTree]:
        """As the emission's: rows of M are kept, and repeated inside the scan."""
        emission, prepared = self.emission.quicken(ys, us, observed)
        return Tied(emission, self.states), prepared

    def likelihood(self, prepared: PyTree) -> LogLikelihood | ScaledLikelihood:
        """A row of `log_likelihoods` is whole already; the emission's fast form is repeated."""
        if isinstance(prepared, LogLikelihood):
            return prepared
        row = self.emission.likelihood(prepared)
        assert isinstance(row, ScaledLikelihood)
        return ScaledLikelihood(self._spread(row.weights), row.shift)

    def given(self, state: Int[Array, ""], u: PyTree) -> Any:
        """As `states[state]`."""
        return self.emission.given(jnp.asarray(self.states)[state], u)

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Any:
        """The mixture of the M, by the sums of the probabilities."""
        return self.emission.mixture(self._summed(probs[None])[0], u)

    def maximise(
        self,
        weights: Float[Array, "T K"],
        ys: Array,
        us: PyTree,
        observed: Bool[Array, "T *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "Tied":
        """The M-step of the emission."""
        below = frozen_within(self.emission, "emission", frozen)
        return Tied(self.emission.maximise(self._summed(weights), ys, us, observed, below), self.states)

    def sums(
        self, weights: Float[Array, "T K"], ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None
    ) -> PyTree:
        """Those of the emission."""
        return self.emission.sums(self._summed(weights), ys, us, observed)

    def fitted(self, sums: PyTree, frozen: frozenset[str] = frozenset()) -> "Tied":
        """As the emission's."""
        return Tied(self.emission.fitted(sums, frozen_within(self.emission, "emission", frozen)), self.states)

    def restart(self, key: Key, ys: Array, us: PyTree, observed: Bool[Array, "T"] | None) -> "Tied":
        """As the emission's."""
        return Tied(self.emission.restart(key, ys, us, observed), self.states)

    def permuted(self, order: np.ndarray) -> "Tied":
        """The same emission under other numbers."""
        return Tied(self.emission, np.asarray(self.states)[order].tolist())

    @property
    def _repeats(self) -> int | None:
        """D if each of the M states stands for D successive ones."""
        numbers, size = np.asarray(self.states), self.emission.num_states
        if numbers.size % size or (numbers != np.repeat(np.arange(size), numbers.size // size)).any():
            return None
        return numbers.size // size

    def _spread(self, table: Float[Array, "*batch M"]) -> Float[Array, "*batch K"]:
        if self._repeats is None:
            return table[..., np.asarray(self.states)]
        repeated = jnp.broadcast_to(table[..., None], (*table.shape, self._repeats))  # no gather inside a scan
        return repeated.reshape(*table.shape[:-1], -1)

    def _summed(self, weights: Float[Array, "T K"]) -> Float[Array, "T M"]:
        size = self.emission.num_states
        if self._repeats is None:
            return multiply(weights, jax.nn.one_hot(np.asarray(self.states), size, dtype=weights.dtype))
        ones = jnp.ones((self._repeats, 1), weights.dtype)
        return multiply(weights.reshape(-1, self._repeats), ones).reshape(-1, size)
