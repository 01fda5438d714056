"""Independent normal components around a line: p(y | x = k, u) = Π_n N(y_n; W_kn u + b_kn, scale_kn²)."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import Distribution, normal, normal_mixture
from ssm.emissions.common.components import flag_each
from ssm.emissions.common.floors import ROUNDING_OF_LINES, bounded_scale, checked_minimum, smallest_scales
from ssm.emissions.common.seeds import starting_scale, state_shape
from ssm.emissions.regressions.least_squares import Residuals, regress, residuals_of
from ssm.emissions.regressions.linear_predictor import (
    AbstractRegression,
    check_coefficients,
    linear_predictor,
    random_coefficients,
    sum_of_densities,
    uneven_shares,
)
from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.parameters import Positive, value
from ssm.shapes import Array, Bool, Float, Int, Key


@final
class LinearRegression(AbstractRegression):
    """A regression on the inputs u (U,) for each state: the Markov-switching regression.

    Scalars, `weights` (K, U), `bias` and `scale` (K,), or vectors of independent components, (K, N, U) and
    (K, N). log p = -½ Σ_n ((y_n - W_n u - b_n)/scale_n)² - Σ_n log scale_n - N/2 log 2π; a missing component
    leaves its term out. M-step: weighted least squares in closed form, of any rank, with the standard deviation
    of the residuals at least `minimum_scale`, by default as for `Normal` (Hamilton 1994, section 22.4). Raises
    ValueError when shapes disagree.
    """

    weights: Float[Array, "K *event U"]
    bias: Float[Array, "K *event"]
    _scale: Positive | Float[Array, "K *event"]
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, weights: Array, bias: Array, scale: Array, minimum_scale: float | None = None):
        self.weights, self.bias = check_coefficients(weights, bias)
        self._scale = Positive.of(checks.positive("scale", scale, self.bias.shape).astype(self.bias.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    @property
    def scale(self) -> Float[Array, "K *event"]:
        """Standard deviations of the residuals."""
        return value(self._scale)

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: Float[Array, "T U"], observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """The density, summed component by component."""
        constant = 0.5 * jnp.log(2 * jnp.pi).astype(self.bias.dtype)

        def density(expected: Array, y: Array, scale: Array) -> Array:
            return -0.5 * ((y - expected) / scale) ** 2 - jnp.log(scale) - constant

        return sum_of_densities(density, ys, us, observed, self.weights, self.bias, self.scale)

    def given(self, state: Int[Array, ""], u: Float[Array, "U"]) -> Distribution:
        """N(W u + b, scale²) of `state`."""
        return normal(linear_predictor(self.weights[state], self.bias[state], u), self.scale[state])

    def mixture(self, probs: Float[Array, "K"], u: Float[Array, "U"]) -> Distribution:
        """The mixture of normals."""
        return normal_mixture(probs, linear_predictor(self.weights, self.bias, u), self.scale)

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: Float[Array, "M U"],
        observed: Bool[Array, "M *parts"] | None,
    ) -> Residuals:
        """Moments of [u, what is left of y_n] for every component and state, leaves (N, K, ...)."""
        size = ys.shape[1] if ys.ndim == 2 else 1
        flags = jnp.ones(ys.shape, bool) if observed is None else flag_each(observed, ys)

        def component(parts: tuple) -> Residuals:
            y, seen, slopes, offsets = parts
            left = lambda slope, offset: (y - multiply(us, slope[0]) - offset)[:, None]

            def one(state: tuple) -> Residuals:
                share, slope, offset = state
                return residuals_of(jnp.where(seen, share, 0), us, left, slope[None], offset[None])

            return jax.lax.map(one, (weights.T, slopes, offsets))

        columns = ys.reshape(-1, size).T, flags.reshape(-1, size).T
        return jax.lax.map(component, (*columns, self._by_component(self.weights), self._by_component(self.bias)))

    def _by_component(self, array: Float[Array, "K *parts"]) -> Float[Array, "N K *rest"]:
        """(K, N, ...), or (K, ...) of scalars, as (N, K, ...)."""
        return jnp.moveaxis(array.reshape(self.num_states, -1, *array.shape[self.bias.ndim :]), 1, 0)

    def fitted(self, sums: Residuals, frozen: frozenset[str] = frozenset()) -> "LinearRegression":
        """Least squares from the moments."""
        keep = "weights" in frozen, "bias" in frozen
        one = lambda moments, weights, bias: regress(moments, weights[None], bias[None], *keep)
        parts, whole = self._by_component, lambda array, like: jnp.moveaxis(array, 0, 1).reshape(like.shape)
        weights, bias, variance = jax.vmap(jax.vmap(one))(sums, parts(self.weights), parts(self.bias))
        # Where next to nothing is left, rounding may leave less than that.
        variance, count = jnp.maximum(whole(variance, self.scale), 0), whole(sums.moments.count, self.scale)
        middle, spread = (whole(array, self.scale) for array in sums.of_response())
        smallest = smallest_scales(count, middle, variance, spread, ROUNDING_OF_LINES)
        scale = bounded_scale(count, variance, smallest, self.scale, self.minimum_scale)
        scale = self.scale if "scale" in frozen else scale
        return LinearRegression(whole(weights, self.weights), whole(bias, self.bias), scale, self.minimum_scale)

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: Float[Array, "M U"], observed: Bool[Array, "M"] | None
    ) -> "LinearRegression":
        """`from_data`."""
        new = LinearRegression.from_data(key, self.num_states, ys, us, observed)
        return LinearRegression(new.weights, new.bias, new.scale, self.minimum_scale)

    @classmethod
    def random(
        cls, key: Key, num_states: int, num_inputs: int, num_components: int | None = None
    ) -> "LinearRegression":
        """Weights and biases from a standard normal, unit scales; scalars unless `num_components` is given."""
        shape = state_shape(num_states, num_components)
        return cls(*random_coefficients(key, shape, num_inputs), jnp.ones(shape))

    @classmethod
    def from_data(
        cls,
        key: Key,
        num_states: int,
        ys: Float[Array, "M *event"],
        us: Float[Array, "M U"],
        observed: Bool[Array, "M"] | None = None,
    ) -> "LinearRegression":
        """Least squares on random weights, most of each state's on a few of the M observations."""
        ys, us = jnp.asarray(ys), jnp.asarray(us)
        shape = (checks.positive_int("num_states", num_states), *ys.shape[1:])
        there = jnp.ones(len(ys), bool) if observed is None else observed
        scale = jnp.broadcast_to(starting_scale(ys, there), shape)
        blank = cls(jnp.zeros((*shape, us.shape[1]), ys.dtype), jnp.zeros(shape, ys.dtype), scale)
        return blank.maximise(uneven_shares(key, num_states, us, observed), ys, us, observed)
