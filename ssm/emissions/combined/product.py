"""Several families over parts of one vector: p(y | x = k) = Π_i p_i(y_i | k)."""

import functools
import operator
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import MixtureOfParts, Parts, as_symbols, columns, width
from ssm.emissions.combined.labelled import has_labels
from ssm.emissions.common.base import AbstractEmission
from ssm.numeric.logspace import log
from ssm.parameters.bounded import whole_numbers
from ssm.parameters.freezing import frozen_within
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class Product(AbstractEmission):
    """Families side by side, given the state independent: `Product(Normal(loc, scale), Poisson(rate))`.

    The columns of y (T, N) belong to the parts in turn: N_i of them for a part with vectors of N_i components, one for
    a part with scalars or symbols; symbols are written as whole numbers, and forecasts take them as numbers. Missing
    components are left to their part. All parts have K states; they read the same inputs, or none.
    Known states are said of the whole: `Labelled(Product(...))`; ValueError for a part with labels of its own.
    M-step: that of each part. Names for `frozen`: "parts.0", "parts.1.rate" and so on.
    """

    parts: tuple[AbstractEmission, ...]

    def __init__(self, *parts: AbstractEmission):
        for i, part in enumerate(parts):
            if not isinstance(part, AbstractEmission):
                raise TypeError(f"parts: expected families of ssm.emissions, got {type(part).__name__} at index {i}")
            if len(part.event_shape) > 1:
                raise ValueError(f"parts: expected scalars or vectors, got events {part.event_shape} at index {i}")
            if has_labels(part):
                raise ValueError(
                    "parts: a label is of the state, and so of all parts at once, got an ssm.emissions.Labelled at "
                    f"index {i}; put it around the product: Labelled(Product(...))"
                )
        sizes = [part.num_states for part in parts]
        if len(set(sizes)) != 1:
            raise ValueError(f"parts: expected at least one, all with the same number of states, got {sizes}")
        inputs = {part.num_inputs for part in parts} - {0}
        if len(inputs) > 1:
            raise ValueError(f"parts: those that read inputs read the same ones, got sizes {sorted(map(str, inputs))}")
        self.parts = parts

    @property
    def num_states(self) -> int:
        """K."""
        return self.parts[0].num_states

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(N,), the columns of all parts."""
        return (sum(width(part.event_shape) for part in self.parts),)

    @property
    def num_inputs(self) -> int | None:
        """What the parts read."""
        return next((part.num_inputs for part in self.parts if part.num_inputs != 0), 0)

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        return [part.event_shape for part in self.parts]

    @property
    def _classes(self) -> list[int | None]:
        return [part.num_classes if part.event_kind == "symbol" else None for part in self.parts]

    def _own(self, ys: Float[Array, "T N"]) -> list[Array]:
        """The columns of each part, symbols as integers."""
        owned = zip(self.parts, columns(ys, self._shapes), strict=True)
        return [as_symbols(own) if part.event_kind == "symbol" else own for part, own in owned]

    def _flags(self, observed: Bool[Array, "T *parts"] | None) -> list[Any]:
        """The flags of each part: per step as they are, per component its columns."""
        if observed is None or observed.ndim == 1:
            return [observed] * len(self.parts)
        return columns(observed, self._shapes)

    def _frozen(self, frozen: frozenset[str]) -> list[frozenset[str]]:
        """The frozen names of each part, as it knows them."""
        return [frozen_within(part, f"parts.{i}", frozen) for i, part in enumerate(self.parts)]

    def validate_events(self, ys: np.ndarray, seen: np.ndarray) -> None:
        """Each part its columns; ValueError that names them."""
        owned, start = zip(columns(ys, self._shapes), columns(seen, self._shapes), strict=True), 0
        for i, (part, (own, there)) in enumerate(zip(self.parts, owned, strict=True)):
            end = start + width(part.event_shape)
            try:
                if part.event_kind == "symbol":
                    whole_numbers(own[there])
                part.validate_events(own, there)
            except ValueError as error:
                which = f"column {start}" if end == start + 1 else f"columns {start} to {end - 1}"
                raise ValueError(f"ys: {which}, of parts.{i}: {str(error).removeprefix('ys: ')}") from error
            start = end

    def rows(
        self, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M *parts"] | None = None
    ) -> Float[Array, "K M"]:
        """See `AbstractEmission.rows`."""
        tables = []
        for part, own, seen in zip(self.parts, self._own(ys), self._flags(observed), strict=True):
            table = part.rows(own, us, seen)
            if seen is not None and part.event_shape == ():
                table = jnp.where(seen, table, 0)  # families of scalars need not look at flags
            tables.append(table)
        return functools.reduce(operator.add, tables)

    def given(self, state: Int[Array, ""], u: PyTree) -> Parts:
        """The parts of `state`."""
        return Parts([part.given(state, u) for part in self.parts], self._shapes, self._classes)

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> MixtureOfParts:
        """The mixture of the products; its single components are mixtures of their own part."""
        marginals = Parts([part.mixture(probs, u) for part in self.parts], self._shapes, self._classes)
        return MixtureOfParts(lambda state: self.given(state, u), log(probs), marginals)

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M N"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "Product":
        """That of each part."""
        own = zip(self.parts, self._own(ys), self._flags(observed), self._frozen(frozen), strict=True)
        return Product(*[part.maximise(weights, y, us, seen, below) for part, y, seen, below in own])

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M N"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> tuple[PyTree, ...]:
        """Those of each part."""
        own = zip(self.parts, self._own(ys), self._flags(observed), strict=True)
        return tuple(part.sums(weights, y, us, seen) for part, y, seen in own)

    def fitted(self, sums: tuple[PyTree, ...], frozen: frozenset[str] = frozenset()) -> "Product":
        """Each part given its statistics."""
        own = zip(self.parts, sums, self._frozen(frozen), strict=True)
        return Product(*[part.fitted(each, below) for part, each, below in own])

    def misses_parts(self, ys: Float[Array, "*batch T N"], us: PyTree) -> bool:
        """As all parts."""
        return all(part.misses_parts(own, us) for part, own in zip(self.parts, self._own(ys), strict=True))

    def permuted(self, order: np.ndarray) -> "Product":
        """Each part."""
        return eqx.tree_at(lambda m: m.parts, self, tuple(part.permuted(order) for part in self.parts))

    def restart(self, key: Key, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M"] | None) -> "Product":
        """Each part from its columns."""
        keys = jax.random.split(key, len(self.parts))
        own = zip(self.parts, keys, self._own(ys), strict=True)
        return Product(*[part.restart(key, y, us, observed) for part, key, y in own])

    @classmethod
    def random(cls, key: Key, num_states: int, *recipes: Any) -> "Product":
        """Parts made by `recipe(key, num_states)`, such as `Normal.random`, each with a key of its own."""
        keys = jax.random.split(key, len(recipes))
        return cls(*[recipe(one, num_states) for recipe, one in zip(recipes, keys, strict=True)])
