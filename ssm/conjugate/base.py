"""What is believed about the parameters of one segment: a prior that stays in its family as observations come."""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution
from ssm.numeric.protocols import unwritten
from ssm.parameters.replacing import AbstractReplaceable
from ssm.shapes import Array, Bool, Key, PyTree


class AbstractConjugate(AbstractReplaceable):
    """A distribution over the parameters of p(y | parameters), conjugate to it: the prior, and every posterior.

    Methods are for one such distribution; `jax.vmap` takes them to a stack. Only `add` makes a new one: the
    model that users build holds the prior, a recursion carries one posterior per run.
    """

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        raise unwritten(self)

    @property
    def event_kind(self) -> str:
        """ "real" or "symbol"."""
        return "real"

    @property
    def num_classes(self) -> int:
        """C, for a family of symbols 0 .. C-1."""
        raise unwritten(self)

    def predictive(self) -> Distribution:
        """∫ p(y | parameters) p(parameters) as a distribution of one observation."""
        raise unwritten(self)

    def add(self, y: Array) -> Self:
        """The posterior after y, by Bayes' rule."""
        raise unwritten(self)

    def learn(self, y: Array, observed: Bool[Array, "*event"] | None = None) -> Self:
        """`add`, for the observed components of y alone; components are independent."""
        posterior = self.add(y)
        if observed is None:
            return posterior
        return jax.tree.map(lambda new, old: jnp.where(observed, new, old), posterior, self)

    def sample(self, key: Key) -> PyTree:
        """One draw of the parameters."""
        raise unwritten(self)

    def observation(self, parameters: PyTree) -> Any:
        """p(y | parameters)."""
        raise unwritten(self)

    def validate(self, ys: np.ndarray) -> None:
        """Raise ValueError if observed values, in one flat array, lie outside the support."""
        return None

    def validate_observed(self, observed: np.ndarray) -> None:
        """Raise ValueError if flags (M, *event), one for each component, are not what the family can learn from."""
        return None
