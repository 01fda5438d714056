"""Independent chains: each moves on its own, and one observation sees them all."""

from collections.abc import Callable, Sequence
from typing import final

import jax
import jax.numpy as jnp

from ssm.numeric.logspace import log_sum
from ssm.parameters import Simplex
from ssm.parameters.freezing import inner
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.transitions.base import AbstractTransition
from ssm.transitions.homogeneous import Homogeneous
from ssm.transitions.joint import AbstractJoint, along, checked_initials, outer, restarted, total


@final
class Factorial(AbstractJoint):
    """M independent chains: p(x_t | x_{t-1}) = Π_m p(x^m_t | x^m_{t-1}).

    `transitions` are matrices (K_m, K_m) or `ssm.transitions` objects; `initials` (K_m,), one each, if the chains also
    start independently. The belief is joint over all K = K_1 .. K_M states, since an observation makes chains depend
    on each other; moving it costs O(K (K_1 + .. + K_M)). Source: Ghahramani & Jordan 1997, appendix B (exact).
    """

    transitions: tuple[AbstractTransition, ...]
    _initials: tuple[Simplex | Array, ...] | None

    def __init__(self, transitions: Sequence[Array | AbstractTransition], initials: Sequence[Array] | None = None):
        if len(transitions) == 0:
            raise ValueError("transitions: expected one for each chain, got none")
        self.transitions = tuple(
            each if isinstance(each, AbstractTransition) else Homogeneous(each) for each in transitions
        )
        self._initials = None if initials is None else checked_initials(initials, self.sizes)
        _check(self.transitions)

    @property
    def sizes(self) -> tuple[int, ...]:
        """K_1 .. K_M."""
        return tuple(each.num_states for each in self.transitions)

    @property
    def num_inputs(self) -> int | None:
        """What the chains read: all that read inputs see the same ones."""
        return next((each.num_inputs for each in self.transitions if each.num_inputs != 0), 0)

    @property
    def num_steps(self) -> int | None:
        """The fewest times that a chain covers."""
        return min((each.num_steps for each in self.transitions if each.num_steps is not None), default=None)

    def prepare(self, us: PyTree, times: Int[Array, "*lead"]) -> tuple:
        """What each chain wants to see."""
        return tuple(each.prepare(us, times) for each in self.transitions)

    def push(self, probs: Float[Array, "K"], u: tuple) -> Float[Array, "K"]:
        """One chain after the other."""
        return self._through(probs, u, lambda each, u: lambda row: each.push(row, u))

    def pull(self, values: Float[Array, "K"], u: tuple) -> Float[Array, "K"]:
        """One chain after the other."""
        return self._through(values, u, lambda each, u: lambda row: each.pull(row, u))

    def push_logs(
        self, logs: Float[Array, "K"], u: tuple, add: Callable[[Array, int], Array] = log_sum
    ) -> Float[Array, "K"]:
        """One chain after the other: logarithms of products add up."""
        return self._through(logs, u, lambda each, u: lambda row: each.push_logs(row, u, add))

    def pull_logs(self, logs: Float[Array, "K"], u: tuple) -> Float[Array, "K"]:
        """One chain after the other."""
        return self._through(logs, u, lambda each, u: lambda row: each.pull_logs(row, u))

    def best(self, scores: Float[Array, "K"], u: tuple) -> Float[Array, "K"]:
        """One chain after the other."""
        return self._through(scores, u, lambda each, u: lambda row: each.best(row, u))

    def _through(self, values: Float[Array, "K"], u: tuple, move: Callable) -> Float[Array, "K"]:
        joint = values.reshape(self.sizes)
        for axis, (each, known) in enumerate(zip(self.transitions, self._known(u), strict=True)):
            joint = along(move(each, known), joint, axis)
        return joint.reshape(-1)

    def _known(self, u: tuple | None) -> tuple:
        return (None,) * len(self.transitions) if u is None else u

    def row(self, state: Int[Array, ""], u: tuple) -> Float[Array, "K"]:
        """The product of the chains' rows."""
        parts = zip(self.transitions, self.chains(state), self._known(u), strict=True)
        return outer([each.row(at, known) for each, at, known in parts])

    def column(self, state: Int[Array, ""], u: tuple) -> Float[Array, "K"]:
        """The product of the chains' columns."""
        parts = zip(self.transitions, self.chains(state), self._known(u), strict=True)
        return outer([each.column(at, known) for each, at, known in parts])

    def stationary(self) -> Float[Array, "K"]:
        """The product of the chains'."""
        return outer([each.stationary() for each in self.transitions])

    # -- learning ---------------------------------------------------------------------------------------------

    def count(self, before: Float[Array, "T K"], gain: Float[Array, "T K"], us: tuple) -> tuple:
        """What each chain counts, once the others are summed out: (T K / K_m, K_m) moves of it."""
        pull, count = lambda each: each.pull, lambda each: each.count
        return self._counted(before, gain, us, pull, count)

    def count_logs(self, before: Float[Array, "T K"], gain: Float[Array, "T K"], us: tuple) -> tuple:
        """The same, of logarithms."""
        pull, count = lambda each: each.pull_logs, lambda each: each.count_logs
        return self._counted(before, gain, us, pull, count)

    def _counted(self, before: Array, gain: Array, us: tuple, pull: Callable, count: Callable) -> tuple:
        counts = []
        for m, each in enumerate(self.transitions):
            pulled = jax.vmap(lambda row, u, m=m: self._others(row, u, m, pull))(gain, us)
            counts.append(count(each)(self._rows(before, m), self._rows(pulled, m), self._repeat(us, m)))
        return tuple(counts)

    def _others(self, gain: Float[Array, "K"], u: tuple, chain: int, pull: Callable) -> Float[Array, "K"]:
        """Pulled through every chain but one."""
        joint = gain.reshape(self.sizes)
        for axis, (each, known) in enumerate(zip(self.transitions, u, strict=True)):
            if axis != chain:
                joint = along(lambda row, each=each, known=known: pull(each)(row, known), joint, axis)
        return joint.reshape(-1)

    def _rows(self, joint: Float[Array, "T K"], chain: int) -> Float[Array, "_ size"]:
        """(T, K) to (T K / K_m, K_m)."""
        moved = jnp.moveaxis(joint.reshape(-1, *self.sizes), chain + 1, -1)
        return moved.reshape(-1, self.sizes[chain])

    def _repeat(self, us: tuple | None, chain: int) -> PyTree:
        """The inputs of one chain, for every state of the others."""
        others = self.num_states // self.sizes[chain]
        return jax.tree.map(lambda leaf: jnp.repeat(leaf, others, axis=0), self._known(us)[chain])

    def merge(self, counts: tuple) -> tuple:
        """Chain by chain."""
        return tuple(each.merge(count) for each, count in zip(self.transitions, counts, strict=True))

    def sums(self, counts: tuple) -> tuple:
        """Chain by chain."""
        return tuple(each.sums(count) for each, count in zip(self.transitions, counts, strict=True))

    def expected_log_prob(self, counts: tuple, us: tuple | None) -> Scalar:
        """The sum over the chains."""
        parts = enumerate(zip(self.transitions, counts, strict=True))
        return total(each.expected_log_prob(count, self._repeat(us, m)) for m, (each, count) in parts)

    def maximise(self, counts: tuple, us: tuple | None, frozen: frozenset[str] = frozenset()) -> "Factorial":
        """Chain by chain."""
        return self._fitted(counts, us, self.initials, frozen)

    def maximise_with_start(
        self, counts: tuple, us: tuple | None, starts: Float[Array, "K"], frozen: frozenset[str] = frozenset()
    ) -> "Factorial":
        """Chain by chain, the starts too."""
        if self.initials is None:
            pairs = zip(self.transitions, counts, self.marginals(starts), strict=True)
            each = [
                t if _held(m, frozen) else t.maximise_with_start(c, self._repeat(us, m), s, _below(m, frozen))
                for m, (t, c, s) in enumerate(pairs)
            ]
            return Factorial(each)
        return self._fitted(counts, us, self.started(starts, frozen), frozen)

    def _fitted(self, counts: tuple, us: tuple | None, initials: tuple | None, frozen: frozenset[str]) -> "Factorial":
        each = [
            t if _held(m, frozen) else t.maximise(c, self._repeat(us, m), _below(m, frozen))
            for m, (t, c) in enumerate(zip(self.transitions, counts, strict=True))
        ]
        return Factorial(each, initials)

    def log_prior(self) -> Scalar:
        """The sum over the chains."""
        return total(each.log_prior() for each in self.transitions)

    def restart(self, key: Key) -> "Factorial":
        """Each chain's."""
        keys = jax.random.split(key, len(self.transitions) + 1)
        each = [t.restart(k) for t, k in zip(self.transitions, keys[1:], strict=True)]
        return Factorial(each, restarted(keys[0], self.initials))


def _check(transitions: tuple[AbstractTransition, ...]) -> None:
    for m, each in enumerate(transitions):
        if each.has_start:
            raise ValueError(f"transitions[{m}]: it has a start of its own; leave that out and pass `initials`")
    inputs = {each.num_inputs for each in transitions if each.num_inputs != 0}
    if len(inputs) > 1:
        sizes = ", ".join(sorted(map(str, inputs)))
        raise ValueError(f"transitions: all chains see the same inputs, got chains that read {sizes} of them")


def _held(chain: int, frozen: frozenset[str]) -> bool:
    return "transitions" in frozen or f"transitions.{chain}" in frozen


def _below(chain: int, frozen: frozenset[str]) -> frozenset[str]:
    return inner(f"transitions.{chain}", frozen)
