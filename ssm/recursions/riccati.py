"""The covariances of a linear-Gaussian model with constant matrices: a recursion that never sees the data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssm.conditioning import condition
from ssm.linalg import add_up, multiply, square
from ssm.roots import empty_pivots, solve_lower, triangular_root
from ssm.shapes import Array, Flag, Float
from ssm.trees import widen

# An entry of a covariance has come to rest when it changes by less than this many epsilons in a step, and what is
# left of the way, a geometric series, may be TOLERANCE epsilons.
REST, TOLERANCE = 8, 2048
DOUBLINGS = 6  # the contraction of a step is measured over 2⁶ of them


class System(NamedTuple):
    """Constant matrices: x_t = transition x_{t-1} + noise ε,  y_t = emission x_t + blur ε."""

    transition: Float[Array, "D D"]
    noise: Float[Array, "D D"]
    emission: Float[Array, "N D"]
    blur: Float[Array, "N N"]


class Gains(NamedTuple):
    """What one filter step does to a covariance, and to a mean, whatever is observed; leading axes for many."""

    prior: Float[Array, "*M D D"]  # root of P_{t|t-1}
    root: Float[Array, "*M D D"]  # root of P_{t|t}
    emission: Float[Array, "*M N D"]  # H
    gain: Float[Array, "*M D N"]  # K = P Hᵀ S⁻¹, with the innovation covariance S = H P Hᵀ + R
    whiten: Float[Array, "*M N N"]  # S^-½
    log_scale: Float[Array, "*M"]  # log det S^½
    empty: Flag | Array  # whether S is singular

    @classmethod
    def of(cls, prior: Float[Array, "D D"], emission: Float[Array, "N D"], blur: Float[Array, "N N"]) -> "Gains":
        """Those of one step."""
        innovation, cross, root = condition(emission, prior, blur)
        whiten = solve_lower(innovation, jnp.eye(len(innovation), dtype=innovation.dtype))
        empty = empty_pivots(innovation)
        scales = jnp.where(empty, 1, jnp.diagonal(innovation))
        gain = multiply(cross, whiten)
        return cls(prior, root, emission, gain, whiten, jnp.sum(jnp.log(scales)), jnp.any(empty))

    @property
    def kept(self) -> Float[Array, "*M D D"]:
        """I - K H: what is left of a prior mean."""
        return jnp.eye(self.prior.shape[-1], dtype=self.prior.dtype) - multiply(self.gain, self.emission)


class Covariances(NamedTuple):
    """The first H steps, and what all later ones are."""

    head: Gains
    steady: Gains
    holds: Flag  # whether they are, and no observation is certain


def settle(system: System, initial: Float[Array, "D D"], size: int, total: int, tol: float | None) -> Covariances:
    """Filter covariances from the root of the initial one: `size` steps are walked, of `total`, until they rest.

    They count as settled where a step changes no entry by more than rounding, relative to √(P_ii P_jj), and the rest
    of the way is within `tol` of it: change / (1 - ρ²), with ρ the contraction of a step.
    """
    step = lambda prior: Gains.of(prior, system.emission, system.blur)
    advance = lambda root: triangular_root(jnp.concatenate([multiply(system.transition, root), system.noise], axis=1))
    like = jax.eval_shape(step, initial)
    empty = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), like)

    def walk(carry: tuple) -> tuple:
        count, prior, record, _ = carry
        now = step(prior)
        following = advance(now.root)
        record = jax.tree.map(lambda all, one: jax.lax.dynamic_update_index_in_dim(all, one, count, 0), record, now)
        return count + 1, following, record, _rests(square(prior), square(following))

    moving = lambda carry: (carry[0] < size) & ~carry[3]
    count, prior, head, still = jax.lax.while_loop(moving, walk, (0, initial, empty, jnp.zeros((), bool)))
    steady = step(prior)
    head = jax.tree.map(lambda all, one: _from(jnp.asarray(count), all, one), head, steady)
    loop = multiply(system.transition, steady.kept)
    for _ in range(DOUBLINGS):
        loop = multiply(loop, loop)
    shrinks = jnp.sum(loop**2) ** (1 / 2**DOUBLINGS)  # ρ²
    eps = jnp.finfo(initial.dtype).eps
    limit = TOLERANCE * eps if tol is None else tol
    settled = (still & (REST * eps <= limit * (1 - shrinks))) | (size >= total)
    return Covariances(head, steady, settled & ~jnp.any(head.empty) & ~steady.empty)


class Relaxed(NamedTuple):
    """A covariance at all times, walked back from the end: as many at the start and at the end as differ."""

    head: Float[Array, "H D D"]
    middle: Float[Array, "D D"]
    tail: Float[Array, "E D D"]
    holds: Flag

    @property
    def all(self) -> Float[Array, "M D D"]:
        """M = H + 1 + E of them, in time."""
        return jnp.concatenate([self.head, self.middle[None], self.tail])


class Backward(NamedTuple):
    """X_{t-1} = matrix_t X_t matrix_tᵀ + added_t."""

    matrix: Float[Array, "*H D D"]
    added: Float[Array, "*H D D"]

    def apply(self, later: Float[Array, "*H D D"]) -> Float[Array, "*H D D"]:
        """One step back."""
        return multiply(self.matrix, later, jnp.swapaxes(self.matrix, -1, -2)) + self.added


def relax(last: Float[Array, "D D"], steady: Backward, head: Backward, size: int) -> Relaxed:
    """From the last X: `size` steps back that are all alike, until they rest, and then those of the head."""

    def walk(carry: tuple) -> tuple:
        count, later, record, _ = carry
        before = steady.apply(later)
        record = jax.lax.dynamic_update_index_in_dim(record, later, size - 1 - count, 0)
        return count + 1, before, record, _rests(later, before)

    moving = lambda carry: (carry[0] < size) & ~carry[3]
    start = (0, last, jnp.zeros((max(size, 1), *last.shape), last.dtype), jnp.zeros((), bool))
    count, middle, tail, still = jax.lax.while_loop(moving, walk, start)
    tail = jnp.where((jnp.arange(size) < size - count)[:, None, None], middle, tail[:size])
    back = lambda later, each: (each.apply(later), later)
    return Relaxed(jax.lax.scan(back, middle, head, reverse=True)[1], middle, tail, still)


def weighted(weights: Float[Array, "M"], array: Float[Array, "M I J"]) -> Float[Array, "I J"]:
    """Σ_m weights_m array_m."""
    return add_up(weights[:, None, None] * array)


def _from(count: Array, record: Array, steady: Array) -> Array:
    """The record up to `count`, the steady entry beyond it."""
    walked = jnp.arange(record.shape[0]) < count
    return jnp.where(widen(walked, record.ndim), record, steady)


def _rests(old: Float[Array, "D D"], new: Float[Array, "D D"]) -> Flag:
    """Whether no entry of a covariance changes by more than rounding, relative to its variances."""
    scale = jnp.sqrt(jnp.diagonal(new))
    return jnp.all(jnp.abs(new - old) <= REST * jnp.finfo(new.dtype).eps * scale[:, None] * scale)
