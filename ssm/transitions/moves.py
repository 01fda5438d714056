"""Expected moves of a chain whose matrix is all that is known of it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.linalg import add_up, multiply
from ssm.logspace import dot_log
from ssm.shapes import Array, Float, PyTree, Scalar


class Moves(eqx.Module):
    """Expected moves one by one, each as three factors: ξ_m(i, j) = before_mi A_ij(u_m) gain_mj.

    `old` is the transition that A belongs to: M K numbers where the products would be M K K.
    """

    before: Float[Array, "*batch M K"]
    gain: Float[Array, "*batch M K"]
    old: PyTree


def count(
    transition: Any, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree
) -> Moves | Float[Array, "K K"]:
    """Σ_t ξ_t, as one matrix product, if there is one matrix; the moves themselves if each has one of its own."""
    if jax.tree.leaves(us):
        return Moves(before, gain, jax.tree.map(jax.lax.stop_gradient, transition))
    return transition.matrix(None) * multiply(before.T, gain)


def merge(counts: PyTree) -> PyTree:
    """Counts (B, ...) of B sequences: their sum, or their moves one after the other."""
    if not isinstance(counts, Moves):
        return jax.tree.map(add_up, counts)
    flat = lambda array: array.reshape(-1, array.shape[-1])
    return Moves(flat(counts.before), flat(counts.gain), jax.tree.map(lambda leaf: leaf[0], counts.old))


def expected_log_prob(transition: Any, counts: Moves | Float[Array, "K K"], us: PyTree) -> Scalar:
    """Σ_m Σ_ij ξ_m(i, j) log A_ij(u_m), one move at a time."""
    if not isinstance(counts, Moves):
        return dot_log(counts, transition.matrix(None))

    @jax.checkpoint  # a derivative recomputes the matrix of a move, so that no (M, K, K) array is kept
    def add(total: Scalar, move: tuple) -> tuple[Scalar, None]:
        before, gain, u = move
        expected = before[:, None] * counts.old.matrix(u) * gain
        return total + dot_log(expected, transition.matrix(u)), None

    zero = jnp.zeros((), counts.before.dtype)
    return jax.lax.scan(add, zero, (counts.before, counts.gain, us))[0]
