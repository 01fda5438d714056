"""p(d | mode) for d = 1 .. D: what the families have in common."""

from typing import Self, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.numeric.ascent import climb
from ssm.numeric.linalg import multiply
from ssm.numeric.protocols import unwritten
from ssm.numeric.trees import select
from ssm.parameters import AbstractParameter
from ssm.parameters.freezing import trainable
from ssm.parameters.replacing import AbstractReplaceable
from ssm.shapes import Array, Float, Key, PyTree, Scalar


class AbstractDurations(AbstractReplaceable, AbstractParameter):
    """M distributions of one family over 1 .. D = `max_duration` steps.

    A family on all of 1, 2, .. is cut off after D and made to sum to one again, so `mean` and the like are those
    of the family before the cut. It is one parameter: the recursions see its table, worked out once.
    """

    @property
    def max_duration(self) -> int:
        """D."""
        raise unwritten(self)

    @property
    def log_weights(self) -> Float[Array, "M D"]:
        """log p(d | mode) up to a constant for each mode."""
        raise unwritten(self)

    @property
    def log_probs(self) -> Float[Array, "M D"]:
        """log p(d | mode)."""
        return jax.nn.log_softmax(self.log_weights, axis=1)

    @property
    def probs(self) -> Float[Array, "M D"]:
        """p(d | mode), d = 1 .. D."""
        return jax.nn.softmax(self.log_weights, axis=1)

    @property
    def expected(self) -> Float[Array, "M"]:
        """Mean duration in steps, after the cut."""
        return multiply(self.probs, self.lengths)

    @property
    def lengths(self) -> Float[Array, "D"]:
        """1 .. D."""
        return 1 + jnp.arange(self.max_duration).astype(self.log_weights.dtype)

    def constrained(self) -> "Tabulated":
        """The probabilities, beside the family that they come from."""
        return Tabulated(self.probs, self)

    def free_entries(self) -> PyTree:
        """As the parts say."""
        is_part = lambda node: isinstance(node, AbstractParameter) and node is not self
        return jax.tree.map(lambda part: part.free_entries(), self, is_leaf=is_part)

    def maximise(self, counts: Float[Array, "M D"], frozen: frozenset[str] = frozenset()) -> Self:
        """The parameters of highest Σ counts log p(d | mode); a mode that was never entered keeps its own.

        A climb, from `uncut` if that is higher.
        """
        free = trainable(self, tuple(sorted(frozen)))
        fixed = eqx.filter(self, free, inverse=True)

        def objective(parameters: AbstractDurations) -> Scalar:
            return jnp.sum(jnp.where(counts > 0, counts * eqx.combine(parameters, fixed).log_probs, 0))

        here, there = eqx.filter(self, free), eqx.filter(self.uncut(counts), free)
        begin = select(objective(there) > objective(here), there, here)
        return eqx.combine(climb(objective, begin), fixed)

    def uncut(self, counts: Float[Array, "M D"]) -> Self:
        """Where `maximise` may start: what would be best, or nearly so, if there were no longest duration."""
        return self

    def restart(self, key: Key) -> Self:
        """Random parameters of the same family."""
        raise unwritten(self)

    def _mean_excess(self, counts: Float[Array, "M D"], otherwise: Float[Array, "M"]) -> Float[Array, "M"]:
        """Mean of d - 1 over the counts, a little above zero, which a positive parameter cannot reach."""
        total = jnp.sum(counts, axis=1)
        seen = total > 0
        mean = jnp.maximum(multiply(counts, self.lengths - 1) / jnp.where(seen, total, 1), 1e-6)
        return jnp.where(seen, mean, otherwise)


@final
class Tabulated(AbstractParameter):
    """Durations as the recursions see them: the table, and the family that the M-step moves."""

    probs: Float[Array, "M D"]
    family: AbstractDurations

    def constrained(self) -> "Tabulated":
        """Itself."""
        return self
