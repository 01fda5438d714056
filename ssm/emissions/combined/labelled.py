"""Known states: a label at some of the steps rules out every other state there."""

from collections.abc import Mapping
from typing import final

import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, WeightedMixture
from ssm.emissions.combined.wrapped import AbstractWrapped
from ssm.emissions.common.base import AbstractEmission
from ssm.numeric.checks import is_concrete
from ssm.numeric.logspace import log
from ssm.numeric.trees import float_dtype, widen
from ssm.parameters.freezing import frozen_within
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree

UNKNOWN = -1


@final
class Labelled(AbstractWrapped):
    """Any emission, with the state known at some steps: semi-supervised learning.

    Inputs are a mapping: "labels" (T,), integers, the state 0 .. K-1 or -1 where it is unknown, and "inputs" (T, U) for
    an emission that reads inputs. No inputs at all means no labels, as for forecasts. The likelihood of every
    state but the label is zero, also at steps where y is missing: the label is evidence of its own, so `log_prob`
    is log p(ys, labels). A forecast takes future labels, up to each step, as known. Draws ignore labels. Raises
    ValueError and TypeError for concrete labels that are no states; under jit such a label makes the evidence NaN.
    Learning with labels throughout is counting (Rabiner 1989, section III.C, with certain states).
    """

    emission: AbstractEmission

    def __init__(self, emission: AbstractEmission):
        if not isinstance(emission, AbstractEmission):
            raise TypeError(f"emission: expected a family of ssm.emissions, got {type(emission).__name__}")
        self.emission = emission

    @property
    def _inside(self) -> AbstractEmission:
        return self.emission

    @property
    def num_inputs(self) -> None:
        """A mapping rather than a vector."""
        return None

    def informed(self, us: PyTree, observed: Bool[Array, "T *parts"] | None) -> Bool[Array, "T *parts"] | None:
        """Where y is observed, or the label says what it does not."""
        labels = self._labels(us)
        if observed is None or labels is None:
            return observed
        known = widen(labels != UNKNOWN, observed.ndim)
        return observed | known

    def log_likelihoods(
        self, ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """Those of the emission, 0 where y is missing, and -inf for every state but the label."""
        table = self.emission.log_likelihoods(ys, self._inner(us), observed)
        if observed is not None:
            seen = jnp.any(observed.reshape(observed.shape[0], -1), axis=1)
            table = jnp.where(seen[:, None], table, 0)
        labels = self._labels(us)
        return table if labels is None else jnp.where(self._allowed(labels), table, self._ruled_out(labels))

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """As the emission's: in a known state its label adds nothing."""
        return self.emission.given(state, self._inner(u))

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution | WeightedMixture:
        """The emission's, over the states that the label allows: the density is p(y, label)."""
        labels = self._labels(u)
        if labels is None:
            return self.emission.mixture(probs, self._inner(u))
        weights = jnp.where(self._allowed(labels), log(probs), self._ruled_out(labels))
        return WeightedMixture(lambda state: self.given(state, u), jnp.arange(self.num_states), weights)

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Array,
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "Labelled":
        """That of the emission: the weights already know the labels."""
        below = frozen_within(self.emission, "emission", frozen)
        return Labelled(self.emission.maximise(weights, ys, self._inner(us), observed, below))

    def sums(
        self, weights: Float[Array, "M K"], ys: Array, us: PyTree, observed: Bool[Array, "M *parts"] | None
    ) -> PyTree:
        """Those of the emission."""
        return self.emission.sums(weights, ys, self._inner(us), observed)

    def fitted(self, sums: PyTree, frozen: frozenset[str] = frozenset()) -> "Labelled":
        """That of the emission."""
        return Labelled(self.emission.fitted(sums, frozen_within(self.emission, "emission", frozen)))

    def restart(self, key: Key, ys: Array, us: PyTree, observed: Bool[Array, "M"] | None) -> "Labelled":
        """That of the emission."""
        return Labelled(self.emission.restart(key, ys, self._inner(us), observed))

    def misses_parts(self, ys: Array, us: PyTree) -> bool:
        """As of the emission."""
        return self.emission.misses_parts(ys, self._inner(us))

    def validate_inputs(self, us: PyTree) -> None:
        """A mapping with labels that are states or -1, and with inputs if the emission reads any."""
        reads = self.emission.num_inputs != 0
        if us is None and not reads:
            return
        expected = {"labels", "inputs"} if reads else {"labels"}
        if not isinstance(us, Mapping) or set(us) != expected:
            came = sorted(us) if isinstance(us, Mapping) else type(us).__name__
            raise ValueError(f"inputs: Labelled expects a mapping with the keys {sorted(expected)}, got {came}")
        labels = us["labels"]
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise TypeError(f"inputs: labels are integers, the state or -1 where it is unknown, got {labels.dtype}")
        if is_concrete(labels):
            bad = (np.asarray(labels) < UNKNOWN) | (np.asarray(labels) >= self.num_states)
            if bad.any():
                raise ValueError(
                    f"inputs: labels lie in 0 .. {self.num_states - 1}, or are -1 where the state is unknown, "
                    f"got {np.asarray(labels)[bad][0]}"
                )
        size = self.emission.num_inputs
        if size and us["inputs"].shape[-1] != size:
            raise ValueError(f"inputs: the emission reads {size} inputs per step, got {us['inputs'].shape}")
        self.emission.validate_inputs(us.get("inputs"))

    def _labels(self, us: PyTree) -> Int[Array, "*T"] | None:
        return None if us is None else us["labels"]

    def _inner(self, us: PyTree) -> PyTree:
        return None if us is None else us.get("inputs")

    def _allowed(self, labels: Int[Array, "*T"]) -> Bool[Array, "*T K"]:
        return (labels == UNKNOWN)[..., None] | (labels[..., None] == jnp.arange(self.num_states))

    def _ruled_out(self, labels: Int[Array, "*T"]) -> Float[Array, "*T 1"]:
        """-inf, or NaN, which poisons the evidence, where the label is no state."""
        valid = (labels >= UNKNOWN) & (labels < self.num_states)
        return jnp.where(valid, -jnp.inf, jnp.nan)[..., None].astype(float_dtype(self))


def has_labels(model: PyTree) -> bool:
    """Whether there is a `Labelled` anywhere in it."""
    labelled = lambda part: isinstance(part, Labelled)
    return any(labelled(part) for part in jax.tree.leaves(model, is_leaf=labelled))
