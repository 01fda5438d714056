"""What some members can be asked beside beliefs and evidence: a type for each, which verbs look for."""

from abc import abstractmethod
from typing import Any, Self

import numpy as np

from ssm.recursion import AbstractRecursion, Belief
from ssm.schedules.base import AbstractSchedule
from ssm.shapes import Array, Float, Int, PyTree
from ssm.steps import Step


class AbstractDecodable(AbstractRecursion[Belief]):
    """A member whose most probable path can be found."""

    @abstractmethod
    def best(self) -> Any:
        """The recursion that finds it: maxima in the place of sums."""


class AbstractChain(AbstractDecodable[Belief]):
    """A member with K discrete states."""

    @abstractmethod
    def ranked(self, num_paths: int) -> Any:
        """The recursion that finds so many of the most probable paths."""

    @abstractmethod
    def messages(self, prepared: Step) -> Float[Array, "T K"]:
        """log p(y_t+1 .. y_T | x_t), each row up to a constant: what the future says, whatever is observed at t."""

    @abstractmethod
    def permuted(self, order: Int[np.ndarray, "K"]) -> Self:
        """The model whose state k is the state order[k] of this one: the same distribution over observations."""


class AbstractDisturbed(AbstractRecursion[Belief]):
    """A member with noises that can be told from the data, each in standard deviations."""

    @abstractmethod
    def innovations(self, steps: Step, predicted: PyTree) -> Float[Array, "T N"]:
        """Errors of prediction."""

    @abstractmethod
    def disturbances(self, steps: Step, predicted: PyTree, schedule: AbstractSchedule) -> tuple[Array, Array]:
        """Smoothed noises of observations (T, N) and of states (T, D)."""
