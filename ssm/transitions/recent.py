"""A chain that remembers where it has been: its last states together are one state."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax.numpy as jnp

from ssm.numeric import checks
from ssm.numeric.linalg import HIGHEST
from ssm.numeric.logspace import dot_log, log, log_sum
from ssm.parameters import Simplex, value
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.transitions.base import AbstractTransition, normalised, random_like, stationary_of


@final
class Recent(AbstractTransition):
    """The last `length` states (x_t, x_t-1, ...) of a chain of M states with probabilities `probs` (M, M).

    K = M^length joint states, the latest one's number running slowest, for observations that depend on earlier states
    too, such as autoregressions around a mean that switches. A step costs O(K M), parameters and M-step are those of
    the chain. A stationary start is that of the chain, `length` steps before. Raises ValueError for a length below 2.
    Source: Hamilton 1989, section 4.
    """

    _probs: Simplex | Float[Array, "M M"]
    length: int = eqx.field(static=True)

    def __init__(self, probs: Array, length: int):
        probs = checks.probabilities("probs", probs, ("M", jnp.shape(probs)[-1] if jnp.ndim(probs) else "M"))
        self._probs = Simplex.of(probs)
        self.length = checks.positive_int("length", length)
        if length < 2:
            raise ValueError("length: expected at least 2, got 1; ssm.transitions.Homogeneous remembers one state")

    @property
    def probs(self) -> Float[Array, "M M"]:
        """Of one step of the chain."""
        return value(self._probs)

    @property
    def size(self) -> int:
        """M."""
        return self.probs.shape[0]

    @property
    def num_states(self) -> int:
        """K."""
        return self.size**self.length

    def marginal(self, probs: Float[Array, "*batch K"], ago: int = 0) -> Float[Array, "*batch M"]:
        """p(x_t-ago), from joint probabilities such as `smooth(...).smoothed.probs`."""
        split = probs.reshape(*probs.shape[:-1], self.size**ago, self.size, -1)
        return jnp.sum(split, axis=(-3, -1))

    def state(self, states: Int[Array, "*batch"], ago: int = 0) -> Int[Array, "*batch"]:
        """x_t-ago, from joint states such as those that `decode` gives."""
        return states // self.size ** (self.length - 1 - ago) % self.size

    def push(self, probs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """The oldest state is forgotten, a new one comes."""
        kept = self._without_oldest(probs)  # (x_t-1, older)
        return (self.probs.T[:, :, None] * kept).reshape(-1)

    def pull(self, values: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """Σ over the new state; the oldest one makes no difference."""
        joint = values.reshape(self.size, self.size, -1)  # (x_t, x_t-1, older)
        expected = jnp.sum(self.probs.T[:, :, None] * joint, axis=0)
        return jnp.repeat(expected.reshape(-1), self.size)

    def push_logs(
        self, logs: Float[Array, "K"], u: PyTree, add: Callable[[Array, int], Array] = log_sum
    ) -> Float[Array, "K"]:
        """Over the oldest state."""
        kept = add(logs.reshape(self.size, -1, self.size), 2)
        return (log(self.probs).T[:, :, None] + kept).reshape(-1)

    def pull_logs(self, logs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """Over the new state."""
        joint = logs.reshape(self.size, self.size, -1)
        return jnp.repeat(log_sum(log(self.probs).T[:, :, None] + joint, 0).reshape(-1), self.size)

    def stationary(self) -> Float[Array, "K"]:
        """A path of `length` states, the oldest one from the chain's stationary distribution."""
        path = stationary_of(self.probs)
        for _ in range(self.length - 1):
            path = (self.probs.T[:, :, None] * path.reshape(self.size, -1)).reshape(-1)
        return path

    def count(self, before: Float[Array, "N K"], gain: Float[Array, "N K"], us: PyTree) -> Float[Array, "M M"]:
        """Expected moves of the chain."""
        kept = jnp.sum(before.reshape(len(before), self.size, -1, self.size), axis=3)
        after = gain.reshape(len(gain), self.size, self.size, -1)
        return self.probs * jnp.einsum("nio,njio->ij", kept, after, precision=HIGHEST)

    def expected_log_prob(self, counts: Float[Array, "M M"], us: PyTree) -> Scalar:
        """Σ_ij counts_ij log probs_ij."""
        return dot_log(counts, self.probs)

    def maximise(self, counts: Float[Array, "M M"], us: PyTree, frozen: frozenset[str] = frozenset()) -> "Recent":
        """Expected moves as shares of each row."""
        return self if "probs" in frozen else Recent(normalised(counts, self.probs), self.length)

    def restart(self, key: Key) -> "Recent":
        """Random rows on the same support."""
        return Recent(random_like(key, self.probs), self.length)

    def _without_oldest(self, probs: Float[Array, "K"]) -> Float[Array, "M _"]:
        return jnp.sum(probs.reshape(self.size, -1, self.size), axis=2)
