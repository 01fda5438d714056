"""Small operations on whole pytrees of arrays."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.numeric.protocols import unwritten
from ssm.shapes import Array, Flag, PyTree


def select(condition: Flag, if_true: PyTree, if_false: PyTree) -> PyTree:
    """`jnp.where` on every leaf, with one scalar condition."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def index(tree: PyTree, i: int | Array | slice) -> PyTree:
    """Entry (or slice) `i` of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def length(tree: PyTree) -> int:
    """Size of the leading axis that all leaves share."""
    return jax.tree.leaves(tree)[0].shape[0]


def prepend(first: PyTree, rest: PyTree) -> PyTree:
    """Put one entry before the leading axis of every leaf: (...) and (T, ...) to (T + 1, ...)."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)


def append(rest: PyTree, last: PyTree) -> PyTree:
    """Put one entry after the leading axis of every leaf: (T, ...) and (...) to (T + 1, ...)."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), rest, last)


def widen(array: Any, rank: int) -> Any:
    """An array of JAX or NumPy with trailing axes of length one, `rank` in all: to stand beside what has more."""
    return array.reshape(array.shape + (1,) * (rank - array.ndim))


def times(tree: PyTree, factors: Array) -> PyTree:
    """Every entry of the leading axis of every leaf, times its factor."""
    return jax.tree.map(lambda leaf: leaf * widen(factors, leaf.ndim), tree)


def reverse(tree: PyTree) -> PyTree:
    """Every leaf with its leading axis backwards."""
    return jax.tree.map(lambda leaf: leaf[::-1], tree)


def stack(trees: list[PyTree]) -> PyTree:
    """Trees of one structure as one tree with a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def without_functions(tree: Any) -> Any:
    """The same module or other tree, with every plain function in it part of the structure rather than a leaf."""
    is_plain = lambda leaf: callable(leaf) and not eqx.is_array(leaf)
    if not any(map(is_plain, jax.tree.leaves(tree))):
        return tree
    return jax.tree.map(lambda leaf: jax.tree_util.Partial(leaf) if is_plain(leaf) else leaf, tree)


class AbstractSums(eqx.Module):
    """Statistics of a batch that do not add up leaf by leaf, such as means."""

    def blend(self, other: Any, rate: Array) -> Any:
        """Statistics of (1 - rate) of this batch and `rate` of the other."""
        raise unwritten(self)


def blend(old: PyTree, new: PyTree, rate: Array) -> PyTree:
    """(1 - rate) old + rate new on every leaf; `AbstractSums` as they say themselves."""
    says_itself = lambda node: isinstance(node, AbstractSums)
    one = lambda a, b: a.blend(b, rate) if says_itself(a) else (1 - rate) * a + rate * b
    return jax.tree.map(one, old, new, is_leaf=says_itself)


def float_dtype(tree: PyTree) -> jnp.dtype:
    """The widest floating dtype among the leaves; the default one if there is none."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    floats = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return max(floats, key=lambda dtype: jnp.dtype(dtype).itemsize) if floats else jnp.zeros(()).dtype
