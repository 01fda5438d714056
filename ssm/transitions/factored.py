"""Large matrices that are small: sparse ones and ones of low rank."""

from collections.abc import Callable
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.numeric.linalg import matrix_times_column, multiply, row_times_matrix
from ssm.numeric.logspace import dot_log, log, log_sum
from ssm.numeric.ranks import rank_of_product
from ssm.parameters import AbstractOverparametrised, Simplex, value
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.transitions.base import AbstractTransition, normalised, random_like, stationary_of


@final
class LowRank(AbstractTransition, AbstractOverparametrised):
    """A = leave @ enter: from state i to a class r, and from the class to state j; O(K R) a step.

    Shapes: `leave` (K, R), `enter` (R, K), rows sum to one. EM counts moves through the classes, which are one
    more latent variable (aggregate Markov models: Saul & Pereira 1997).
    """

    is_one_matrix: ClassVar[bool] = True

    _leave: Simplex | Float[Array, "K R"]
    _enter: Simplex | Float[Array, "R K"]

    def __init__(self, leave: Array, enter: Array):
        leave = checks.probabilities("leave", leave, ("K", "R"))
        self._leave = Simplex.of(leave)
        self._enter = Simplex.of(checks.probabilities("enter", enter, leave.shape[::-1]).astype(leave.dtype))

    @property
    def leave(self) -> Float[Array, "K R"]:
        """p(class | x_{t-1})."""
        return value(self._leave)

    @property
    def enter(self) -> Float[Array, "R K"]:
        """p(x_t | class)."""
        return value(self._enter)

    @property
    def num_states(self) -> int:
        """K."""
        return self.leave.shape[0]

    def num_redundant(self, entries: Any) -> int:
        """What the matrix does not show, such as another basis of the classes."""
        free = [jax.tree.leaves(part)[0] for part in (entries._leave, entries._enter)]
        found = rank_of_product(np.asarray(self.leave, float), np.asarray(self.enter, float), *free)
        return int(free[0].sum() + free[1].sum()) - found

    def push(self, probs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """(p leave) enter."""
        return row_times_matrix(row_times_matrix(probs, self.leave), self.enter)

    def pull(self, values: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """leave (enter v)."""
        return matrix_times_column(self.leave, matrix_times_column(self.enter, values))

    def push_logs(
        self, logs: Float[Array, "K"], u: PyTree, add: Callable[[Array, int], Array] = log_sum
    ) -> Float[Array, "K"]:
        """Through the classes, which sums alone may be taken over before states."""
        if add is not log_sum:
            return super().push_logs(logs, u, add)
        return log_sum(log_sum(logs[:, None] + log(self.leave), 0)[:, None] + log(self.enter), 0)

    def pull_logs(self, logs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """The same, transposed."""
        return log_sum(log(self.leave) + log_sum(log(self.enter) + logs, 1), 1)

    def matrix(self, u: PyTree = None) -> Float[Array, "K K"]:
        """leave @ enter."""
        return multiply(self.leave, self.enter)

    def count(
        self, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree
    ) -> tuple[Float[Array, "K R"], Float[Array, "R K"]]:
        """Expected moves into and out of each class."""
        left = self.leave * multiply(before.T, multiply(gain, self.enter.T))
        right = self.enter * multiply(multiply(before, self.leave).T, gain)
        return left, right

    def expected_log_prob(self, counts: tuple[Float[Array, "K R"], Float[Array, "R K"]], us: PyTree) -> Scalar:
        """Σ counts log leave + Σ counts log enter: Q with the classes among what is latent."""
        return dot_log(counts[0], self.leave) + dot_log(counts[1], self.enter)

    def maximise(
        self,
        counts: tuple[Float[Array, "K R"], Float[Array, "R K"]],
        us: PyTree,
        frozen: frozenset[str] = frozenset(),
    ) -> "LowRank":
        """Expected moves as shares of each row."""
        leave = self.leave if "leave" in frozen else normalised(counts[0], self.leave)
        enter = self.enter if "enter" in frozen else normalised(counts[1], self.enter)
        return LowRank(leave, enter)

    def stationary(self) -> Float[Array, "K"]:
        """That of the classes (R of them), sent on to the states."""
        classes = multiply(self.enter, self.leave)  # (R, R)
        return row_times_matrix(stationary_of(classes), self.enter)

    def permuted(self, order: np.ndarray) -> "LowRank":
        """Rows of the one and columns of the other; classes keep theirs."""
        leave = jax.tree.map(lambda leaf: leaf[order], self._leave)
        enter = jax.tree.map(lambda leaf: leaf[:, order], self._enter)
        return eqx.tree_at(lambda m: (m._leave, m._enter), self, (leave, enter))

    def restart(self, key: Key) -> "LowRank":
        """Random rows on the same support."""
        for_leave, for_enter = jax.random.split(key)
        return LowRank(random_like(for_leave, self.leave), random_like(for_enter, self.enter))


@final
class Sparse(AbstractTransition):
    """p(x_t = successors[i, e] | x_{t-1} = i) = probs[i, e]: E possible moves from each state, O(K E) a step.

    Shapes: `successors` (K, E) distinct states in each row, `probs` (K, E) with rows that sum to one (zeros fill
    up states with fewer moves). Raises ValueError for states out of range or named twice in a row.
    """

    _probs: Simplex | Float[Array, "K E"]
    successors: Int[Array, "K E"]
    # Where the moves into each state stand among the K E moves; K E, which reads as zero, fills up.
    arrivals: Int[Array, "K P"]

    def __init__(self, successors: Array, probs: Array):
        if not checks.is_concrete(successors):
            raise TypeError("successors: the structure of a sparse transition must be known before compiling")
        targets = np.asarray(successors)
        _check_structure(targets)
        self._probs = Simplex.of(checks.probabilities("probs", probs, targets.shape))
        self.successors = jnp.asarray(targets)
        self.arrivals = jnp.asarray(_arrivals(targets))

    @property
    def probs(self) -> Float[Array, "K E"]:
        """Probability of each possible move."""
        return value(self._probs)

    @property
    def num_states(self) -> int:
        """K."""
        return self.probs.shape[0]

    def push(self, probs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """The sum of what arrives in each state, scattered: gathering would pay for the state with most arrivals."""
        flow = probs[:, None] * self.probs
        return jnp.zeros_like(probs).at[self.successors.reshape(-1)].add(flow.reshape(-1))

    def pull(self, values: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """The average over each state's successors."""
        return jnp.sum(self.probs * values[self.successors], axis=1)

    def column(self, state: Int[Array, ""], u: PyTree) -> Float[Array, "K"]:
        """The moves into `state`."""
        return jnp.sum(jnp.where(self.successors == state, self.probs, 0), axis=1)

    def row(self, state: Int[Array, ""], u: PyTree) -> Float[Array, "K"]:
        """The moves out of `state`."""
        return jnp.zeros(self.num_states, self.probs.dtype).at[self.successors[state]].add(self.probs[state])

    def push_logs(
        self, logs: Float[Array, "K"], u: PyTree, add: Callable[[Array, int], Array] = log_sum
    ) -> Float[Array, "K"]:
        """Of what arrives in each state."""
        moves = (logs[:, None] + log(self.probs)).reshape(-1)
        return add(moves.at[self.arrivals].get(mode="fill", fill_value=-jnp.inf), 1)

    def pull_logs(self, logs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """Of each state's successors."""
        return log_sum(log(self.probs) + logs[self.successors], 1)

    def count(self, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree) -> Float[Array, "K E"]:
        """Expected uses of each move, one time after the other: no second (M, K) array is made."""
        successors = self.successors.T  # (E, K): long rows

        @jax.checkpoint
        def add(total: Float[Array, "E K"], move: tuple[Array, Array]) -> tuple[Float[Array, "E K"], None]:
            before, gain = move
            return total + before * gain[successors], None

        uses, _ = jax.lax.scan(add, jnp.zeros(successors.shape, before.dtype), (before, gain))
        return self.probs * uses.T

    def expected_log_prob(self, counts: Float[Array, "K E"], us: PyTree) -> Scalar:
        """Σ counts log probs."""
        return dot_log(counts, self.probs)

    def maximise(self, counts: Float[Array, "K E"], us: PyTree, frozen: frozenset[str] = frozenset()) -> "Sparse":
        """Expected uses as shares of each row."""
        return self if "probs" in frozen else self._with(normalised(counts, self.probs))

    def permuted(self, order: np.ndarray) -> "Sparse":
        """Rows, and the names of the successors."""
        successors = jnp.asarray(np.argsort(order))[self.successors[order]]
        probs = jax.tree.map(lambda leaf: leaf[order], self._probs)
        new = (probs, successors, jnp.asarray(_arrivals(np.asarray(successors))))
        return eqx.tree_at(lambda m: (m._probs, m.successors, m.arrivals), self, new)

    def restart(self, key: Key) -> "Sparse":
        """Random rows on the same moves."""
        return self._with(random_like(key, self.probs))

    def _remade(self, given: dict[str, Any], changed: set[str]) -> "Sparse":
        """Where only probabilities change, with the structure that is there, and may be traced."""
        if changed != {"probs"}:
            return super()._remade(given, changed)
        return self._with(checks.probabilities("probs", given["probs"], self.successors.shape))

    def _with(self, probs: Float[Array, "K E"]) -> "Sparse":
        """The same structure, whose indices may be traced by now, with other probabilities."""
        return eqx.tree_at(lambda m: m._probs, self, Simplex.of(probs))


def _check_structure(successors: np.ndarray) -> None:
    if successors.ndim != 2 or successors.dtype.kind not in "iu" or 0 in successors.shape:
        raise ValueError(f"successors: expected integers (K, E), got {successors.dtype} {successors.shape}")
    size = len(successors)
    if successors.min() < 0 or successors.max() >= size:
        raise ValueError(
            f"successors: states are 0 .. {size - 1} (one row each), got {successors.min()} to {successors.max()}"
        )
    ordered = np.sort(successors, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if twice.any():
        row = int(np.argmax(twice))
        raise ValueError(f"successors: row {row} names a state twice: {successors[row].tolist()}")


def _arrivals(successors: np.ndarray) -> np.ndarray:
    """(K, P): for each state the positions, in the flat (K E,) list of moves, of those that lead to it."""
    size = len(successors)
    flat = successors.reshape(-1)
    order = np.argsort(flat, kind="stable")
    counts = np.bincount(flat, minlength=size)
    table = np.full((size, max(counts.max(), 1)), flat.size)
    place = np.arange(flat.size) - np.repeat(np.cumsum(counts) - counts, counts)
    table[flat[order], place] = order
    return table
