"""Symbols: p(y = c | x = k) = probs[k, c]."""

from typing import final

import jax
import jax.numpy as jnp
import numpy as np

from ssm.beliefs.likelihoods import ScaledLikelihood
from ssm.distributions import Distribution, categorical
from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.components import UNROLLED, weights_seen
from ssm.numeric import checks
from ssm.numeric.linalg import row_times_matrix
from ssm.numeric.logspace import dot_log, log, ratio
from ssm.parameters import Constant, Simplex, value
from ssm.parameters.bounded import dirichlet_counts, symbols
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar


@final
class Categorical(AbstractEmission):
    """One of C symbols, 0 .. C-1, with probabilities (K, C).

    Hard zeros stay zero in training. Raises ValueError unless every row sums to one.
    M-step: probs[k, c] = Σ_t w_tk [y_t = c] / Σ_t w_tk (Rabiner 1989, eq. 40c).

    `pseudo_counts`, one number for all symbols that are possible or an array that broadcasts to (K, C), is a Dirichlet
    prior of concentrations 1 + pseudo_counts: that many observations beforehand. With a few of them no symbol becomes
    impossible because it was not seen in training, which would make the evidence of new data -inf.
    """

    _probs: Simplex | Float[Array, "K C"]
    _pseudo_counts: Constant | Float[Array, "K C"] | None

    def __init__(self, probs: Array, pseudo_counts: Array | float | None = None):
        probs = checks.probabilities("probs", probs, ("K", "C"))
        self._probs = Simplex.of(probs)
        self._pseudo_counts = None if pseudo_counts is None else dirichlet_counts(pseudo_counts, probs)

    @property
    def probs(self) -> Float[Array, "K C"]:
        """Probability of each symbol in each state."""
        return value(self._probs)

    @property
    def pseudo_counts(self) -> Float[Array, "K C"] | None:
        """Symbols beforehand: Dirichlet concentrations less one."""
        return value(self._pseudo_counts)

    def log_prior(self) -> Scalar:
        """Σ_kc pseudo_counts log probs, up to a constant."""
        prior = self.pseudo_counts
        return jnp.zeros((), self.probs.dtype) if prior is None else dot_log(prior, self.probs)

    @property
    def num_states(self) -> int:
        """K."""
        return self.probs.shape[0]

    @property
    def num_classes(self) -> int:
        """C."""
        return self.probs.shape[1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """()."""
        return ()

    @property
    def event_kind(self) -> str:
        """ "symbol"."""
        return "symbol"

    def log_likelihoods(
        self, ys: Int[Array, "T"], us: PyTree, observed: Bool[Array, "T"] | None = None
    ) -> Float[Array, "T K"]:
        """Column y_t of log probs; NaN, which poisons the evidence, for a symbol out of range under jit."""
        if self.num_classes <= UNROLLED:
            return self.rows(ys, us, observed).T
        return _with_poison(log(self.probs).T).at[self._rows(ys)].get(mode="promise_in_bounds")

    def rows(self, ys: Int[Array, "M"], us: PyTree, observed: Bool[Array, "M"] | None = None) -> Float[Array, "K M"]:
        """See `AbstractEmission.rows`; of few symbols by comparison, a seventh of the time of looking them up."""
        if self.num_classes > UNROLLED:
            return self.log_likelihoods(ys, us, observed).T
        table = log(self.probs)
        rows = jnp.full((len(table), len(ys)), jnp.nan, table.dtype)
        for symbol in range(self.num_classes):
            rows = jnp.where(ys == symbol, table[:, symbol, None], rows)
        return rows

    def quicken(
        self, ys: Int[Array, "T"], us: PyTree, observed: Bool[Array, "T"] | None = None
    ) -> tuple["Tabulated", Int[Array, "T"]]:
        """One exponential per symbol and state, not per time and state; rows are looked up inside the scan."""
        table = ScaledLikelihood.of(log(self.probs).T)
        return Tabulated(_with_poison(table.weights), _with_poison(table.shift)), self._rows(ys)

    def side_by_side(
        self, ys: Int[Array, "M"], us: PyTree, observed: Bool[Array, "M"] | None, seen: Bool[Array, "L C"]
    ) -> tuple[Float[Array, "L K C"], Float[Array, "L C"]]:
        """See `AbstractEmission.side_by_side`; columns are looked up step by step."""
        table, ys = self.quicken(ys, us, observed)
        weights = table.weights.T  # (K, R)

        def one(step: tuple[Array, Array]) -> tuple[Array, Array]:
            ys, seen = step
            look_up = lambda array: array.at[..., ys].get(mode="promise_in_bounds")
            return jnp.where(seen, look_up(weights), 1), jnp.where(seen, look_up(table.shift), 0)

        return jax.lax.map(one, (ys.reshape(seen.shape), seen))

    def log_side_by_side(
        self, ys: Int[Array, "M"], us: PyTree, observed: Bool[Array, "M"] | None, seen: Bool[Array, "L C"]
    ) -> Float[Array, "L K C"]:
        """See `AbstractEmission.log_side_by_side`; columns are looked up step by step."""
        table = _with_poison(log(self.probs).T).T  # (K, R)

        def one(step: tuple[Array, Array]) -> Array:
            ys, seen = step
            return jnp.where(seen, table.at[:, ys].get(mode="promise_in_bounds"), 0)

        return jax.lax.map(one, (self._rows(ys).reshape(seen.shape), seen))

    def _rows(self, ys: Int[Array, "T"]) -> Int[Array, "T"]:
        """Rows of a table of C symbols and, for symbols out of range, one more."""
        return jnp.where((ys >= 0) & (ys < self.num_classes), ys, self.num_classes)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Row `state`."""
        return categorical(self.probs[state])

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """The mixed row: again categorical."""
        return categorical(row_times_matrix(probs, self.probs))

    def sums(
        self, weights: Float[Array, "M K"], ys: Int[Array, "M"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> Float[Array, "K C"]:
        """Expected counts of the symbols."""
        return jax.ops.segment_sum(weights_seen(weights, observed), ys, self.num_classes).T

    def fitted(self, sums: Float[Array, "K C"], frozen: frozenset[str] = frozenset()) -> "Categorical":
        """Expected counts, and those from before, normalised."""
        if "probs" in frozen:
            return self
        prior = self.pseudo_counts
        sums = sums if prior is None else sums + prior
        total = jnp.sum(sums, axis=1, keepdims=True)
        return Categorical(jnp.where(total > 0, ratio(sums, total), self.probs), prior)

    def restart(self, key: Key, ys: Int[Array, "M"], us: PyTree, observed: Bool[Array, "M"] | None) -> "Categorical":
        """`from_data`, on the symbols that are possible in each state."""
        new = Categorical.from_data(key, self.num_states, ys, observed, self.num_classes).probs
        kept = jnp.where(self.probs > 0, new, 0)
        return Categorical(kept / jnp.sum(kept, axis=1, keepdims=True), self.pseudo_counts)

    def validate(self, ys: np.ndarray) -> None:
        """Symbols must lie in 0 .. C-1."""
        symbols(ys, self.num_classes)

    @classmethod
    def random(cls, key: Key, num_states: int, num_classes: int) -> "Categorical":
        """Rows drawn uniformly from the simplex."""
        checks.positive_int("num_states", num_states)
        checks.positive_int("num_classes", num_classes)
        return cls(jax.random.dirichlet(key, jnp.ones(num_classes), (num_states,)))

    @classmethod
    def from_data(
        cls,
        key: Key,
        num_states: int,
        ys: Int[Array, "M"],
        observed: Bool[Array, "M"] | None = None,
        num_classes: int | None = None,
    ) -> "Categorical":
        """Symbol frequencies of the data, each state's tilted at random.

        `num_classes` defaults to the largest symbol plus one, which needs concrete data.
        """
        checks.positive_int("num_states", num_states)
        ys = jnp.asarray(ys)
        if ys.ndim != 1 or not jnp.issubdtype(ys.dtype, jnp.integer):
            raise TypeError(
                f"ys: expected symbols, integers (M,), got {ys.dtype} {tuple(ys.shape)}; flatten a batch first"
            )
        num_classes = num_classes or int(jnp.max(ys)) + 1
        seen = jnp.ones(ys.shape) if observed is None else jnp.asarray(observed).astype(jnp.zeros(()).dtype)
        frequency = jax.ops.segment_sum(seen, ys, num_classes) + 1  # add-one: no state starts with a hard zero
        tilt = jax.random.dirichlet(key, jnp.ones(num_classes), (num_states,))
        probs = frequency * (tilt + 1 / num_classes)
        return cls(probs / jnp.sum(probs, axis=1, keepdims=True))


class Tabulated(AbstractEmission):
    """A categorical emission as the table of its scaled likelihoods, for the inside of a scan."""

    weights: Float[Array, "R K"]
    shift: Float[Array, "R"]

    @property
    def num_states(self) -> int:
        """K."""
        return self.weights.shape[1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """()."""
        return ()

    def likelihood(self, prepared: Int[Array, ""]) -> ScaledLikelihood:
        """Row `prepared`."""
        row = lambda table: jax.lax.dynamic_index_in_dim(table, prepared, keepdims=False)
        return ScaledLikelihood(row(self.weights), row(self.shift))


def _with_poison(table: Float[Array, "C *K"]) -> Float[Array, "R *K"]:
    """A table with one more row, of NaN."""
    return jnp.concatenate([table, jnp.full_like(table[:1], jnp.nan)])
