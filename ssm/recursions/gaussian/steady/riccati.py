"""The covariances of a linear-Gaussian model with constant matrices: a recursion that never sees the data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssm.numeric.linalg import multiply, square
from ssm.numeric.roots import triangular_root
from ssm.numeric.trees import widen
from ssm.recursions.gaussian.system.gains import Gains
from ssm.shapes import Array, Flag, Float, Int

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


class Closed(NamedTuple):
    """What a step of the closed filter does to a mean, and to the slope of what comes after; leading axes for many.

    What is multiplied by the same vector is stacked: one product instead of two.
    """

    gains: Gains
    covariance: Float[Array, "*M D D"]  # P_{t|t-1}
    there: Float[Array, "*M D+N D"]  # F (I - K H) and H, of a mean
    push: Float[Array, "*M D N"]  # F K, of what is seen
    back: Float[Array, "*M D+N D"]  # (I - K H)ᵀ Fᵀ and Kᵀ Fᵀ, of a slope
    surprise: Float[Array, "*M D+N N"]  # Hᵀ S⁻¹ and S⁻¹, of an innovation
    information: Float[Array, "*M D D"]  # Hᵀ S⁻¹ H

    @classmethod
    def of(cls, system: System, prior: Float[Array, "D D"]) -> "Closed":
        """The step from the root of a predicted covariance."""
        gains = Gains.of(prior, system.emission, system.blur)
        loop, push = (multiply(system.transition, matrix) for matrix in (gains.kept, gains.gain))
        look = multiply(gains.whiten, gains.emission)
        stacked = jnp.concatenate([look.T, gains.whiten.T])
        return cls(
            gains,
            square(prior),
            jnp.concatenate([loop, gains.emission]),
            push,
            jnp.concatenate([loop.T, push.T]),
            multiply(stacked, gains.whiten),
            multiply(look.T, look),
        )

    @property
    def loop(self) -> Float[Array, "*M D D"]:
        """F (I - K H)."""
        return self.there[..., : self.there.shape[-1], :]


class Covariances(NamedTuple):
    """The first H steps, and what all later ones are."""

    head: Closed
    steady: Closed
    moving: Int[Array, ""]  # how many of the first steps came before the steady one
    holds: Flag  # whether later ones are alike, and no observation is certain


def settle(system: System, initial: Float[Array, "D D"], size: int, total: int, tol: float | None) -> Covariances:
    """Filter covariances from the root of the initial one: `size` steps are walked, of `total`, until they rest.

    They count as settled where a step changes no entry by more than rounding, relative to √(P_ii P_jj), and the rest
    of the way is within `tol` of it: change / (1 - ρ²), with ρ the contraction of a step.
    """
    step = lambda prior: Closed.of(system, prior)
    advance = lambda root: triangular_root(jnp.concatenate([multiply(system.transition, root), system.noise], axis=1))
    like = jax.eval_shape(step, initial)
    empty = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), like)

    def walk(carry: tuple) -> tuple:
        count, prior, record, _ = carry
        now = step(prior)
        following = advance(now.gains.root)
        record = jax.tree.map(lambda all, one: jax.lax.dynamic_update_index_in_dim(all, one, count, 0), record, now)
        return count + 1, following, record, rests(now.covariance, square(following))

    moving = lambda carry: (carry[0] < size) & ~carry[3]
    count, prior, head, still = jax.lax.while_loop(moving, walk, (0, initial, empty, jnp.zeros((), bool)))
    steady = step(prior)
    head = jax.tree.map(lambda all, one: _from(jnp.asarray(count), all, one), head, steady)
    loop = steady.loop
    for _ in range(DOUBLINGS):
        loop = multiply(loop, loop)
    shrinks = jnp.sum(loop**2) ** (1 / 2**DOUBLINGS)  # ρ²
    eps = jnp.finfo(initial.dtype).eps
    limit = TOLERANCE * eps if tol is None else tol
    settled = (still & (REST * eps <= limit * (1 - shrinks))) | (size >= total)
    clear = ~jnp.any(head.gains.empty) & ~steady.gains.empty
    return Covariances(head, steady, jnp.asarray(count), settled & clear)


def _from(count: Array, record: Array, steady: Array) -> Array:
    """The record up to `count`, the steady entry beyond it."""
    walked = jnp.arange(record.shape[0]) < count
    return jnp.where(widen(walked, record.ndim), record, steady)


def rests(old: Float[Array, "D D"], new: Float[Array, "D D"]) -> Flag:
    """Whether no entry of a covariance changes by more than rounding, relative to its variances."""
    scale = jnp.sqrt(jnp.diagonal(new))
    return jnp.all(jnp.abs(new - old) <= REST * jnp.finfo(new.dtype).eps * scale[:, None] * scale)
