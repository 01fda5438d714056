"""Distributions of angles on (-π, π], in radians."""

from typing import Any, final

import distrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import i0e, i1e

from ssm.distributions.families import Distribution
from ssm.distributions.mixtures import WeightedMixture
from ssm.numeric.logspace import on_support
from ssm.shapes import Array, Bool, Float, Key


class VonMises(distrax.VonMises):
    """As distrax has it, with a density that does not overflow and the variance that a circle has."""

    def log_prob(self, value: Array) -> Array:
        """κ (cos(y - loc) - 1) - log 2π I₀(κ) exp(-κ)."""
        loc, concentration = jnp.asarray(self.loc), jnp.asarray(self.concentration)
        log_density = concentration * (jnp.cos(value - loc) - 1) - jnp.log(2 * jnp.pi * i0e(concentration))
        return on_support(is_angle(value), value, log_density)

    def cdf(self, value: Array) -> Array:
        """Cumulative probability from -π on; its error is 1e-6 (Hill 1977)."""
        with jax.numpy_dtype_promotion("standard"):  # distrax multiplies booleans there
            return jnp.asarray(super().cdf(value))

    def mean(self) -> Array:
        """The direction, on (-π, π]."""
        return jnp.arctan2(jnp.sin(self.loc), jnp.cos(self.loc))

    def variance(self) -> Array:
        """-2 log R with R the mean resultant length: the square of the circular standard deviation."""
        return -2 * jnp.log(resultant_length(jnp.asarray(self.concentration)))


def is_angle(ys: Any) -> Any:
    """Which numbers are angles in radians from -π to π, to rounding."""
    return abs(ys) <= jnp.pi * (1 + 1e-6)


def von_mises(loc: Float[Array, "*event"], concentration: Float[Array, "*event"]) -> Distribution:
    """Independent von Mises components, one event."""
    return distrax.Independent(VonMises(loc, concentration), reinterpreted_batch_ndims=loc.ndim)


def resultant_length(concentration: Array) -> Array:
    """A(κ) = I₁(κ)/I₀(κ), the length of the mean direction of a von Mises distribution."""
    return i1e(concentration) / i0e(concentration)


@final
class CircularMixture(eqx.Module):
    """A mixture of products of von Mises distributions, with the moments that a circle has."""

    parts: WeightedMixture

    def log_prob(self, y: Array) -> Float[Array, ""]:
        """log Σ_i w_i p(y | i)."""
        return self.parts.log_prob(y)

    def marginal_log_prob(self, y: Array, observed: Bool[Array, "*event"]) -> Float[Array, ""]:
        """log-density of the observed components."""
        return jax.nn.logsumexp(self.parts.log_joint(y, observed))

    def sample(self, *, seed: Key) -> Array:
        """A part by its weight, then an angle."""
        return self.parts.sample(seed=seed)

    def mean(self) -> Array:
        """The direction of the mean of (cos y, sin y)."""
        cosine, sine = self._resultant()
        return jnp.arctan2(sine, cosine)

    def variance(self) -> Array:
        """-2 log R with R the length of that mean: the square of the circular standard deviation (Mardia 1972)."""
        cosine, sine = self._resultant()
        return -jnp.log(cosine**2 + sine**2)

    def _resultant(self) -> tuple[Array, Array]:
        def one(point: Any) -> tuple[Array, Array]:
            angles = self.parts.given(point).distribution
            length = resultant_length(angles.concentration)
            return length * jnp.cos(angles.loc), length * jnp.sin(angles.loc)

        weights = jax.nn.softmax(self.parts.log_weights)
        cosines, sines = jax.vmap(one)(self.parts.points)
        return jnp.tensordot(weights, cosines, 1, precision="highest"), jnp.tensordot(
            weights, sines, 1, precision="highest"
        )
