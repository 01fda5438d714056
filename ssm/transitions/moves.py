"""Expected moves of a chain whose matrix is all that is known of it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric.linalg import add_up, multiply
from ssm.numeric.logspace import dot_log, log
from ssm.shapes import Array, Float, PyTree, Scalar


class Moves(eqx.Module):
    """Expected moves one by one, each as three factors: ξ_m(i, j) = before_mi A_ij(u_m) gain_mj.

    `old` is the transition that A belongs to: M K numbers where the products would be M K K. Logarithms, since the
    factors of a move of ordinary probability may be e^-1000 and e^1000.
    """

    log_before: Float[Array, "*batch M K"]
    log_gain: Float[Array, "*batch M K"]
    old: PyTree

    def joint(self, u: PyTree) -> Float[Array, "K K"]:
        """ξ of one move."""
        return jnp.exp(self.log_before[:, None] + log(self.old.matrix(u)) + self.log_gain)


def count(
    transition: Any, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree
) -> Moves | Float[Array, "K K"]:
    """Σ_t ξ_t, as one matrix product, if there is one matrix; the moves themselves if each has one of its own."""
    if jax.tree.leaves(us):
        return one_by_one(transition, log(before), log(gain))
    return transition.matrix(None) * multiply(before.T, gain)


def one_by_one(transition: Any, before: Float[Array, "M K"], gain: Float[Array, "M K"]) -> Moves:
    """The moves themselves, from logarithms of their factors."""
    return Moves(before, gain, jax.tree.map(jax.lax.stop_gradient, transition))


def count_logs(transition: Any, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree) -> PyTree:
    """What `transition.count` adds up, from logarithms of factors that may be too large or too small for numbers."""
    each, most = jnp.eye(before.shape[1], dtype=before.dtype), jnp.finfo(before.dtype).max / (4 * before.shape[1])

    @eqx.filter_checkpoint
    def count_one(transition: Any, before: Array, gain: Array, u: PyTree) -> PyTree:
        # From one state after the other both factors can be held: beyond `most` are impossible moves alone.
        rows = jnp.exp(jnp.minimum(before[:, None] + gain, np.log(float(most))))
        return transition.count(each, rows, jax.tree.map(lambda leaf: jnp.stack([leaf] * len(each)), u))

    def add(total: PyTree, move: tuple) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, count_one(transition, *move)), None

    moves = (before, gain, us)
    kind = jax.eval_shape(lambda moves: count_one(transition, *jax.tree.map(lambda leaf: leaf[0], moves)), moves)
    return jax.lax.scan(add, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), kind), moves)[0]


def merge(counts: PyTree) -> PyTree:
    """Counts (B, ...) of B sequences: their sum, or their moves one after the other."""
    if not isinstance(counts, Moves):
        return jax.tree.map(add_up, counts)
    flat = lambda array: array.reshape(-1, array.shape[-1])
    return Moves(flat(counts.log_before), flat(counts.log_gain), jax.tree.map(lambda leaf: leaf[0], counts.old))


def expected_log_prob(transition: Any, counts: Moves | Float[Array, "K K"], us: PyTree) -> Scalar:
    """Σ_m Σ_ij ξ_m(i, j) log A_ij(u_m), one move at a time."""
    if not isinstance(counts, Moves):
        return dot_log(counts, transition.matrix(None))

    @jax.checkpoint  # a derivative recomputes the matrix of a move, so that no (M, K, K) array is kept
    def add(total: Scalar, move: tuple) -> tuple[Scalar, None]:
        before, gain, u = move
        return total + dot_log(Moves(before, gain, counts.old).joint(u), transition.matrix(u)), None

    zero = jnp.zeros((), counts.log_before.dtype)
    return jax.lax.scan(add, zero, (counts.log_before, counts.log_gain, us))[0]
