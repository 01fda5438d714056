"""p(y_t | x_t = k, u_t) for K discrete states: density, mixture, draw and M-step."""

from typing import Self

import equinox as eqx
import numpy as np

from ssm.distributions import Distribution
from ssm.likelihoods import LogLikelihood, ScaledLikelihood
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


class AbstractEmission(eqx.Module):
    """K distributions of one family. Every parameter has a leading axis K."""

    @property
    def num_states(self) -> int:
        """K."""
        raise NotImplementedError

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        raise NotImplementedError

    @property
    def event_kind(self) -> str:
        """ "real" or "symbol"."""
        return "real"

    @property
    def num_classes(self) -> int:
        """C, for a family of symbols 0 .. C-1."""
        raise NotImplementedError

    def log_likelihoods(
        self, ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """log p(y_t | x_t = k, u_t) for all times and states, over the observed components."""
        raise NotImplementedError

    def quicken(
        self, ys: Array, us: PyTree, observed: Bool[Array, "T *event"] | None = None
    ) -> tuple["AbstractEmission", PyTree]:
        """An emission and prepared observations (T, ...) from which `likelihood` makes the fast form of each row."""
        return self, ScaledLikelihood.of(self.log_likelihoods(ys, us, observed))

    def likelihood(self, prepared: PyTree) -> LogLikelihood | ScaledLikelihood:
        """The row of likelihoods of one prepared observation: what was prepared, unless it is looked up."""
        return prepared

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """p(y | x = state, u)."""
        raise NotImplementedError

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """Σ_k probs_k p(y | x = k, u)."""
        raise NotImplementedError

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Array,
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> Self:
        """The M-step: the parameters that maximise Σ_mk weights_mk log p(y_m | k); ys holds M observations.

        Parameters named in `frozen` stay, and the others are the best beside them. A state that explains
        nothing (all its weights zero) keeps its parameters: every value maximises.
        """
        raise NotImplementedError

    def restart(self, key: Key, ys: Array, observed: Bool[Array, "M"] | None) -> Self:
        """Random parameters of the same family and size, taken from M observations."""
        raise NotImplementedError

    def validate(self, ys: np.ndarray) -> None:
        """Raise ValueError if observed values, in one flat array, lie outside the support."""
        return None
