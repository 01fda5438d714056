"""Functions of arrays with a derivative of their own, to any order and inside any transformation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ssm.shapes import Array

# For each `vmap` around a function, the innermost first: the axis of each argument that it maps, or None.
Axes: TypeAlias = tuple[tuple[int | None, ...], ...]


@final
class CustomDerivative:
    """As `jax.custom_jvp`, for a function of arrays that returns an array, or a tuple of several.

    JAX 0.10 forgets a `jax.custom_jvp` inside a `lax.scan` that is differentiated in reverse: derivatives of that
    gradient are those of the code instead, silently; 0.12 keeps it. A primitive is never taken apart, so it is kept.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.derivative: Callable[..., Any] = function
        self.whole = Primitive(function.__name__)
        self.whole.multiple_results = True
        self.whole.def_impl(self._evaluate)
        self.whole.def_abstract_eval(self._abstract)
        mlir.register_lowering(self.whole, mlir.lower_fun(self._evaluate, multiple_results=True))
        batching.primitive_batchers[self.whole] = self._batched
        ad.primitive_jvps[self.whole] = self._differentiated
        functools.update_wrapper(self, function)

    def defjvp(self, derivative: Callable[..., Any]) -> Callable[..., Any]:
        """derivative(primals, tangents): the value and how it changes; it may call this function."""
        self.derivative = derivative
        return derivative

    def __call__(self, *arrays: Any) -> Any:
        """The value."""
        found = self.whole.bind(*arrays, axes=())
        return found[0] if len(found) == 1 else tuple(found)

    @functools.cache  # noqa: B019 - as many as there are functions, which live as long as the process
    def _compiled(self, axes: Axes) -> Any:
        """Jitted, so that it is traced once per shape."""
        return jax.jit(_mapped(lambda *arrays: _flat(self.function(*arrays)), axes))

    def _evaluate(self, *arrays: Any, axes: Axes) -> Sequence[Array]:
        return self._compiled(axes)(*arrays)

    def _abstract(self, *shapes: Any, axes: Axes) -> Any:
        return self._compiled(axes).trace(*shapes).jaxpr.out_avals

    def _batched(self, arrays: Sequence[Any], mapped: Sequence[Any], *, axes: Axes) -> tuple[Any, list[int]]:
        found = self.whole.bind(*arrays, axes=(*axes, tuple(mapped)))
        return found, [0] * len(found)

    def _differentiated(self, primals: Sequence[Any], tangents: Sequence[Any], *, axes: Axes) -> tuple[Any, Any]:
        def both(*arrays: Any) -> tuple[Any, Any]:
            value, change = self.derivative(arrays[: len(primals)], arrays[len(primals) :])
            return _flat(value), _flat(change)

        changes = [ad.instantiate_zeros(tangent) for tangent in tangents]
        return _mapped(both, tuple(each + each for each in axes))(*primals, *changes)


def _mapped(function: Callable[..., Any], axes: Axes) -> Callable[..., Any]:
    for each in axes:
        function = jax.vmap(function, in_axes=each)
    return function


def _flat(found: Any) -> tuple[Array, ...]:
    return found if isinstance(found, tuple) else (found,)
