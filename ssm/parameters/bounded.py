"""Parameters whose borders are reached, probabilities of 0 or 1 and rates of 0, which stay; and discrete data."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.parameters.base import AbstractParameter, Constant
from ssm.parameters.simplex import IMPOSSIBLE, least
from ssm.shapes import Array, Bool, Float


class Probability(AbstractParameter):
    """Probabilities of one of two outcomes each, stored as logits; used as logits, which know small and large ones."""

    is_entrywise: ClassVar[bool] = True
    has_borders: ClassVar[bool] = True

    logits: Float[Array, "..."]

    def constrained(self) -> "Probability":
        """Itself: densities use the logits."""
        return self

    @property
    def probs(self) -> Float[Array, "..."]:
        """σ(logits)."""
        return jax.nn.sigmoid(self.logits)

    @property
    def log_both(self) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """log p and log(1 - p), -inf where the outcome is impossible."""
        return _log_sigmoid(self.logits), _log_sigmoid(-self.logits)

    @property
    def exact_logits(self) -> Float[Array, "..."]:
        """Logits that are infinite where an outcome is impossible."""
        return jnp.where(_is_hard(self.logits), jnp.inf * jnp.sign(self.logits), self.logits)

    def settled(self) -> "Probability":
        """0 and 1 are as near as an epsilon."""
        border = jnp.asarray(-IMPOSSIBLE, self.logits.dtype) * jnp.sign(self.logits)
        return Probability(jnp.where(jnp.abs(self.logits) > -least(self.logits), border, self.logits))

    @classmethod
    def of(cls, probs: Float[Array, "..."]) -> "Probability":
        """The parameter whose value is `probs`."""
        inside = (probs > 0) & (probs < 1)
        safe = jnp.where(inside, probs, 0.5)
        border = jnp.where(probs > 0.5, -IMPOSSIBLE, IMPOSSIBLE).astype(probs.dtype)
        return cls(jnp.where(inside | jnp.isnan(probs), jnp.log(safe) - jnp.log1p(-safe) + 0 * probs, border))


class NonNegative(AbstractParameter):
    """A non-negative array, stored as its logarithm; zeros stay exactly zero."""

    is_entrywise: ClassVar[bool] = True
    has_borders: ClassVar[bool] = True

    log: Float[Array, "..."]

    def constrained(self) -> Float[Array, "..."]:
        """exp(log)."""
        return jnp.exp(self.log)

    def settled(self) -> "NonNegative":
        """Means of counts below an epsilon are zero."""
        return NonNegative(jnp.where(self.log < least(self.log), jnp.asarray(IMPOSSIBLE, self.log.dtype), self.log))

    @classmethod
    def of(cls, value: Float[Array, "..."]) -> "NonNegative":
        """The parameter whose value is `value`."""
        return cls(
            jnp.where(value == 0, jnp.asarray(IMPOSSIBLE, value.dtype), jnp.log(jnp.where(value == 0, 1, value)))
        )


def _is_hard(logits: Array) -> Bool[Array, "..."]:
    return jnp.abs(logits) > -IMPOSSIBLE / 2


def _log_sigmoid(logits: Array) -> Array:
    hard = _is_hard(logits)
    soft = -jax.nn.softplus(-jnp.where(hard, 0, logits))
    return jnp.where(hard, jnp.where(logits > 0, 0, -jnp.inf).astype(soft.dtype), soft)


def unit_interval(name: str, array: Any) -> Array:
    """Numbers in [0, 1], (K,) or (K, N)."""
    return checks.unit_interval(name, array, checks.leading_axes(array))


def beta_counts(pseudo_counts: Any, probs: Float[Array, "K *event"]) -> tuple[Constant, Constant]:
    """(ones, zeros) beforehand, each in the shape of `probs`."""
    if not isinstance(pseudo_counts, tuple) or len(pseudo_counts) != 2:
        raise TypeError(f"pseudo_counts: expected a tuple (ones, zeros), got {type(pseudo_counts).__name__}")

    def spread(counts: Any) -> Constant:
        if checks.is_concrete(counts) and not (np.asarray(counts) >= 0).all():
            raise ValueError(f"pseudo_counts: expected numbers of at least 0, got {np.asarray(counts).min()}")
        counts = jnp.asarray(counts, probs.dtype)
        try:
            return Constant(jnp.broadcast_to(checks.where_valid(counts >= 0, counts), probs.shape))
        except ValueError as error:
            shapes = f"{np.shape(counts)} to {tuple(probs.shape)}"
            raise ValueError(
                f"pseudo_counts: expected arrays that broadcast to the shape of probs, {shapes}"
            ) from error

    ones, zeros = pseudo_counts
    return spread(ones), spread(zeros)


def dirichlet_counts(pseudo_counts: Any, probs: Float[Array, "K C"]) -> Constant:
    """How often each outcome was seen beforehand, in the shape of `probs`; one number is of all that are possible."""
    counts = checks.non_negatives("pseudo_counts", pseudo_counts, ("...",) * np.ndim(pseudo_counts))
    try:
        spread = jnp.broadcast_to(counts.astype(probs.dtype), probs.shape)
    except ValueError as error:
        shapes = f"{np.shape(pseudo_counts)} to {tuple(probs.shape)}"
        raise ValueError(f"pseudo_counts: expected arrays that broadcast to the shape of probs, {shapes}") from error
    if counts.ndim == 0:
        return Constant(jnp.where(probs > 0, spread, 0))
    if checks.is_concrete(spread) and checks.is_concrete(probs):
        wrong = (np.asarray(spread) > 0) & (np.asarray(probs) == 0)
        if wrong.any():
            k, c = np.argwhere(wrong)[0].tolist()
            raise ValueError(
                f"pseudo_counts: expected 0 for impossible outcomes, got {spread[k, c]:.6g} at ({k}, {c}), where probs "
                "is 0; give it a small probability if it can happen"
            )
    return Constant(spread)


def non_negative(name: str, array: Any) -> Array:
    """Numbers of at least zero, (K,) or (K, N)."""
    return checks.non_negatives(name, array, checks.leading_axes(array))


def counts(family: str, ys: np.ndarray, highest: int | None = None) -> None:
    """Raise ValueError unless all values are whole numbers of at least 0, and at most `highest`."""
    bad = (ys < 0) | (ys != np.round(ys))
    if highest is not None:
        bad |= ys > highest
    if bad.any():
        possible = {None: "counts 0, 1, 2, ...", 1: "0 or 1"}.get(highest, f"whole numbers from 0 to {highest}")
        raise ValueError(f"ys: a {family} emission observes {possible}, got {ys[bad][0]:.6g}")


def whole_numbers(ys: np.ndarray) -> None:
    """Raise ValueError unless all values, of symbols written as numbers, are whole."""
    bad = ys != np.round(ys)
    if bad.any():
        raise ValueError(f"ys: symbols are whole numbers, got {ys[bad][0]:.6g}")


def symbols(ys: np.ndarray, num_classes: int) -> None:
    """Raise ValueError unless all values lie in 0 .. C-1."""
    if ys.min() < 0 or ys.max() >= num_classes:
        raise ValueError(
            f"ys: symbols must lie in 0 .. {num_classes - 1} (the emission has {num_classes} classes), "
            f"got values from {ys.min()} to {ys.max()}"
        )
