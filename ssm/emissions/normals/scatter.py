"""Sufficient statistics of normals: means, and deviations from them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssm.emissions.common.components import UNROLLED, each_component, row_sums
from ssm.emissions.common.floors import inverse_trace, smallest_scales
from ssm.numeric.linalg import multiply, multiply_rows
from ssm.numeric.logspace import ratio
from ssm.numeric.roots import semidefinite_root
from ssm.numeric.trees import AbstractSums, widen
from ssm.shapes import Array, Flag, Float

# Around a first mean, and around the one that this corrects.
PASSES = 2
# Ten bits may be lost, and so much of the smallest variance of any direction: the likelihood loses the square of it.
LARGEST_MOMENT, SHARE_LOST = 1024, 1e-3


class Moments(AbstractSums):
    """Weighted count, mean and squared deviations from that mean, for every state and component.

    Around the mean, not around zero: float32 keeps its digits where the mean is large beside the spread.
    """

    count: Float[Array, "K *event"]
    mean: Float[Array, "K *event"]
    scatter: Float[Array, "K *event"]

    def around(self, centre: Float[Array, "K *event"]) -> Float[Array, "K *event"]:
        """Squared deviations from another centre."""
        return self.scatter + self.count * (self.mean - centre) ** 2

    def blend(self, other: "Moments", rate: Array) -> "Moments":
        """Statistics of (1 - rate) of this batch and `rate` of the other (Chan, Golub & LeVeque 1983, eq. 2.1)."""
        count, share, mean, difference = _blend_means(self, other, rate)
        scatter = (1 - rate) * self.scatter + rate * other.scatter
        return Moments(count, mean, scatter + (1 - rate) * self.count * share * difference**2)


class Scatters(AbstractSums):
    """As `Moments`, with the matrices of products of deviations."""

    count: Float[Array, "*batch"]
    mean: Float[Array, "*batch N"]
    scatter: Float[Array, "*batch N N"]

    @classmethod
    def of(cls, weights: Float[Array, "M"], rows: Float[Array, "M N"]) -> "Scatters":
        """Those of M weighted rows; zero if nothing weighs."""
        count = jnp.sum(weights)
        mean = ratio(multiply(weights, rows), count)
        centred = rows - mean
        # What rounding left of the mean, which large numbers make large beside small deviations.
        left = ratio(multiply(weights, centred), count)
        centred = centred - left
        return cls(count, mean + left, multiply((weights[:, None] * centred).T, centred))

    def around(self, centre: Float[Array, "*batch N"]) -> Float[Array, "*batch N N"]:
        """Products of deviations from another centre."""
        return self.scatter + self.count[..., None, None] * _products(self.mean - centre)

    def blend(self, other: "Scatters", rate: Array) -> "Scatters":
        """As for `Moments`."""
        count, share, mean, difference = _blend_means(self, other, rate)
        scatter = (1 - rate) * self.scatter + rate * other.scatter
        between = ((1 - rate) * self.count)[..., None, None] * share[..., None] * _products(difference)
        return Scatters(count, mean, scatter + between)

    def smallest(self, loc: Float[Array, "K N"]) -> Float[Array, "K N"]:
        """`smallest_scales` of K states around `loc`."""
        count = jnp.broadcast_to(self.count[:, None], loc.shape)
        scatter = jnp.diagonal(self.scatter, axis1=1, axis2=2) + count * (self.mean - loc) ** 2
        return smallest_scales(count, loc, ratio(scatter, count))

    def plus(self, extra: Float[Array, "*batch N N"]) -> "Scatters":
        """With what is not seen of the deviations added."""
        return Scatters(self.count, self.mean, self.scatter + extra)


def _blend_means(old: Any, new: Any, rate: Array) -> tuple[Array, Array, Array, Array]:
    """Blended count, the share of it that is new, the blended mean, and the difference of the two means."""
    count = (1 - rate) * old.count + rate * new.count
    share = ratio(rate * new.count, count)
    share = widen(share, old.mean.ndim)
    difference = new.mean - old.mean
    return count, share, old.mean + share * difference, difference


def _products(vectors: Float[Array, "*batch N"]) -> Float[Array, "*batch N N"]:
    return vectors[..., :, None] * vectors[..., None, :]


def moments_of(
    columns: Float[Array, "K M"],
    ys: Float[Array, "M *event"],
    seen: Float[Array, "M *event"] | None,
    centre: Float[Array, "*event"],
) -> Moments:
    """Counts, means and squared deviations around them, by one matrix product if that keeps the digits.

    A difference of two moments loses the digits that they share: at most six bits here. Where a state lies further from
    the common centre than that, each is gone through again around its own mean, which is then corrected, too.
    """
    count, first, second = powers_of(columns, ys - centre, seen)
    offset = ratio(first, count)
    scatter = second - first * offset

    def lost(carry: tuple) -> Array:
        _, scatter, second, passes = carry
        return (passes < PASSES) & jnp.any(scatter * 64 < second)

    def again(carry: tuple) -> tuple:
        mean, _, _, passes = carry
        first, second = powers_around(columns, ys, seen, mean)
        offset = ratio(first, count)
        return mean + offset, second - first * offset, second, passes + 1

    begin = (centre + offset, scatter, second, jnp.zeros((), int))
    mean, scatter, _, _ = jax.lax.while_loop(lost, again, begin)
    return Moments(count, mean, jnp.maximum(scatter, 0))


def scatters_of(columns: Float[Array, "K M"], ys: Float[Array, "M N"], centre: Float[Array, "N"]) -> Scatters:
    """`Scatters` of K states, by one matrix product around a `centre` if that keeps the digits.

    It does where the centre is not far from the means. Else each is gone through around its own mean.
    """
    one_by_one = lambda: jax.vmap(Scatters.of, (0, None))(columns, ys)
    size = ys.shape[1]
    if size > UNROLLED:
        return one_by_one()
    rows = (ys - centre).T
    i, j = np.tril_indices(size)
    sums = multiply_rows(columns, jnp.concatenate([jnp.ones_like(rows[:1]), rows, rows[i] * rows[j]]))
    place = np.zeros((size, size), int)
    place[i, j] = place[j, i] = np.arange(len(i))  # where the product of two components stands among the others
    count, first, second = sums[:, 0], sums[:, 1 : size + 1], sums[:, size + 1 :][:, place]
    offset = ratio(first, count[:, None])
    scatter = second - first[:, :, None] * offset[:, None]
    found = Scatters(count, centre + offset, scatter)
    return jax.lax.cond(_keeps_digits(count, second, scatter), lambda: found, one_by_one)


def _keeps_digits(count: Float[Array, "K"], second: Float[Array, "K N N"], scatter: Float[Array, "K N N"]) -> Flag:
    """Whether what a difference of moments has lost is little, even beside the smallest variance of any direction."""
    moments, variances = (jnp.diagonal(array, axis1=1, axis2=2) for array in (second, scatter))
    known = (variances > 0) & (count > 0)[:, None]
    scale = jnp.sqrt(jnp.where(known, variances, 1))
    # In units of the standard deviations: rounding grows as moments are larger than variances.
    smallest = 1 / inverse_trace(jax.vmap(semidefinite_root)(scatter), scale)
    grown = jnp.max(moments / scale**2, axis=1)
    lost = grown * float(jnp.finfo(scatter.dtype).eps)
    kept = jnp.all(known, axis=1) & (grown <= LARGEST_MOMENT) & (SHARE_LOST * smallest >= lost)
    return jnp.all(kept | (count == 0))


def powers_of(
    columns: Float[Array, "K M"], ys: Float[Array, "M *event"], seen: Float[Array, "M *event"] | None
) -> tuple[Float[Array, "K *event"], ...]:
    """Σ_m weights, Σ_m weights y and Σ_m weights y² over what was seen, for every state and component."""
    rows = ys.reshape(len(ys), -1).T  # (N, M): a product over long rows is twice as fast as one over columns
    there = jnp.ones_like(rows[:1]) if seen is None else seen.reshape(len(ys), -1).T
    powers = jnp.concatenate([there, rows * there, rows**2 * there])
    sums = multiply_rows(columns, powers)
    each = jnp.split(sums, [len(there), len(there) + len(rows)], axis=1)
    return tuple(jnp.broadcast_to(part.reshape(-1, *_event(part, ys)), (len(columns), *ys.shape[1:])) for part in each)


def _event(part: Float[Array, "K J"], ys: Float[Array, "M *event"]) -> tuple[int, ...]:
    """The shape of J numbers per state: one for each component, or one for all."""
    return ys.shape[1:] if part.shape[1] == max(ys[0].size, 1) else (1,) * (ys.ndim - 1)


def powers_around(
    columns: Float[Array, "K M"],
    ys: Float[Array, "M *event"],
    seen: Float[Array, "M *event"] | None,
    loc: Float[Array, "K *event"],
) -> tuple[Float[Array, "K *event"], Float[Array, "K *event"]]:
    """Σ_m weights (y - loc) and Σ_m weights (y - loc)² over what was seen."""

    def component(
        ys: Float[Array, "M"], seen: Float[Array, "M"] | None, loc: Float[Array, "K"]
    ) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
        weights = columns if seen is None else columns * seen
        away = ys - loc[:, None]
        return row_sums(weights * away), row_sums(weights * away**2)

    return each_component(component, (ys, seen), loc)
