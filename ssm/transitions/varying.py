"""Matrices that change with time: given one by one, or driven by inputs."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.numeric.ascent import climb
from ssm.numeric.ranks import shared_levels
from ssm.parameters import AbstractOverparametrised, AbstractPartlyRead, Simplex, value
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.transitions.base import AbstractTransition, normalised, random_like
from ssm.transitions.moves import Moves


@final
class TimeVarying(AbstractTransition, AbstractPartlyRead):
    """p(x_t = j | x_{t-1} = i) = probs[t, i, j], one matrix (K, K) for each of T times; the first is not used.

    Raises ValueError unless all rows sum to one. Sequences may be shorter than T, not longer.
    """

    _probs: Simplex | Float[Array, "T K K"]

    def __init__(self, probs: Array):
        size = np.shape(probs)[-1] if np.ndim(probs) else "K"
        self._probs = Simplex.of(checks.probabilities("transition", probs, ("T", size, size)))

    @property
    def probs(self) -> Float[Array, "T K K"]:
        """A_1 .. A_T."""
        return value(self._probs)

    def entries_read(self, entries: Any) -> Any:
        """All but the first matrix."""
        return jax.tree.map(lambda free: free & (np.arange(len(free)) > 0)[:, None, None], entries)

    @property
    def num_states(self) -> int:
        """K."""
        return self.probs.shape[-1]

    @property
    def num_steps(self) -> int:
        """T."""
        return self.probs.shape[0]

    def prepare(self, us: PyTree, times: Int[Array, "*lead"]) -> PyTree:
        """The times: matrices are looked up inside the scan, where they are needed."""
        return times

    def matrix(self, u: PyTree = None) -> Float[Array, "K K"]:
        """A_t, for u = t."""
        return jax.lax.dynamic_index_in_dim(self.probs, u, keepdims=False)

    def maximise(self, counts: Moves, us: PyTree, frozen: frozenset[str] = frozenset()) -> "TimeVarying":
        """Expected moves at each time as shares of each row."""
        if "probs" in frozen:
            return self

        def add(total: Float[Array, "T K K"], move: tuple) -> tuple[Float[Array, "T K K"], None]:
            before, gain, t = move
            return total.at[t].add(Moves(before, gain, counts.old).joint(t)), None

        total, _ = jax.lax.scan(add, jnp.zeros_like(self.probs), (counts.log_before, counts.log_gain, us))
        return TimeVarying(normalised(total, self.probs))

    def permuted(self, order: np.ndarray) -> "TimeVarying":
        """Rows and columns at all times."""
        return jax.tree.map(lambda leaf: leaf[:, order][:, :, order], self)

    def restart(self, key: Key) -> "TimeVarying":
        """Random rows on the same support."""
        return TimeVarying(random_like(key, self.probs))


@final
class Driven(AbstractTransition, AbstractPartlyRead, AbstractOverparametrised):
    """p(x_t = j | x_{t-1} = i, u_t) ∝ probs[i, j] exp(weights[i, j] · u_t): a logistic regression in every row.

    Shapes: `probs` (K, K), the transition at u = 0, whose zeros stay zeros for every input; `weights` (K, K, U).
    The M-step climbs (generalised EM), since a row has no closed form. Source: Diebold, Lee & Weinbach 1994.
    """

    _probs: Simplex | Float[Array, "K K"]
    weights: Float[Array, "K K U"]

    def __init__(self, probs: Array, weights: Array):
        size = np.shape(probs)[-1] if np.ndim(probs) else "K"
        probs = checks.probabilities("transition", probs, (size, size))
        self._probs = Simplex.of(probs)
        self.weights = checks.real("weights", weights, (*probs.shape, "U")).astype(probs.dtype)

    @property
    def probs(self) -> Float[Array, "K K"]:
        """A at u = 0."""
        return value(self._probs)

    def entries_read(self, entries: Any) -> Any:
        """Weights of possible moves alone."""
        read = entries.weights & (np.asarray(self.probs) > 0)[..., None]
        return eqx.tree_at(lambda m: m.weights, entries, read)

    def num_redundant(self, entries: Any) -> int:
        """Of each input one weight in each row: a constant added to all of them has no effect."""
        return shared_levels(entries.weights, (np.asarray(self.probs) > 0)[..., None], axis=1)

    @property
    def num_states(self) -> int:
        """K."""
        return self.probs.shape[0]

    @property
    def num_inputs(self) -> int:
        """U."""
        return self.weights.shape[-1]

    def matrix(self, u: PyTree = None) -> Float[Array, "K K"]:
        """A(u); at u = 0 unless it is given."""
        if u is None:
            return self.probs
        return jax.nn.softmax(Simplex.of(self.probs).logits + self.weights @ u, axis=-1)

    def maximise(self, counts: Moves, us: PyTree, frozen: frozenset[str] = frozenset()) -> "Driven":
        """A few steps of L-BFGS up Q."""
        free = lambda name, new, old: old if name in frozen else new

        def build(parameters: tuple) -> "Driven":
            simplex, weights = parameters
            return Driven(free("probs", simplex.constrained(), self.probs), free("weights", weights, self.weights))

        def objective(parameters: tuple) -> Scalar:
            simplex, weights = parameters
            plain = eqx.tree_at(
                lambda m: (m._probs, m.weights),
                self,
                (free("probs", simplex.constrained(), self.probs), free("weights", weights, self.weights)),
            )
            return plain.expected_log_prob(counts, us)

        return build(climb(objective, (Simplex.of(self.probs), self.weights)))

    def permuted(self, order: np.ndarray) -> "Driven":
        """Rows and columns of both."""
        return jax.tree.map(lambda leaf: leaf[order][:, order], self)

    def restart(self, key: Key) -> "Driven":
        """Random rows on the same support; no effect of the inputs."""
        return Driven(random_like(key, self.probs), jnp.zeros_like(self.weights))
