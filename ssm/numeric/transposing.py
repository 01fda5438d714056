"""Linear functions that know their transpose, so that derivatives forwards and backwards each go their own way."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ssm.shapes import Array, PyTree


class _Rule(NamedTuple):
    """Of lists of arrays."""

    change: Callable[[list, list], Array]
    back: Callable[[list, Array], list]
    like: Any  # shape and dtype of what comes out


def linear(
    change: Callable[[PyTree, PyTree], Array],
    back: Callable[[PyTree, Array], PyTree],
    held: PyTree,
    moves: PyTree,
    like: Array,
) -> Array:
    """change(held, moves), an array like `like`, linear in the tree `moves`, with the transpose back(held, cotangent).

    Both functions are differentiated by `held` as they are written. `back` returns a tree like `moves`, and nothing of
    one is computed where only the other is needed: reverse mode never runs `change`, forward mode never `back`.
    """
    arrays, rest = eqx.partition(held, eqx.is_array)
    known, structure = jax.tree.flatten(arrays)
    steps, form = jax.tree.flatten(moves)
    whole = lambda known: eqx.combine(jax.tree.unflatten(structure, known), rest)
    rule = _Rule(
        lambda known, steps: change(whole(known), jax.tree.unflatten(form, steps)),
        lambda known, cotangent: jax.tree.leaves(back(whole(known), cotangent)),
        jax.ShapeDtypeStruct(like.shape, like.dtype),
    )
    return _linear.bind(*known, *steps, rule=rule, count=len(known)) if steps else jnp.zeros_like(like)


_linear = Primitive("linear_with_transpose")


def _evaluated(*arrays: Any, rule: _Rule, count: int) -> Array:
    return rule.change(list(arrays[:count]), list(arrays[count:]))


def _shaped(*shapes: Any, rule: _Rule, count: int) -> Any:
    return ShapedArray(rule.like.shape, rule.like.dtype)


def _batched(arrays: Sequence[Any], mapped: Sequence[Any], *, rule: _Rule, count: int) -> tuple[Array, int]:
    """What is held stays as it is where it is not mapped; every move is made one of each."""
    axes = list(mapped[:count])
    size = next(array.shape[axis] for array, axis in zip(arrays, mapped, strict=True) if axis is not None)
    moves = [batching.bdim_at_front(*each, size) for each in zip(arrays[count:], mapped[count:], strict=True)]
    each = _Rule(
        jax.vmap(rule.change, (axes, 0)),
        jax.vmap(rule.back, (axes, 0)),
        jax.ShapeDtypeStruct((size, *rule.like.shape), rule.like.dtype),
    )
    return _linear.bind(*arrays[:count], *moves, rule=each, count=count), 0


def _differentiated(primals: Sequence[Any], tangents: Sequence[Any], *, rule: _Rule, count: int) -> tuple[Array, Array]:
    held, moves = list(primals[:count]), list(primals[count:])
    varied = [i for i in range(count) if not _is_still(tangents[i])]
    slope = jnp.zeros(rule.like.shape, rule.like.dtype)
    if not all(map(_is_still, tangents[count:])):
        turned = [ad.instantiate_zeros(tangent) for tangent in tangents[count:]]
        slope = _linear.bind(*held, *turned, rule=rule, count=count)
    if varied:

        def along(some: list) -> Array:
            known = dict(zip(varied, some, strict=True))
            return rule.change([known.get(i, each) for i, each in enumerate(held)], moves)

        slope = slope + jax.jvp(along, ([held[i] for i in varied],), ([tangents[i] for i in varied],))[1]
    return _linear.bind(*primals, rule=rule, count=count), slope


def _transposed(cotangent: Any, *arrays: Any, rule: _Rule, count: int) -> list[Any]:
    moves = arrays[count:]
    if isinstance(cotangent, ad.Zero):
        return [None] * len(arrays)
    found = rule.back(list(arrays[:count]), cotangent)
    pairs = zip(moves, found, strict=True)
    return [None] * count + [slope if ad.is_undefined_primal(move) else None for move, slope in pairs]


def _is_still(tangent: Any) -> bool:
    return isinstance(tangent, ad.Zero) or tangent.dtype == jax.dtypes.float0


_linear.def_impl(_evaluated)
_linear.def_abstract_eval(_shaped)
mlir.register_lowering(_linear, mlir.lower_fun(_evaluated, multiple_results=False))
batching.primitive_batchers[_linear] = _batched
ad.primitive_jvps[_linear] = _differentiated
ad.primitive_transposes[_linear] = _transposed
