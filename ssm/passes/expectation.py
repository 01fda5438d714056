"""Members that know the gradient of their evidence, and those whose gradient is an expectation."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

from ssm.numeric.protocols import unwritten
from ssm.numeric.trees import blend
from ssm.recursion import AbstractReversibleRecursion, Belief
from ssm.shapes import Key, PyTree, Scalar
from ssm.steps import Step


class AbstractDifferentiable(AbstractReversibleRecursion[Belief]):
    """A recursion that finds the gradient of its evidence in one walk back, from the beliefs of the walk there.

    What differentiating through the scan would keep of every operation of every step is then not kept.
    """

    @abstractmethod
    def sensitivities(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> PyTree:
        """What `first_order` needs of one sequence as observed, from its stacked beliefs and one walk back."""

    @abstractmethod
    def first_order(self, steps: Step, sensitivities: PyTree) -> Scalar:
        """A function of the model and of prepared steps whose gradient, there, is that of the evidence."""


class AbstractExpectation(AbstractDifferentiable[Belief]):
    """A recursion whose evidence has the gradient of an expectation (Fisher's identity).

        ∇ log p(y; θ) = E_{p(x|y)} [∇ log p(x, y; θ)] = ∇ Q(θ, statistics)

    EM maximises Q, gradient methods climb it; both get their statistics here.
    """

    # Whether the M-step knows names of single entries in `frozen` (`ssm.parameters.freezing`), not of whole ones alone.
    holds_entries: ClassVar[bool] = False

    @abstractmethod
    def statistics(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> PyTree:
        """Expected sufficient statistics of one sequence as observed, from its stacked beliefs and one walk back."""

    @abstractmethod
    def expected_log_prob(self, steps: Step, statistics: PyTree) -> Scalar:
        """Q: the expected complete-data log-likelihood, linear in the statistics."""

    @abstractmethod
    def maximise(self, statistics: PyTree, steps: Step, frozen: frozenset[str] = frozenset()) -> Self:
        """The M-step: the model that maximises Q, with the parameters named in `frozen` as they are.

        Statistics and (unprepared) steps may have a leading axis B, over which they are summed.
        """

    def sums(self, statistics: PyTree, steps: Step) -> PyTree:
        """Statistics (B, ...) of (unprepared) steps (B, T, ...) as sums of a size that does not depend on B and T.

        `fitted(sums(statistics, steps))` is `maximise(statistics, steps)`. NotImplementedError for a model whose
        statistics grow with the data.
        """
        raise NotImplementedError(f"{type(self).__name__} has no sufficient statistics of fixed size")

    def blend(self, old: PyTree, new: PyTree, rate: Scalar) -> PyTree:
        """`sums` of (1 - rate) of one batch and `rate` of another, from those of each."""
        return blend(old, new, rate)

    def fitted(self, sums: PyTree, frozen: frozenset[str] = frozenset()) -> Self:
        """The M-step from sums; `frozen` as in `maximise`."""
        raise NotImplementedError(f"{type(self).__name__} has no sufficient statistics of fixed size")

    def restart(self, key: Key, steps: Step) -> Self:
        """A random model of the same structure, from the data, as a starting point for a fit."""
        raise unwritten(self)

    # Fisher's identity: the statistics are the sensitivities, and Q is the first order.

    def sensitivities(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> PyTree:
        """The statistics."""
        return self.statistics(steps, predicted, filtered, schedule)

    def first_order(self, steps: Step, sensitivities: PyTree) -> Scalar:
        """Q."""
        return self.expected_log_prob(steps, sensitivities)
