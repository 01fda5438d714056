"""What a hidden Markov chain counts, and how it runs backwards."""

import equinox as eqx
import jax.numpy as jnp

from ssm.beliefs import Categorical
from ssm.linalg import matrix_times_column
from ssm.logspace import ratio
from ssm.maps.base import AbstractKernel
from ssm.maps.markov import MarkovMap
from ssm.shapes import Array, Float, Int, Key


class Counts(eqx.Module):
    """Expected sufficient statistics of a hidden Markov chain, given the observations.

    Shapes: `initial` (K,), E[x_1 = k], one per sequence start; `transitions` (K, K), Σ_t E[x_{t-1} = i, x_t = j];
    `states` (T, K), E[x_t = k].
    """

    initial: Float[Array, "*batch K"]
    transitions: Float[Array, "*batch K K"]
    states: Float[Array, "*batch T K"]


class ReversedChain(AbstractKernel[Categorical]):
    """p(x_t = i | x_{t+1} = j, y_{<=t}) = filtered_i A_ij / predicted_j, kept as its three factors."""

    filtered: Float[Array, "K"]
    transition: Float[Array, "K K"]
    predicted: Float[Array, "K"]

    def apply(self, belief: Categorical) -> Categorical:
        """One step of smoothing: filtered ∘ A (belief / predicted)."""
        gain = ratio(belief.probs, self.predicted)
        return Categorical(self.filtered * matrix_times_column(self.transition, gain))

    def sample(self, key: Key, state: Int[Array, ""]) -> Int[Array, ""]:
        """x_t given x_{t+1} = state."""
        return Categorical(self.filtered * self.transition[:, state]).sample(key)

    def as_map(self) -> MarkovMap:
        """The K × K matrix, row j for x_{t+1} = j."""
        rows = ratio((self.filtered[:, None] * self.transition).T, self.predicted[:, None])
        return MarkovMap(rows, jnp.zeros_like(self.filtered))
