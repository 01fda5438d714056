"""What a head is: the distribution of one observation given features, and observations as vectors to read."""

import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, marginal_log_prob
from ssm.numeric.protocols import unwritten
from ssm.parameters.replacing import AbstractReplaceable
from ssm.shapes import Array, Bool, Float, Scalar


class AbstractHead(AbstractReplaceable):
    """p(y | features), and how a network that reads its own past sees y.

    Law: log_prob(features, y) == distribution(features).log_prob(y).
    """

    @property
    def input_size(self) -> int:
        """Size of the features."""
        raise unwritten(self)

    def check_reads(self, shown: int) -> None:
        """Raise ValueError unless it reads as many features as a cell shows."""
        if shown != self.input_size:
            raise ValueError(f"head: reads {self.input_size} features, but the cell shows {shown}")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        raise unwritten(self)

    @property
    def event_kind(self) -> str:
        """What an observation is made of: "real" numbers, or integer "symbol"s."""
        return "real"

    @property
    def encoded_size(self) -> int:
        """Size of an encoded observation."""
        raise unwritten(self)

    @property
    def num_classes(self) -> int:
        """Number of symbols; TypeError for other observations."""
        raise TypeError(f"num_classes: the observations of {type(self).__name__} are not symbols")

    def distribution(self, features: Float[Array, "F"]) -> Distribution:
        """p(y | features)."""
        raise unwritten(self)

    def log_prob(self, features: Float[Array, "F"], y: Array, observed: Bool[Array, "*event"] | None = None) -> Scalar:
        """log p(y | features), over the observed components."""
        distribution = self.distribution(features)
        if observed is None:
            return jnp.asarray(distribution.log_prob(y))
        return marginal_log_prob(distribution, y, observed)

    def encode(self, y: Array) -> Float[Array, "E"]:
        """One observation as a vector to read."""
        raise unwritten(self)

    def expected(self, features: Float[Array, "F"]) -> Float[Array, "E"]:
        """E[encode(y) | features]."""
        raise unwritten(self)

    def complete(
        self, features: Float[Array, "F"], y: Array, observed: Bool[Array, "*event"] | None = None
    ) -> Float[Array, "E"]:
        """encode(y), with the expectation in the place of missing components."""
        encoded = self.encode(y)
        return encoded if observed is None else jnp.where(observed, encoded, self.expected(features))

    def validate(self, ys: np.ndarray) -> None:
        """Raise ValueError if observed values, in one flat array, lie outside the support."""
        return None
