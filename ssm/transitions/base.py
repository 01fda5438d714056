"""p(x_t = j | x_{t-1} = i, u_t) over K discrete states, as a linear operator.

A chain only ever multiplies by its transition matrix A_t: from the left to predict, from the right to smooth.
A transition says how, so that a matrix with structure (sparse, low rank, a product of chains, durations) costs
what its structure costs, and no (T, K, K) array is ever made.
"""

from collections.abc import Callable
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric.checks import is_concrete
from ssm.numeric.linalg import matrix_times_column, multiply, row_times_matrix
from ssm.numeric.logspace import log, log_sum
from ssm.numeric.protocols import unwritten
from ssm.numeric.trees import float_dtype
from ssm.parameters.replacing import AbstractReplaceable
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar
from ssm.transitions import moves


class AbstractTransition(AbstractReplaceable):
    """How a chain moves. `u` is what `prepare` made of one instant's input.

    Laws (tests/markov/test_transitions.py): with A = matrix(u), `push(p, u)` is p A, `pull(v, u)` is A v, `row` and
    `column` are its rows and columns; `push_logs` and `pull_logs` are the products with log A in which sums of
    exponentials stand for sums, and `best` is the one in which the largest term stands for them.

    A class of one's own has `num_states` and `matrix`, rows that sum to one, from which all that inference asks for
    follows (or `push`, and for speed more of them); `num_inputs` where A depends on u_t, `prepare` where it depends
    on the time. Gradients fit it (`ssm.SGD`); EM asks for `maximise`, unless the transition is frozen.
    """

    is_one_matrix: ClassVar[bool] = False  # is pushing all times at once one product, without an array per time?

    @property
    def num_states(self) -> int:
        """K."""
        raise unwritten(self)

    @property
    def num_inputs(self) -> int | None:
        """Size of u_t: 0 if the chain reads no inputs."""
        return 0

    @property
    def num_steps(self) -> int | None:
        """How many times the parameters cover; None if they do not vary in time."""
        return None

    def prepare(self, us: PyTree, times: Int[Array, "*lead"]) -> PyTree:
        """What the methods below want to see at each of the times (T,): the inputs, where it reads any, by default."""
        return None if self.num_inputs == 0 else us

    def push(self, probs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """Σ_i probs_i A_ij."""
        return row_times_matrix(probs, self.matrix(u))

    def pull(self, values: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """Σ_j A_ij values_j."""
        return matrix_times_column(self.matrix(u), values)

    def matrix(self, u: PyTree = None) -> Float[Array, "K K"]:
        """A itself, for schedules that compose maps and for reading."""
        if not self.writes("push"):
            raise unwritten(self)
        return jax.vmap(lambda row: self.push(row, u))(jnp.eye(self.num_states, dtype=float_dtype(self)))

    def row(self, state: Int[Array, ""], u: PyTree) -> Float[Array, "K"]:
        """p(x_t = . | x_{t-1} = state)."""
        return self.push(self._point(state), u) if self.writes("push") else self.matrix(u)[state]

    def column(self, state: Int[Array, ""], u: PyTree) -> Float[Array, "K"]:
        """p(x_t = state | x_{t-1} = .)."""
        return self.pull(self._point(state), u) if self.writes("pull") else self.matrix(u)[:, state]

    def push_logs(
        self, logs: Float[Array, "K"], u: PyTree, add: Callable[[Array, int], Array] = log_sum
    ) -> Float[Array, "K"]:
        """log Σ_i exp(logs_i) A_ij, of which no term is lost, or what `add` makes of the terms along an axis."""
        return add(logs[:, None] + log(self.matrix(u)), 0)

    def pull_logs(self, logs: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """log Σ_j A_ij exp(logs_j)."""
        return log_sum(log(self.matrix(u)) + logs, 1)

    def best(self, scores: Float[Array, "K"], u: PyTree) -> Float[Array, "K"]:
        """max_i (scores_i + log A_ij), for the most probable path."""
        return self.push_logs(scores, u, jnp.max)

    def stationary(self) -> Float[Array, "K"]:
        """The distribution that the chain leaves as it is; TypeError where A changes with time."""
        if self.num_inputs == 0 and self.num_steps is None and not self.writes("prepare"):
            return stationary_of(self.matrix(None))
        raise TypeError(f"initial: a {type(self).__name__} transition has no stationary distribution to start from")

    @property
    def has_start(self) -> bool:
        """Whether p(x_1) is among the transition's own parameters, because it shares some with what follows."""
        return False

    def start(self) -> Float[Array, "K"]:
        """p(x_1) where it follows from the transition: its own, or what is stationary."""
        return self.stationary()

    def _point(self, state: Int[Array, ""]) -> Float[Array, "K"]:
        return jax.nn.one_hot(state, self.num_states, dtype=float_dtype(self))

    def writes(self, name: str) -> bool:
        """Whether the class has a method of its own under this name."""
        found = next(vars(kind)[name] for kind in type(self).__mro__ if name in vars(kind))
        return found is not vars(AbstractTransition)[name]

    # -- learning ---------------------------------------------------------------------------------------------

    def count(self, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree) -> PyTree:
        """Expected moves: the sufficient statistics of Σ_t ξ_t(i, j) = Σ_t before_ti A_ij gain_tj."""
        return moves.count(self, before, gain, us)

    def count_logs(self, before: Float[Array, "M K"], gain: Float[Array, "M K"], us: PyTree) -> PyTree:
        """As `count`, of logarithms: the factors of a move of ordinary probability may be e^-1000 and e^1000."""
        if not self.writes("count") and jax.tree.leaves(us):
            return moves.one_by_one(self, before, gain)
        return moves.count_logs(self, before, gain, us)

    def merge(self, counts: PyTree) -> PyTree:
        """Counts (B, ...) of B sequences as those of all: their sum, unless the moves are kept one by one."""
        return moves.merge(counts)

    def sums(self, counts: PyTree) -> PyTree:
        """Counts (B, ...) of B sequences as sums that batches add up; NotImplementedError where they grow with B."""
        if isinstance(counts, moves.Moves):
            raise NotImplementedError(f"{type(self).__name__} has no sufficient statistics of fixed size")
        return self.merge(counts)

    def expected_log_prob(self, counts: PyTree, us: PyTree) -> Scalar:
        """Σ_m Σ_ij ξ_m(i, j) log A_ij(u_m) for the M moves that were counted, with their prepared inputs (M, ...)."""
        return moves.expected_log_prob(self, counts, us)

    def maximise(self, counts: PyTree, us: PyTree, frozen: frozenset[str] = frozenset()) -> Self:
        """The transition of highest expected log-probability plus log-prior; arguments as in `expected_log_prob`."""
        raise unwritten(self, "Without it fit by gradients, such as ssm.SGD, or with frozen=['transition'].")

    def maximise_with_start(
        self, counts: PyTree, us: PyTree, starts: Float[Array, "K"], frozen: frozenset[str] = frozenset()
    ) -> Self:
        """As `maximise`, where sequences also begin (`starts` of them in each state) from `start()`."""
        self.stationary()
        raise NotImplementedError(f"EM from a stationary start is not written for {type(self).__name__}; use ssm.SGD")

    def log_prior(self) -> Scalar:
        """log p(parameters) up to a constant; 0 without a prior."""
        return jnp.zeros(())

    def permuted(self, order: np.ndarray) -> Self:
        """The transition whose state k is the state order[k] of this one; TypeError for structure that forbids it."""
        raise TypeError(f"transition: a {type(self).__name__} does not say how its states are renamed")

    def restart(self, key: Key) -> Self:
        """Random parameters of the same structure."""
        raise unwritten(self)


def normalised(counts: Float[Array, "*batch K"], otherwise: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """Counts as probabilities; a row that was never visited stays as it is, since every value maximises."""
    total = jnp.sum(counts, axis=-1, keepdims=True)
    possible = total > 0
    return jnp.where(possible, counts / jnp.where(possible, total, 1), otherwise)


def stationary_of(matrix: Float[Array, "K K"]) -> Float[Array, "K"]:
    """δ with δ A = δ and Σ δ = 1, by elimination without a subtraction (Grassmann, Taksar & Heyman 1985).

    It reads what lies off the diagonal alone, so that moves rarer than rounding keep their digits; states that are left
    for good have exactly 0. ValueError for a chain with several closed classes, which leaves many distributions as they
    are; NaN where the matrix is traced.
    """
    closed = closed_class(matrix)
    inside = closed[:, None] & closed[None, :]
    states = jnp.arange(len(matrix))
    rates = jnp.where(inside & (states[:, None] != states), matrix, 0)

    def eliminate(rates: Float[Array, "K K"], state: Int[Array, ""]) -> tuple[Array, tuple[Array, Array]]:
        # What goes through `state` goes on to the states before it, in proportion to how it leaves it for them.
        before = states < state
        leaving = jnp.where(before, rates[state], 0)
        total = jnp.sum(leaving)
        into = jnp.where(before, rates[:, state], 0)
        total = jnp.where(total > 0, total, 1)
        return rates + into[:, None] * (leaving / total), (into, total)

    def weigh(weights: Float[Array, "K"], step: tuple) -> tuple[Array, None]:
        state, into, total = step
        weight = jnp.where(state == jnp.argmax(closed), 1, jnp.sum(weights * into) / total)
        weights = jnp.where(states == state, weight, weights)
        whole = jnp.sum(weights)
        return weights / jnp.where(whole > 0, whole, 1), None

    down, (into, total) = states[::-1], jax.lax.scan(eliminate, rates, states[::-1])[1]
    weights, _ = jax.lax.scan(weigh, jnp.zeros_like(matrix[0]), (down[::-1], into[::-1], total[::-1]))
    return jnp.where(jnp.any(closed), weights, jnp.nan)


def closed_class(matrix: Float[Array, "K K"]) -> Bool[Array, "K"]:
    """The states that the chain ends in and never leaves; none where there are several such classes, or NaN.

    ValueError for several classes in a matrix that can be looked at.
    """
    size = len(matrix)
    leads = (matrix > 0) | jnp.eye(size, dtype=bool)
    for _ in range(max(size - 1, 1).bit_length()):  # paths of any length, by doubling it
        leads = multiply(leads.astype(matrix.dtype), leads.astype(matrix.dtype)) > 0
    for_good = jnp.all(~leads | leads.T, axis=1)  # whatever it leads to leads back
    first = leads[jnp.argmax(for_good)]
    several = jnp.any(for_good & ~first)
    if is_concrete(several) and bool(several):
        groups = {tuple(np.flatnonzero(row).tolist()) for row in np.asarray(leads)[np.asarray(for_good)]}
        named = " and ".join(str(list(group)) for group in sorted(groups))
        raise ValueError(
            f"initial: the transition has {len(groups)} closed classes of states, {named}, and no moves between them, "
            "so that no one distribution is stationary; pass the probabilities (K,) of the first state"
        )
    return first & for_good & ~several & ~jnp.any(jnp.isnan(matrix))


def random_like(key: Key, probs: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """Uniform on the simplex spanned by the possible outcomes."""
    draws = jnp.where(probs > 0, jax.random.exponential(key, probs.shape, probs.dtype), 0)
    return draws / jnp.sum(draws, axis=-1, keepdims=True)
