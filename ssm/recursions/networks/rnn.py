"""The recurrent neural network: the recursion whose belief is a point."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

import jax
import numpy as np

from ssm.beliefs import Point
from ssm.cells.base import AbstractCell
from ssm.cells.wrapped import as_cell
from ssm.distributions import Distribution
from ssm.heads.base import AbstractHead
from ssm.maps.constant import ConstantKernel
from ssm.numeric.trees import without_functions
from ssm.recursion import AbstractDeterministicRecursion, AbstractReversibleRecursion
from ssm.recursions.networks.reading import READINGS, AbstractReading
from ssm.shapes import Array, Bool, Float, Key, PyTree, Scalar
from ssm.steps import Step, partly_missing


class Evidence(NamedTuple):
    """One observation as `update` wants it: itself, which components are there (None: all), and what is read of it."""

    y: Array
    observed: Bool[Array, "*event"] | None
    taken: PyTree


@final
class RNN(AbstractDeterministicRecursion[Point], AbstractReversibleRecursion[Point]):
    """A recurrent network over sequences: y_t ~ head(h_t).

        reads="past"    h_t = cell(h_{t-1}, y_{t-1})          its own past observations, h_1 = cell.initial()
        reads="inputs"  h_t = cell(h_{t-1}, u_t)              inputs alone; observations are independent given them
        reads="both"    h_t = cell(h_{t-1}, [y_{t-1}, u_t])   zeros in the place of y_0

    `cell` is one of `ssm.cells` or an Equinox cell, `head` one of `ssm.heads`; the network reads observations as
    `head.encode` makes them, one-hot for symbols. A missing observation, or a missing component of one, is read
    as its expectation under the head: an approximation, as everything cheap is for a nonlinear network. The
    belief before y_t is Point(h_t) in the notation above; for reads="past" the belief after it is Point(h_{t+1}).
    Raises ValueError when sizes disagree. Source: Goodfellow et al. 2016, ch. 10.
    """

    cell: AbstractCell
    head: AbstractHead
    reading: AbstractReading

    def __init__(self, cell: Any, head: AbstractHead, reads: str = "past"):
        self.cell = without_functions(as_cell(cell))
        if not isinstance(head, AbstractHead):
            raise TypeError(f"head: expected one of ssm.heads, got {type(head).__name__}")
        if reads not in READINGS:
            raise ValueError(f"reads: expected one of {', '.join(READINGS)}, got {reads!r}")
        self.head = without_functions(head)
        self.reading = READINGS[reads]
        head.check_reads(self.cell.output_size)
        if not self.reading.fits(self.cell, head):
            raise ValueError(
                f"cell: reads {self.cell.input_size} numbers per step, but an encoded observation has "
                f"{head.encoded_size}; "
                'with reads="past" the two must agree, with reads="both" the cell needs room for inputs too'
            )

    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"reading": ("reads",)}

    @property
    def reads(self) -> str:
        """What the cell reads."""
        return next(name for name, reading in READINGS.items() if type(reading) is type(self.reading))

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
    def num_inputs(self) -> int:
        """Size of u_t."""
        return self.reading.num_inputs(self.cell, self.head)

    @property
    def feeds_back(self) -> bool:
        """Whether it reads its own past."""
        return self.reading.feeds_back

    def validate(self, ys: np.ndarray) -> None:
        """As the head's."""
        self.head.validate(ys)

    # -- the recursion ----------------------------------------------------------------------------------------

    def prepare(self, steps: Step) -> Step:
        """Encoded observations, and the products with inputs that need no state, for all times at once."""
        known = None if steps.u is None else jax.vmap(lambda u: self.reading.known(self.cell, u))(steps.u)
        if partly_missing(steps):
            evidence = Evidence(steps.y, steps.observed, None)  # what is read in gaps depends on the state
        else:
            evidence = jax.vmap(self._whole)(steps.y)
        return dataclasses.replace(steps, u=known, y=evidence)

    def _whole(self, y: Array) -> Evidence:
        return Evidence(y, None, self.reading.taken(self.cell, self.head.encode(y)))

    def _features(self, belief: Point) -> Float[Array, "H"]:
        return self.cell.output(self.reading.hidden(belief.state))

    def init(self, u: PyTree, *, key: Key | None = None) -> Point:
        """h_1."""
        return Point(self.reading.start(self.cell, self.head, u))

    def predict(self, belief: Point, u: PyTree, *, key: Key | None = None) -> Point:
        """What the next input does to the state; nothing if it reads its past alone."""
        return Point(self.reading.move(self.cell, belief.state, u))

    def update(self, prior: Point, u: PyTree, y: Array | Evidence, *, key: Key | None = None) -> tuple[Point, Scalar]:
        """Score y by the head and read it; y may also be an observation as it was drawn."""
        evidence = y if isinstance(y, Evidence) else self._whole(y)
        features = self._features(prior)
        taken = evidence.taken
        if evidence.observed is not None:
            complete = self.head.complete(features, evidence.y, evidence.observed)
            taken = self.reading.taken(self.cell, complete)
        log_evidence = self.head.log_prob(features, evidence.y, evidence.observed)
        return Point(self.reading.take(self.cell, prior.state, taken)), log_evidence

    def absorb(self, prior: Point, u: PyTree, y: Array, *, key: Key | None = None) -> Point:
        """Read y as it was drawn."""
        return self.update(prior, u, y)[0]

    def miss(self, prior: Point, u: PyTree, *, key: Key | None = None) -> Point:
        """Read the expected observation."""
        taken = self.reading.taken(self.cell, self.head.expected(self._features(prior)))
        return Point(self.reading.take(self.cell, prior.state, taken))

    def emit(self, prior: Point, u: PyTree) -> Distribution:
        """The head."""
        return self.head.distribution(self._features(prior))

    def reverse(self, filtered: Point, predicted: Point, u: PyTree) -> ConstantKernel:
        """Given the past the state is certain, so the future adds nothing."""
        return ConstantKernel.of(filtered)
