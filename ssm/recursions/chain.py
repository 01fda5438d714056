"""What a hidden Markov chain is told and counts, and how it runs backwards."""

import equinox as eqx
import jax.numpy as jnp

from ssm.beliefs import Categorical
from ssm.logspace import ratio
from ssm.maps.base import AbstractKernel
from ssm.maps.markov import MarkovMap
from ssm.shapes import Array, Float, Int, Key, PyTree
from ssm.transitions.base import AbstractTransition


class Known(eqx.Module):
    """What is known before y_t: the inputs, as the emission and as the transition want to see them."""

    emission: PyTree = None
    transition: PyTree = None


NOTHING = Known()


class Counts(eqx.Module):
    """Expected sufficient statistics of a hidden Markov chain, given the observations.

    Shapes: `initial` (K,), E[x_1 = k], one per sequence start; `transitions` (K, K), Σ_t E[x_{t-1} = i, x_t = j], or
    what a transition with structure counts instead; `states` (T, K), E[x_t = k].
    """

    initial: Float[Array, "*batch K"]
    transitions: PyTree
    states: Float[Array, "*batch T K"]


class Sums(eqx.Module):
    """`Counts` without what grows with time: `emission` is what the family sums over times."""

    initial: Float[Array, "K"]
    transitions: PyTree
    emission: PyTree


class ReversedChain(AbstractKernel[Categorical]):
    """p(x_t = i | x_{t+1} = j, y_{<=t}) = filtered_i A_ij / predicted_j, kept as its three factors."""

    filtered: Float[Array, "K"]
    transition: AbstractTransition
    u: PyTree  # what the transition is told of t + 1
    predicted: Float[Array, "K"]

    def apply(self, belief: Categorical) -> Categorical:
        """One step of smoothing: filtered ∘ A (belief / predicted)."""
        gain = ratio(belief.probs, self.predicted)
        return Categorical(self.filtered * self.transition.pull(gain, self.u))

    def sample(self, key: Key, state: Int[Array, ""]) -> Int[Array, ""]:
        """x_t given x_{t+1} = state."""
        return Categorical(self.filtered * self.transition.column(state, self.u)).sample(key)

    def as_map(self) -> MarkovMap:
        """The K × K matrix, row j for x_{t+1} = j."""
        joint = self.filtered[:, None] * self.transition.matrix(self.u)
        return MarkovMap(ratio(joint.T, self.predicted[:, None]), jnp.zeros_like(self.filtered))
