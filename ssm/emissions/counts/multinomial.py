"""How often each of N outcomes came up: p(y | x = k) = total! Π_n probs[k, n]^y_n / y_n!."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution, keeps_digits, log_poisson, multinomial
from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.components import by_component, sum_components, weights_seen
from ssm.emissions.common.seeds import average, rows_of, spread_out
from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import dot_log, log, on_support, ratio
from ssm.parameters import Constant, Simplex, value
from ssm.parameters.bounded import counts, dirichlet_counts
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar


@final
class Multinomial(AbstractEmission):
    """Vectors of N counts that add up to `total`, with outcome probabilities `probs` (K, N).

    log p = log total! + Σ_n [y_n log probs - log y_n!]. Missing counts together are one outcome more, which took the
    rest of the trials. Hard zeros stay zero. Observations that are no whole numbers 0 .. total raise ValueError;
    counts that do not add up to `total` are impossible, with evidence -inf.

    M-step: Σ_t w_tk y_tn, normalised; missing counts at what is expected of them given the others, which climbs
    (Dempster, Laird & Rubin 1977, section 1). `pseudo_counts`, of outcomes, as of symbols in `Categorical`.
    """

    _probs: Simplex | Float[Array, "K N"]
    _pseudo_counts: Constant | Float[Array, "K N"] | None
    total: int = eqx.field(static=True)

    def __init__(self, total: int, probs: Array, pseudo_counts: Array | float | None = None):
        self.total = checks.positive_int("total", total)
        probs = checks.probabilities("probs", probs, ("K", "N"))
        self._probs = Simplex.of(probs)
        self._pseudo_counts = None if pseudo_counts is None else dirichlet_counts(pseudo_counts, probs)
        if self._probs.logits.shape[1] < 2:
            raise ValueError("probs: expected at least two outcomes (K, N), got one")

    @property
    def probs(self) -> Float[Array, "K N"]:
        """Probability of each outcome in each state."""
        return value(self._probs)

    @property
    def pseudo_counts(self) -> Float[Array, "K N"] | None:
        """Outcomes beforehand: Dirichlet concentrations less one."""
        return value(self._pseudo_counts)

    def log_prior(self) -> Scalar:
        """Σ_kn pseudo_counts log probs, up to a constant."""
        prior = self.pseudo_counts
        return jnp.zeros((), self.probs.dtype) if prior is None else dot_log(prior, self.probs)

    @property
    def num_states(self) -> int:
        """K."""
        return self.probs.shape[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(N,)."""
        return self.probs.shape[1:]

    def log_likelihoods(
        self, ys: Float[Array, "T N"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """One matrix product, and one more for the missing counts."""
        seen = observed if observed is not None and observed.ndim == 2 else jnp.ones_like(ys, bool)
        inside = (ys >= 0) & (ys == jnp.round(ys))
        known = jnp.where(seen, ys, 0)
        counted = jnp.where(inside & seen, ys, 0)
        rest, left = self._rest(known, seen)
        fits = (rest >= 0) & ((rest == 0) | jnp.any(~seen, axis=1)) & jnp.all(inside | ~seen, axis=1)
        if not keeps_digits(self.total, ys.dtype):
            values = self._one_by_one(counted, seen, jnp.maximum(rest, 0), left)
            return values + on_support(fits, jnp.sum(known, axis=1))[:, None]
        lgamma = jax.lax.lgamma
        whole = lgamma(jnp.asarray(self.total + 1, ys.dtype))
        ways = whole - jnp.sum(lgamma(counted + 1), axis=1) - lgamma(jnp.maximum(rest, 0) + 1)
        base = on_support(fits, jnp.sum(known, axis=1), ways)
        hard = self.probs == 0
        values = multiply(counted, jnp.where(hard, 0, log(self.probs)).T)
        against = multiply(counted, hard.T.astype(ys.dtype)) > 0
        remaining = (rest > 0)[:, None]
        values = values + jnp.where(remaining, rest[:, None] * log(jnp.where(remaining, left, 1)), 0)
        return jnp.where(against, -jnp.inf, values) + base[:, None]

    def _one_by_one(
        self, counted: Float[Array, "T N"], seen: Bool[Array, "T N"], rest: Float[Array, "T"], left: Float[Array, "T K"]
    ) -> Float[Array, "T K"]:
        """As Poisson counts, given what they add up to: large terms of a product would round each other away."""
        total = jnp.asarray(self.total, counted.dtype)
        one = lambda y, probs: log_poisson(y, total * probs, jnp.log(total) + log(probs))
        together = log_poisson(total, total, jnp.log(total))
        return sum_components(one, (counted,), seen, self.probs) + one(rest[:, None], left) - together

    def _rest(self, known: Float[Array, "T N"], seen: Bool[Array, "T N"]) -> tuple[Array, Array]:
        """How many trials the missing outcomes took (T,), and their probability together (T, K)."""
        left = multiply((~seen).astype(known.dtype), self.probs.T)
        return self.total - jnp.sum(known, axis=1), left

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Counts of one row."""
        return multinomial(self.total, self.probs[state])

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M N"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> Float[Array, "K N"]:
        """Expected counts of every outcome in every state."""
        if observed is not None and observed.ndim == 1:
            weights, observed = weights_seen(weights, observed), None
            ys = jnp.where(jnp.any(weights > 0, axis=1)[:, None], ys, 0)
        seen = by_component(observed, ys)
        if seen is None:
            return multiply(weights.T, ys)
        known = jnp.where(seen, ys, 0)
        rest, left = self._rest(known, seen)
        weights = weights_seen(weights, seen)  # nothing seen: nothing learnt
        each = ratio(weights * rest[:, None], left)
        return multiply(weights.T, known) + self.probs * multiply(each.T, (~seen).astype(ys.dtype))

    def fitted(self, sums: Float[Array, "K N"], frozen: frozenset[str] = frozenset()) -> "Multinomial":
        """Expected counts, and those from before, normalised."""
        if "probs" in frozen:
            return self
        prior = self.pseudo_counts
        sums = sums if prior is None else sums + prior
        total = jnp.sum(sums, axis=1, keepdims=True)
        return Multinomial(self.total, jnp.where(total > 0, ratio(sums, total), self.probs), prior)

    def restart(
        self, key: Key, ys: Float[Array, "M N"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "Multinomial":
        """`from_data`, on the outcomes that are possible in each state."""
        new = Multinomial.from_data(key, self.num_states, self.total, ys, observed).probs
        kept = jnp.where(self.probs > 0, new, 0)
        return Multinomial(self.total, kept / jnp.sum(kept, axis=1, keepdims=True), self.pseudo_counts)

    def validate(self, ys: np.ndarray) -> None:
        """Whole numbers 0 .. total."""
        counts("Multinomial", ys, self.total)

    @classmethod
    def random(cls, key: Key, num_states: int, total: int, num_outcomes: int) -> "Multinomial":
        """Rows drawn uniformly from the simplex."""
        size = checks.positive_int("num_outcomes", num_outcomes)
        return cls(total, jax.random.dirichlet(key, jnp.ones(size), (checks.positive_int("num_states", num_states),)))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, total: int, ys: Float[Array, "M N"], observed: Bool[Array, "M"] | None = None
    ) -> "Multinomial":
        """Halfway between the frequencies of the data and data points drawn far apart."""
        ys, observed = rows_of(ys, observed)
        points = spread_out(key, checks.positive_int("num_states", num_states), ys, observed)
        mixed = points + average(ys, observed) + 0.01 * total / ys.shape[1]  # no state starts with a hard zero
        return cls(total, mixed / jnp.sum(mixed, axis=1, keepdims=True))
