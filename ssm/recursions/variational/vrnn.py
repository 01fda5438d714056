"""The variational recurrent network: a recurrent network with a random latent variable at every step."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.beliefs import Point
from ssm.cells.base import AbstractCell
from ssm.cells.wrapped import as_cell
from ssm.distributions import Distribution, normal
from ssm.heads.base import AbstractHead
from ssm.numeric.checks import positive_int
from ssm.numeric.trees import without_functions
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Bool, Float, Key, PyTree, Scalar
from ssm.steps import Step, partly_missing


class Latent(NamedTuple):
    """h_{t-1}, made of everything before t, and z_t: drawn from the prior before y_t, from the encoder after it.

    After y_t, `hidden` is h_t.
    """

    hidden: PyTree
    z: Float[Array, "*batch Z"]


class Reading(NamedTuple):
    """One observation as `update` wants it: itself, which components are there (None: all), and as a vector."""

    y: Array
    observed: Bool[Array, "*event"] | None
    encoded: Float[Array, "*batch E"]


class Perceptron(eqx.Module):
    """One hidden layer: x ↦ W₂ tanh(W₁ x + b₁) + b₂."""

    inner: eqx.nn.Linear
    outer: eqx.nn.Linear

    def __init__(self, input_size: int, width: int, output_size: int, *, key: Key):
        for_inner, for_outer = jax.random.split(key)
        self.inner = eqx.nn.Linear(input_size, width, key=for_inner)
        self.outer = eqx.nn.Linear(width, output_size, key=for_outer)

    def __call__(self, *parts: Float[Array, "_"]) -> Float[Array, "O"]:
        """The image of the parts, one after the other in one vector."""
        return self.outer(jnp.tanh(self.inner(jnp.concatenate(parts))))


@final
class VRNN(AbstractRecursion[Point]):
    """A variational recurrent network (Chung et al. 2015), for any cell; a GRU is usual.

        z_t | h_{t-1}        ~ N(prior(h_{t-1}))                    eq. 5
        y_t | z_t, h_{t-1}   ~ head(h_{t-1} + decoder(h_{t-1}, z_t))    eq. 6, as a correction to a plain network
        h_t                  = cell(h_{t-1}, [y_t, z_t])            eq. 7
        z_t | y_t, h_{t-1}   ~ N(encoder(h_{t-1}, y_t))             eq. 9, approximately: q

    `cell` reads an encoded observation and `latent_size` numbers Z more, and shows what `head` reads. Raises
    ValueError when sizes disagree.

    The evidence of a step is one draw of log p(y | z, h) + log p(z | h) - log q(z | y, h) with z ~ q: a bound
    in expectation (eq. 11), whose exp is an unbiased estimate of the likelihood. The closed-form divergence
    would have less variance, and not that property. Every verb therefore needs a `key`; the beliefs are draws,
    Point(Latent(hidden, z)), and every future of a forecast continues one of its own. What is missing is read as
    expected under the head, given a z from the prior.
    """

    is_stochastic: ClassVar[bool] = True

    cell: AbstractCell
    head: AbstractHead
    prior: Perceptron
    encoder: Perceptron
    decoder: Perceptron

    def __init__(self, cell: Any, head: AbstractHead, latent_size: int, *, key: Key):
        self.cell = without_functions(as_cell(cell))
        if not isinstance(head, AbstractHead):
            raise TypeError(f"head: expected one of ssm.heads, got {type(head).__name__}")
        self.head = without_functions(head)
        head.check_reads(self.cell.output_size)
        expected = head.encoded_size + positive_int("latent_size", latent_size)
        if self.cell.input_size != expected:
            raise ValueError(
                f"cell: expected one that reads {expected} numbers per step, {head.encoded_size} of an encoded "
                f"observation and latent_size={latent_size} more, got one that reads {self.cell.input_size}"
            )
        size = self.cell.output_size
        keys = jax.random.split(key, 3)
        self.prior = Perceptron(size, size, 2 * latent_size, key=keys[0])
        self.encoder = Perceptron(size + head.encoded_size, size, 2 * latent_size, key=keys[1])
        self.decoder = Perceptron(size + latent_size, size, size, key=keys[2])

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As the head's."""
        return self.head.event_shape

    @property
    def event_kind(self) -> str:
        """As the head's."""
        return self.head.event_kind

    @property
    def num_classes(self) -> int:
        """As the head's."""
        return self.head.num_classes

    @property
    def feeds_back(self) -> bool:
        """It reads its own past."""
        return True

    def validate(self, ys: np.ndarray) -> None:
        """As the head's."""
        self.head.validate(ys)

    # -- the recursion ----------------------------------------------------------------------------------------

    def prepare(self, steps: Step) -> Step:
        """Encoded observations."""
        observed = steps.observed if partly_missing(steps) else None
        return dataclasses.replace(steps, y=Reading(steps.y, observed, jax.vmap(self.head.encode)(steps.y)))

    def _latent(self, hidden: PyTree) -> Distribution:
        """p(z | h)."""
        return _normal(self.prior(self.cell.output(hidden)))

    def _features(self, state: Latent) -> Float[Array, "H"]:
        """What the head reads."""
        seen = self.cell.output(state.hidden)
        return seen + self.decoder(seen, state.z)

    def _read(self, hidden: PyTree, z: Array, encoded: Array) -> Point:
        return Point(Latent(self.cell(hidden, jnp.concatenate([encoded, z])), z))

    def init(self, u: PyTree, *, key: Key | None = None) -> Point:
        """h_0, and z_1 from the prior."""
        hidden = self.cell.initial()
        return Point(Latent(hidden, self._latent(hidden).sample(seed=_needed(key))))

    def predict(self, belief: Point, u: PyTree, *, key: Key | None = None) -> Point:
        """z_t from the prior."""
        hidden = belief.state.hidden
        return Point(Latent(hidden, self._latent(hidden).sample(seed=_needed(key))))

    def update(self, prior: Point, u: PyTree, y: Reading, *, key: Key | None = None) -> tuple[Point, Scalar]:
        """z_t from the encoder, the increment of the bound, and one step of the cell."""
        hidden = prior.state.hidden
        encoded = y.encoded
        if y.observed is not None:
            encoded = self.head.complete(self._features(prior.state), y.y, y.observed)
        posterior = _normal(self.encoder(self.cell.output(hidden), encoded))
        z, log_posterior = posterior.sample_and_log_prob(seed=_needed(key))
        likelihood = self.head.log_prob(self._features(Latent(hidden, z)), y.y, y.observed)
        increment = likelihood + self._latent(hidden).log_prob(z) - log_posterior
        return self._read(hidden, z, encoded), increment

    def absorb(self, prior: Point, u: PyTree, y: Array, *, key: Key | None = None) -> Point:
        """One step of the cell with the z that y was drawn with."""
        return self._read(prior.state.hidden, prior.state.z, self.head.encode(y))

    def miss(self, prior: Point, u: PyTree, *, key: Key | None = None) -> Point:
        """One step of the cell with z from the prior and the observation it leads to expect."""
        return self._read(prior.state.hidden, prior.state.z, self.head.expected(self._features(prior.state)))

    def emit(self, prior: Point, u: PyTree) -> Distribution:
        """p(y | z, h) for the z that was drawn; its average over keys is the predictive distribution."""
        return self.head.distribution(self._features(prior.state))


def _needed(key: Key | None) -> Key:
    if key is None:
        raise ValueError("key: a VRNN draws; pass key=jax.random.key(seed)")
    return key


def _normal(parameters: Float[Array, "P"]) -> Distribution:
    """Independent components with (loc, log scale) in one vector."""
    loc, log_scale = jnp.split(parameters, 2)
    return normal(loc, jnp.exp(log_scale))
