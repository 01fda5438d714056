"""One matrix for all times."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.numeric.ascent import climb
from ssm.numeric.linalg import matrix_times_column, multiply, row_times_matrix
from ssm.numeric.logspace import dot_log, log
from ssm.numeric.trees import select
from ssm.parameters import Constant, Simplex, value
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.transitions.base import AbstractTransition, normalised, random_like, stationary_of


@final
class Homogeneous(AbstractTransition):
    """p(x_t = j | x_{t-1} = i) = probs[i, j].

    Zeros in `probs` (left-to-right, banded, cyclic chains) stay exact zeros in training. `pseudo_counts` (K, K),
    or one number for all entries that are not zero, is a Dirichlet prior with concentration 1 + pseudo_counts on
    each row: on the diagonal it makes states sticky (MAP instead of maximum likelihood; Fox et al. 2011).
    Raises ValueError unless rows sum to one and pseudo-counts are non-negative and zero where `probs` is.
    """

    is_one_matrix: ClassVar[bool] = True

    _probs: Simplex | Float[Array, "K K"]
    _pseudo_counts: Constant | Float[Array, "K K"] | None

    def __init__(self, probs: Array, pseudo_counts: Array | float | None = None, *, num_states: int | None = None):
        axes = (num_states, num_states) if num_states else ("K", np.shape(probs)[-1] if np.ndim(probs) else "K")
        probs = checks.probabilities("transition", probs, axes)
        self._probs = Simplex.of(probs)
        self._pseudo_counts = None if pseudo_counts is None else Constant(_prior(pseudo_counts, probs))

    @property
    def probs(self) -> Float[Array, "K K"]:
        """A."""
        return value(self._probs)

    @property
    def pseudo_counts(self) -> Float[Array, "K K"] | None:
        """Dirichlet concentrations less one."""
        return value(self._pseudo_counts)

    @property
    def num_states(self) -> int:
        """K."""
        return self.probs.shape[0]

    def push(self, probs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """p A."""
        return row_times_matrix(probs, self.probs)

    def pull(self, values: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """A v."""
        return matrix_times_column(self.probs, values)

    def matrix(self, u: PyTree = None) -> Float[Array, "K K"]:
        """A."""
        return self.probs

    def row(self, state: Int[Array, ""], u: PyTree) -> Float[Array, "K"]:
        """Row `state` of A."""
        return self.probs[state]

    def column(self, state: Int[Array, ""], u: PyTree) -> Float[Array, "K"]:
        """Column `state` of A."""
        return self.probs[:, state]

    def stationary(self) -> Float[Array, "K"]:
        """See `stationary_of`."""
        return stationary_of(self.probs)

    def count(self, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree) -> Float[Array, "K K"]:
        """Σ_t ξ_t, as one matrix product."""
        return self.probs * multiply(before.T, gain)

    def count_logs(self, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree) -> Float[Array, "K K"]:
        """Σ_t ξ_t, one after the other."""

        @jax.checkpoint
        def add(total: Float[Array, "K K"], move: tuple[Array, Array]) -> tuple[Float[Array, "K K"], None]:
            before, gain = move
            return total + jnp.exp(before[:, None] + log(self.probs) + gain), None

        return jax.lax.scan(add, jnp.zeros_like(self.probs), (before, gain))[0]

    def expected_log_prob(self, counts: Float[Array, "K K"], us: PyTree) -> Scalar:
        """Σ_ij counts_ij log A_ij."""
        return dot_log(counts, self.probs)

    def maximise(self, counts: Float[Array, "K K"], us: PyTree, frozen: frozenset[str] = frozenset()) -> "Homogeneous":
        """Expected moves (and pseudo-counts) as shares of each row (Baum et al. 1970)."""
        if "probs" in frozen:
            return self
        prior = self.pseudo_counts
        total = counts if prior is None else counts + prior
        return Homogeneous(normalised(total, self.probs), prior)

    def maximise_with_start(
        self, counts: Float[Array, "K K"], us: PyTree, starts: Float[Array, "K"], frozen: frozenset[str] = frozenset()
    ) -> "Homogeneous":
        """No closed form: a climb from the closed form without starts, or from here if that is higher."""
        if "probs" in frozen:
            return self

        def objective(parameter: Simplex) -> Scalar:
            candidate = eqx.tree_at(lambda m: m._probs, self, parameter.constrained())
            return (
                candidate.expected_log_prob(counts, None)
                + candidate.log_prior()
                + dot_log(starts, candidate.stationary())
            )

        here, there = Simplex.of(self.probs), Simplex.of(self.maximise(counts, None).probs)
        begin = select(objective(there) > objective(here), there, here)
        return Homogeneous(climb(objective, begin).constrained(), self.pseudo_counts)

    def log_prior(self) -> Scalar:
        """Σ_ij pseudo_counts_ij log A_ij, up to a constant."""
        prior = self.pseudo_counts
        return jnp.zeros((), self.probs.dtype) if prior is None else dot_log(prior, self.probs)

    def restart(self, key: Key) -> "Homogeneous":
        """Random rows on the same support."""
        return Homogeneous(random_like(key, self.probs), self.pseudo_counts)

    def permuted(self, order: np.ndarray) -> "Homogeneous":
        """Rows and columns."""
        return jax.tree.map(lambda leaf: leaf[order][:, order], self)


def _prior(pseudo_counts: Any, probs: Float[Array, "K K"]) -> Float[Array, "K K"]:
    if np.ndim(pseudo_counts) == 0:
        each = checks.non_negatives("pseudo_counts", pseudo_counts, ()).astype(probs.dtype)
        return jnp.where(probs > 0, each, 0)
    counts = checks.real("pseudo_counts", pseudo_counts, probs.shape).astype(probs.dtype)
    if checks.is_concrete(counts) and checks.is_concrete(probs):
        wrong = (np.asarray(counts) < 0) | ((np.asarray(counts) > 0) & (np.asarray(probs) == 0))
        if wrong.any():
            i, j = np.argwhere(wrong)[0].tolist()
            raise ValueError(
                f"pseudo_counts: expected numbers of at least 0, and 0 for impossible moves, got {counts[i, j]} "
                f"at ({i}, {j}) where the transition probability is {probs[i, j]}"
            )
        return counts
    return checks.where_valid((counts >= 0) & ((counts == 0) | (probs > 0)), counts)
