"""Sufficient statistics of normals: means, and deviations from them."""

from typing import Any

import equinox as eqx

from ssm.logspace import ratio
from ssm.shapes import Array, Float


class Moments(eqx.Module):
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


class Scatters(eqx.Module):
    """As `Moments`, with the matrices of products of deviations."""

    count: Float[Array, "K"]
    mean: Float[Array, "K N"]
    scatter: Float[Array, "K N N"]

    def around(self, centre: Float[Array, "K N"]) -> Float[Array, "K N N"]:
        """Products of deviations from another centre."""
        return self.scatter + self.count[:, None, None] * _products(self.mean - centre)

    def blend(self, other: "Scatters", rate: Array) -> "Scatters":
        """As for `Moments`."""
        count, share, mean, difference = _blend_means(self, other, rate)
        scatter = (1 - rate) * self.scatter + rate * other.scatter
        between = ((1 - rate) * self.count)[:, None, None] * share[:, :, None] * _products(difference)
        return Scatters(count, mean, scatter + between)


def _blend_means(old: Any, new: Any, rate: Array) -> tuple[Array, Array, Array, Array]:
    """Blended count, the share of it that is new, the blended mean, and the difference of the two means."""
    count = (1 - rate) * old.count + rate * new.count
    share = ratio(rate * new.count, count)
    share = share.reshape(share.shape + (1,) * (old.mean.ndim - share.ndim))
    difference = new.mean - old.mean
    return count, share, old.mean + share * difference, difference


def _products(vectors: Float[Array, "K N"]) -> Float[Array, "K N N"]:
    return vectors[:, :, None] * vectors[:, None, :]
