"""Any distribution: p(y | x = k, u) is whatever a function makes of the parameters of state k and the input."""

from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import Distribution as AnyDistribution
from ssm.distributions import is_known, marginal_log_prob, num_symbols, one_event
from ssm.emissions.common.ascent import climb_likelihood
from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.seeds import jittered
from ssm.numeric import checks
from ssm.numeric.trees import float_dtype, index
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class Distribution(AbstractEmission):
    """`fn(parameters_k, u)` is a distrax distribution; `parameters` a tree of arrays with a leading axis K.

    The function constrains what it is given: parameters are any real numbers, so a scale is for instance
    `jnp.exp(parameters["log_scale"])`. It is called with u = None unless `num_inputs`, the size of u_t, is given. Batch
    axes of the distribution count as independent components of one event. M-step: L-BFGS, which never lowers the
    expected log-likelihood; there is no closed form. `fn` is part of the model's structure: a new function, even one
    that does the same, compiles anew. Raises ValueError when leading axes disagree, TypeError where `fn` makes no
    distribution of distrax.
    """

    parameters: PyTree
    fn: Callable[[PyTree, Any], Any] = eqx.field(static=True)
    _num_inputs: int = eqx.field(static=True)
    _event_shape: tuple[int, ...] = eqx.field(static=True)
    _num_classes: int | None = eqx.field(static=True)

    def __init__(self, fn: Callable[[PyTree, Any], Any], parameters: PyTree, num_inputs: int = 0):
        if not callable(fn):
            raise TypeError(f"fn: expected a function (parameters, u) -> distribution, got {type(fn).__name__}")
        leaves, structure = jax.tree.flatten(parameters)
        if not leaves:
            raise ValueError("parameters: expected at least one array with a leading axis K")
        arrays = [checks.real("parameters", leaf, ("K",) + ("...",) * (jnp.ndim(leaf) - 1)) for leaf in leaves]
        if len({array.shape[0] for array in arrays}) > 1:
            raise ValueError(f"parameters: every leading axis is K, got {[array.shape for array in arrays]}")
        self.fn, self._num_inputs = fn, num_inputs if num_inputs == 0 else checks.positive_int("num_inputs", num_inputs)
        self.parameters = jax.tree.unflatten(structure, arrays)
        self._event_shape, self._num_classes = self._look()

    def _look(self) -> tuple[tuple[int, ...], int | None]:
        """Event shape and number of symbols of what the function makes, without computing it."""
        seen = []

        def make(parameters: PyTree, u: Any) -> Array:
            made = self.fn(parameters, u)
            if not isinstance(made, AnyDistribution):
                raise TypeError(f"fn: expected a distribution of distrax, got {type(made).__name__}")
            made = one_event(made)
            seen.append((tuple(made.event_shape), num_symbols(made)))
            return jnp.zeros(())

        u = jnp.zeros(self._num_inputs, float_dtype(self.parameters)) if self._num_inputs else None
        jax.eval_shape(make, index(self.parameters, 0), u)
        return seen[0]

    @property
    def num_states(self) -> int:
        """K."""
        return jax.tree.leaves(self.parameters)[0].shape[0]

    @property
    def num_inputs(self) -> int:
        """U."""
        return self._num_inputs

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As the distribution's."""
        return self._event_shape

    @property
    def event_kind(self) -> str:
        """ "symbol" for categorical distributions, else "real"."""
        return "real" if self._num_classes is None else "symbol"

    @property
    def num_classes(self) -> int:
        """C of a categorical distribution."""
        if self._num_classes is None:
            raise TypeError("num_classes: the observations of this Distribution are no symbols")
        return self._num_classes

    def log_likelihoods(
        self, ys: Array, us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """One density per time and state."""
        components = observed is not None and observed.ndim == ys.ndim and ys.ndim > 1

        def density(y: Array, u: Any, seen: Array | None, parameters: PyTree) -> Array:
            made = one_event(self.fn(parameters, u))
            if seen is None:
                return jnp.asarray(made.log_prob(y))
            value = marginal_log_prob(made, y, seen) if components else made.log_prob(y)
            return jnp.where(jnp.any(seen), value, 0)

        states = jax.vmap(density, (None, None, None, 0))
        return jax.vmap(lambda y, u, seen: states(y, u, seen, self.parameters))(ys, us, observed)

    def given(self, state: Int[Array, ""], u: PyTree) -> AnyDistribution:
        """What the function makes of the parameters of `state`."""
        return one_event(self.fn(index(self.parameters, state), u))

    def maximise(
        self,
        weights: Float[Array, "M K"],
        ys: Array,
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
        frozen: frozenset[str] = frozenset(),
    ) -> "Distribution":
        """See `climb_likelihood`."""
        return climb_likelihood(self, weights, ys, us, observed, frozen)

    def misses_parts(self, ys: Array, us: PyTree) -> bool:
        """Where the marginal distributions of what the function makes are known."""
        if not self.event_shape:
            return True
        first = lambda tree: jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1])[0], tree)
        seen = jnp.ones(self.event_shape, bool)
        density = lambda y, u: marginal_log_prob(self.given(jnp.array(0), u), y, seen)
        return is_known(density, ys.reshape(-1, *self.event_shape)[0], first(us))

    def restart(self, key: Key, ys: Array, us: PyTree, observed: Bool[Array, "M"] | None) -> "Distribution":
        """The parameters as they are, moved by noise of a tenth of their size (at least a tenth)."""
        return eqx.tree_at(lambda emission: emission.parameters, self, jittered(key, self.parameters))
