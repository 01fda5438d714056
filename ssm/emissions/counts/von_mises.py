"""Angles: p(y | x = k) = Π_n exp(concentration[k, n] cos(y_n - loc[k, n])) / 2π I₀(concentration[k, n])."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e

from ssm.distributions import (
    CircularMixture,
    Distribution,
    WeightedMixture,
    is_angle,
    keeps_digits,
    resultant_length,
    von_mises,
)
from ssm.emissions.common.components import sum_components
from ssm.emissions.common.seeds import average, rows_of, spread_out, state_shape
from ssm.emissions.counts.exponential_family import AbstractExponentialFamily, WeightedSums
from ssm.numeric import checks
from ssm.numeric.find_root import increasing_root
from ssm.numeric.logspace import log, on_support
from ssm.parameters import Positive, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree

SMALLEST_CONCENTRATION = 1e-6


@final
class VonMises(AbstractExponentialFamily):
    """Angles in radians: scalars, `loc` and `concentration` (K,), or independent components, (K, N).

    log p = Σ_n [concentration cos(y_n - loc) - log 2π I₀(concentration)]; a missing component leaves its term out.
    Observations beyond [-π, π] raise ValueError. Forecasts have directions for means and circular standard deviations
    √(-2 log R), R the length of the mean of (cos y, sin y) (Mardia & Jupp 2000, eq. 2.3.11); their quantiles are those
    on (-π, π].

    M-step: the direction of the weighted sum of (cos y, sin y), and the concentration κ with I₁(κ)/I₀(κ) equal to its
    mean length (Mardia & Jupp 2000, section 5.3.1), at most `maximum_concentration`.
    """

    loc: Float[Array, "K *event"]
    _concentration: Positive | Float[Array, "K *event"]
    maximum_concentration: float = eqx.field(static=True)

    def __init__(self, loc: Array, concentration: Array, maximum_concentration: float = 1e6):
        self.loc = checks.real("loc", loc, checks.leading_axes(loc))
        concentration = checks.positive("concentration", concentration, self.loc.shape)
        self._concentration = Positive.of(concentration.astype(self.loc.dtype))
        self.maximum_concentration = checks.non_negative("maximum_concentration", maximum_concentration)

    @property
    def concentration(self) -> Float[Array, "K *event"]:
        """κ: about one over the variance where it is large."""
        return value(self._concentration)

    @property
    def _axes(self) -> tuple[int, ...]:
        return self.loc.shape

    def _statistics(self, ys: Float[Array, "T *event"]) -> tuple[Array, ...]:
        return jnp.cos(ys), jnp.sin(ys)

    def _natural(self) -> tuple[Array, ...]:
        return self.concentration * jnp.cos(self.loc), self.concentration * jnp.sin(self.loc)

    def _log_normaliser(self) -> Array:
        return jnp.log(2 * jnp.pi * i0e(self.concentration)) + self.concentration

    def _log_base(self, ys: Float[Array, "T *event"]) -> Array:
        return on_support(is_angle(ys), ys)

    @property
    def _fits_product(self) -> Bool[Array, ""]:
        return jnp.all(keeps_digits(self.concentration, self.loc.dtype))

    def _one_by_one(self, ys: Float[Array, "T *event"], seen: Bool[Array, "T *event"] | None) -> Float[Array, "T K"]:
        def density(y: Array, loc: Array, concentration: Array) -> Array:
            # κ (cos x - 1) = -2 κ sin²(x / 2)
            value = -2 * concentration * jnp.sin((y - loc) / 2) ** 2 - jnp.log(2 * jnp.pi * i0e(concentration))
            return on_support(is_angle(y), y, value)

        return sum_components(density, (ys,), seen, self.loc, self.concentration)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """Independent angles."""
        return von_mises(self.loc[state], self.concentration[state])

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> CircularMixture:
        """The mixture, with moments of the circle."""
        return CircularMixture(
            WeightedMixture(lambda state: self.given(state, u), jnp.arange(self.num_states), log(probs))
        )

    def fitted(self, sums: WeightedSums, frozen: frozenset[str] = frozenset()) -> "VonMises":
        """The maximum over what is not frozen."""
        zero = jnp.zeros_like(self.loc)
        cosine, sine = sums.mean(0, zero), sums.mean(1, zero)
        loc = self.loc if "loc" in frozen else sums.keep(self.loc, jnp.arctan2(sine, cosine))
        concentration = self.concentration
        if "concentration" not in frozen:
            along = cosine * jnp.cos(loc) + sine * jnp.sin(loc)
            bounds = (SMALLEST_CONCENTRATION, self.maximum_concentration)
            low, high = (jnp.full_like(loc, np.log(bound)) for bound in bounds)
            slack = lambda log_concentration: resultant_length(jnp.exp(log_concentration)) - along
            root = increasing_root(slack, low, high, jnp.log(concentration))
            concentration = sums.keep(concentration, jnp.exp(root))
        return VonMises(loc, concentration, self.maximum_concentration)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "VonMises":
        """`from_data`."""
        new = VonMises.from_data(key, self.num_states, ys, observed)
        return VonMises(new.loc, new.concentration, self.maximum_concentration)

    def validate(self, ys: np.ndarray) -> None:
        """Radians from -π to π, up to rounding."""
        bad = ~is_angle(ys)
        if bad.any():
            raise ValueError(
                f"ys: a VonMises emission observes radians from -π to π, got {ys[bad][0]:.6g}; "
                "np.deg2rad converts degrees, np.arctan2(np.sin(ys), np.cos(ys)) wraps"
            )

    @classmethod
    def random(cls, key: Key, num_states: int, num_components: int | None = None) -> "VonMises":
        """Uniform directions, concentrations of 1; scalars unless `num_components` is given."""
        shape = state_shape(num_states, num_components)
        return cls(jax.random.uniform(key, shape, minval=-jnp.pi, maxval=jnp.pi), jnp.ones(shape))

    @classmethod
    def from_data(
        cls, key: Key, num_states: int, ys: Float[Array, "M *event"], observed: Bool[Array, "M"] | None = None
    ) -> "VonMises":
        """Directions at data points drawn far apart on the circle; one concentration, that of the data, at least 1."""
        ys, observed = rows_of(ys, observed)
        circle = jnp.stack([jnp.cos(ys), jnp.sin(ys)], axis=-1)
        points = spread_out(
            key, checks.positive_int("num_states", num_states), circle.reshape(ys.shape[0], -1), observed
        ).reshape(num_states, *circle.shape[1:])
        loc = jnp.arctan2(points[..., 1], points[..., 0])
        # κ ≈ 1 / 2(1 - R) where it is large (Mardia & Jupp 2000, eq. 5.3.10)
        length = jnp.sqrt(jnp.sum(average(circle, observed) ** 2, axis=-1))
        concentration = jnp.clip(0.5 / jnp.maximum(1 - length, 1e-4), 1, 1e3)
        return cls(loc, jnp.broadcast_to(concentration, loc.shape))
