"""Any state-space model, written as three functions that return distributions."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import Distribution, num_symbols, one_event
from ssm.model import AbstractStateSpace
from ssm.numeric.trees import without_functions
from ssm.shapes import Array, PyTree


@final
class StateSpaceModel(AbstractStateSpace):
    """x_1 ~ initial; x_t ~ transition(x_{t-1}, u_t); y_t ~ emission(x_t, u_t).

    `initial` is a distribution (distrax), or a function of u_1 that returns one; `transition` and `emission` are
    functions of a state and u_t. Batch axes of a returned distribution count as independent components of one
    event, so `distrax.Normal(x, 1.0)` is a distribution over vectors where x is one. Functions may be Equinox
    modules, whose arrays are then parameters of the model; numbers that a plain function closes over are not.

    The shape of an observation is found by drawing one, without computing it, at `example_input`: one u_t, of
    which only shapes and dtypes count, to be given where `initial` or `emission` read inputs (None: they do
    not). Raises TypeError for something that is neither function nor distribution, or returns no distribution,
    ValueError for a transition that changes the shape of the state.

    A state-space model draws (`ssm.simulate`); to infer, wrap it: `ssm.ParticleFilter(model, num_particles)`.
    """

    initial: Any
    transition: Callable[[PyTree, PyTree], Any]
    emission: Callable[[PyTree, PyTree], Any]
    _event: jax.ShapeDtypeStruct = eqx.field(static=True)
    _num_classes: int | None = eqx.field(static=True)
    _num_inputs: int | None = eqx.field(static=True)
    _example: tuple[Any, tuple] = eqx.field(static=True)

    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"_example": ("example_input",)}

    def __init__(self, initial: Any, transition: Callable, emission: Callable, *, example_input: PyTree = None):
        if not (callable(initial) or _is_distribution(initial)):
            raise TypeError(f"initial: expected a distribution or a function of u, got {type(initial).__name__}")
        for name, function in (("transition", transition), ("emission", emission)):
            if not callable(function):
                raise TypeError(f"{name}: expected a function of (x, u), got {type(function).__name__}")
        self.initial = without_functions(initial)
        self.transition = without_functions(transition)
        self.emission = without_functions(emission)
        self._event, self._num_classes = self._seen(example_input)
        leaves, structure = jax.tree.flatten(example_input)
        self._example = structure, tuple(jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for x in leaves)
        vector = eqx.is_inexact_array_like(example_input) and jnp.ndim(example_input) == 1
        self._num_inputs = jnp.shape(example_input)[0] if vector else None

    def _seen(self, u: PyTree) -> tuple[jax.ShapeDtypeStruct, int | None]:
        """Shape and dtype of one observation, and how many symbols there are if it is one."""
        symbols = None

        def draw(u: PyTree) -> Array:
            nonlocal symbols
            key = jax.random.key(0)  # of an abstract draw: nothing is computed
            seen = self.observation(self.initial_state(u).sample(seed=key), u)
            symbols = num_symbols(seen)
            return seen.sample(seed=key)

        try:
            event = jax.eval_shape(draw, u)
        except Exception as error:
            error.add_note(
                "StateSpaceModel draws one observation, in the abstract, to find its shape; if initial or emission "
                f"read inputs, pass one of them as example_input (now {u!r})"
            )
            raise
        return jax.ShapeDtypeStruct(event.shape, event.dtype), symbols

    @property
    def example_input(self) -> PyTree:
        """Zeros in the shape of one u_t; None if none was given."""
        structure, leaves = self._example
        return jax.tree.unflatten(structure, [jnp.zeros(leaf.shape, leaf.dtype) for leaf in leaves])

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self._event.shape

    @property
    def event_kind(self) -> str:
        """ "symbol" for integer observations, "real" otherwise."""
        return "symbol" if jnp.issubdtype(self._event.dtype, jnp.integer) else "real"

    @property
    def num_classes(self) -> int:
        """C; TypeError unless the emission is categorical."""
        if self._num_classes is None:
            raise TypeError("num_classes: the emission is not categorical")
        return self._num_classes

    @property
    def num_inputs(self) -> int | None:
        """U where `example_input` is a vector; None, anything that the functions can read, elsewhere."""
        return self._num_inputs

    def initial_state(self, u: PyTree) -> Distribution:
        """p(x_1 | u_1)."""
        initial = self.initial if _is_distribution(self.initial) else self.initial(u)
        return _checked("initial", initial)

    def next_state(self, state: PyTree, u: PyTree) -> Distribution:
        """p(x_t | x_{t-1}, u_t)."""
        distribution = _checked("transition", self.transition(state, u))
        if eqx.is_array(state) and tuple(distribution.event_shape) != state.shape:
            raise ValueError(
                f"transition: the state has shape {state.shape}, but transition(x, u) returned a distribution "
                f"over shape {tuple(distribution.event_shape)}"
            )
        return distribution

    def observation(self, state: PyTree, u: PyTree) -> Distribution:
        """p(y_t | x_t, u_t)."""
        return _checked("emission", self.emission(state, u))


def _is_distribution(candidate: object) -> bool:
    return hasattr(candidate, "log_prob") and hasattr(candidate, "sample")


def _checked(name: str, distribution: Any) -> Distribution:
    """One event of a user's distribution."""
    if not _is_distribution(distribution):
        raise TypeError(f"{name}: expected it to return a distribution, got {type(distribution).__name__}")
    return one_event(distribution)
