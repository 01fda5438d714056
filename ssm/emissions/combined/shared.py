"""States that share parameters: an emission that is worked out from fewer numbers than it has."""

from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import numpy as np

from ssm.emissions.combined.wrapped import AbstractWrapped
from ssm.emissions.common.ascent import climb_likelihood
from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.seeds import jittered
from ssm.numeric import checks
from ssm.parameters import constrain
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar


@final
class Shared(AbstractWrapped):
    """`make(parameters)` is an emission of K states; `parameters` a tree of any real numbers, of any shapes.

    For parameters that states have in common, or that follow from others, in whatever way `make` says::

        same_spread = lambda p: ssm.emissions.Normal(p["loc"], jnp.full(3, jnp.exp(p["log_scale"])))
        ssm.emissions.Shared(same_spread, {"loc": [-1.0, 0.0, 1.0], "log_scale": 0.0})

    `make` constrains what it is given, and is part of the model's structure: a new function compiles anew. M-step:
    L-BFGS on the parameters, which never lowers the expected log-likelihood; there is no closed form. For states that
    emit entirely alike there is `ssm.emissions.Tied`. Raises TypeError where `make` makes no emission.
    """

    parameters: PyTree
    make: Callable[[PyTree], AbstractEmission] = eqx.field(static=True)

    def __init__(self, make: Callable[[PyTree], AbstractEmission], parameters: PyTree):
        if not callable(make):
            raise TypeError(f"make: expected a function parameters -> emission, got {type(make).__name__}")
        check = lambda leaf: checks.real("parameters", leaf, ("...",) * np.ndim(leaf))
        self.make, self.parameters = make, jax.tree.map(check, parameters, is_leaf=lambda leaf: isinstance(leaf, list))
        made = eqx.filter_eval_shape(make, self.parameters)
        if not isinstance(made, AbstractEmission):
            raise TypeError(f"make: expected an emission of ssm.emissions, got {type(made).__name__}")

    @property
    def emission(self) -> Any:
        """What the parameters make, on plain arrays."""
        return constrain(self.make(self.parameters))

    @property
    def _inside(self) -> Any:
        """The emission with zeros for its numbers, which are not looked at: families know their sizes from arrays."""
        made = eqx.filter_eval_shape(self.make, self.parameters)
        is_shape = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype) if is_shape(leaf) else leaf, made)

    def log_likelihoods(
        self, ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """As the emission's."""
        return self.emission.log_likelihoods(ys, us, observed)

    def given(self, state: Int[Array, ""], u: PyTree) -> Any:
        """As the emission's."""
        return self.emission.given(state, u)

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Any:
        """As the emission's."""
        return self.emission.mixture(probs, u)

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Array,
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "Shared":
        """See `climb_likelihood`."""
        return climb_likelihood(self, weights, ys, us, observed, frozen)

    def log_prior(self) -> Scalar:
        """As the emission's."""
        return self.emission.log_prior()

    def restart(self, key: Key, ys: Array, us: PyTree, observed: Bool[Array, "M"] | None) -> "Shared":
        """The parameters as they are, moved by noise of a tenth of their size (at least a tenth)."""
        return Shared(self.make, jittered(key, self.parameters))

    def permuted(self, order: np.ndarray) -> "Shared":
        """TypeError: which state is which is what `make` says."""
        raise TypeError("emission: the states of a Shared emission are numbered by its function")
