"""Coupled chains: where each goes depends on where all were."""

import math
import operator
from collections.abc import Sequence
from functools import reduce
from typing import final

import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import dot_log
from ssm.parameters import Simplex, value
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.transitions.base import normalised, random_like, stationary_of
from ssm.transitions.joint import AbstractJoint, beside, checked_initials, outer, restarted, total


@final
class Coupled(AbstractJoint):
    """M chains, each of which sees where all were: p(x_t | x_{t-1}) = Π_m p(x^m_t | x^1_{t-1}, .., x^M_{t-1}).

    `tables[m]` (K_1, .., K_M, K_m), each sums to one along its last axis; `initials` (K_m,), one each, if the chains
    start independently. A step costs O(K²) with K = K_1 .. K_M, as one matrix product; M-steps are closed.
    Sources: Brand 1997; Rezek & Roberts 2000.
    """

    _tables: tuple[Simplex | Array, ...]
    _initials: tuple[Simplex | Array, ...] | None

    def __init__(self, tables: Sequence[Array], initials: Sequence[Array] | None = None):
        if len(tables) == 0:
            raise ValueError("tables: expected one for each chain, got none")
        sizes = tuple(np.shape(table)[-1] if np.ndim(table) else 0 for table in tables)
        check = lambda m, table: checks.probabilities(f"tables[{m}]", table, (*sizes, sizes[m]))
        self._tables = tuple(Simplex.of(check(m, table)) for m, table in enumerate(tables))
        self._initials = None if initials is None else checked_initials(initials, sizes)

    @property
    def tables(self) -> tuple[Float[Array, "..."], ...]:
        """p(x^m_t | all x_{t-1}), (K_1, .., K_M, K_m) each."""
        return tuple(value(table) for table in self._tables)

    @property
    def sizes(self) -> tuple[int, ...]:
        """K_1 .. K_M."""
        return tuple(table.shape[-1] for table in self.tables)

    @property
    def _flat(self) -> list[Float[Array, "K _"]]:
        return [table.reshape(-1, table.shape[-1]) for table in self.tables]

    @property
    def _halves(self) -> tuple[Float[Array, "K left"], Float[Array, "K right"]]:
        """The first chains' tables multiplied, and the others': A[x, (l, r)] = left[x, l] right[x, r]."""
        sizes = self.sizes
        cuts = range(1, len(sizes) + 1)
        cut = min(cuts, key=lambda cut: max(math.prod(sizes[:cut]), math.prod(sizes[cut:])))
        product = lambda tables: reduce(beside, tables, jnp.ones((self.num_states, 1), self.tables[0].dtype))
        return product(self._flat[:cut]), product(self._flat[cut:])

    def push(self, probs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """Σ_x probs(x) left[x, l] right[x, r], as one product of matrices smaller than A."""
        left, right = self._halves
        return multiply((probs[:, None] * left).T, right).reshape(-1)

    def pull(self, values: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """Σ_l left[x, l] Σ_r right[x, r] values(l, r)."""
        left, right = self._halves
        return jnp.sum(left * multiply(right, values.reshape(left.shape[1], -1).T), axis=1)

    def matrix(self, u: PyTree = None) -> Float[Array, "K K"]:
        """The product of the tables."""
        return beside(*self._halves)

    def row(self, state: Int[Array, ""], u: PyTree) -> Float[Array, "K"]:
        """The product of the tables' rows."""
        return outer([table[state] for table in self._flat])

    def column(self, state: Int[Array, ""], u: PyTree) -> Float[Array, "K"]:
        """The product of the tables' columns."""
        return reduce(operator.mul, (table[:, at] for table, at in zip(self._flat, self.chains(state), strict=True)))

    def stationary(self) -> Float[Array, "K"]:
        """That of the joint matrix."""
        return stationary_of(self.matrix())

    # -- learning ---------------------------------------------------------------------------------------------

    def count(self, before: Float[Array, "T K"], gain: Float[Array, "T K"], us: PyTree) -> tuple:
        """Expected moves of each chain out of each joint state, (K, K_m): sums of one (K, K) matrix."""
        moves = (self.matrix() * multiply(before.T, gain)).reshape(-1, *self.sizes)
        axes = range(1, moves.ndim)
        return tuple(jnp.sum(moves, axis=tuple(other for other in axes if other != axis)) for axis in axes)

    def expected_log_prob(self, counts: tuple, us: PyTree) -> Scalar:
        """Σ_m Σ counts log table."""
        return total(dot_log(count, table) for count, table in zip(counts, self._flat, strict=True))

    def maximise(self, counts: tuple, us: PyTree, frozen: frozenset[str] = frozenset()) -> "Coupled":
        """Expected moves as shares."""
        return self._fitted(counts, self.initials, frozen)

    def maximise_with_start(
        self, counts: tuple, us: PyTree, starts: Float[Array, "K"], frozen: frozenset[str] = frozenset()
    ) -> "Coupled":
        """As `maximise`, and the starts of each chain."""
        if self.initials is None:
            return super().maximise_with_start(counts, us, starts, frozen)
        return self._fitted(counts, self.started(starts, frozen), frozen)

    def _fitted(self, counts: tuple, initials: tuple | None, frozen: frozenset[str]) -> "Coupled":
        held = lambda m: "tables" in frozen or f"tables.{m}" in frozen
        moved = lambda table, count: normalised(count.reshape(table.shape), table)
        pairs = enumerate(zip(self.tables, counts, strict=True))
        return Coupled([table if held(m) else moved(table, count) for m, (table, count) in pairs], initials)

    def restart(self, key: Key) -> "Coupled":
        """Random rows on the same support."""
        keys = jax.random.split(key, len(self.tables) + 1)
        tables = [random_like(k, table) for k, table in zip(keys[1:], self.tables, strict=True)]
        return Coupled(tables, restarted(keys[0], self.initials))
