"""Correlated normal components around a line: p(y | x = k, u) = N(y; W_k u + b_k, covariance_k)."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import Distribution, multivariate_normal, multivariate_normal_mixture
from ssm.emissions.common.components import weights_seen
from ssm.emissions.common.floors import ROUNDING_OF_LINES, bounded_roots, checked_minimum, smallest_scales
from ssm.emissions.common.seeds import starting_scale
from ssm.emissions.normals.multivariate_normal import complete
from ssm.emissions.normals.whitened import residual_rows
from ssm.emissions.regressions.least_squares import Residuals, regress, residuals_of
from ssm.emissions.regressions.linear_predictor import (
    AbstractRegression,
    check_coefficients,
    linear_predictor,
    random_coefficients,
    uneven_shares,
)
from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.parameters import Covariance
from ssm.shapes import Array, Bool, Float, Int, Key


@final
class MultivariateLinearRegression(AbstractRegression):
    """Vectors with `weights` (K, N, U), `bias` (K, N) and `covariance` (K, N, N) of the residuals.

    log p = -½ |L⁻¹(y - W u - b)|² - Σ log |L_nn| - N/2 log 2π with L Lᵀ = covariance; missing components are
    integrated out. M-step: weighted least squares, for partly missing vectors on their conditional moments
    (Little & Rubin 2002, section 11.4), with every eigenvalue of the covariance at least minimum_scale², by
    default as for `MultivariateNormal`.
    """

    weights: Float[Array, "K N U"]
    bias: Float[Array, "K N"]
    _covariance: Covariance
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, weights: Array, bias: Array, covariance: Array, minimum_scale: float | None = None):
        checks.real("weights", weights, ("K", "N", "U"))
        self.weights, self.bias = check_coefficients(weights, bias)
        states, size = self.bias.shape
        covariance = checks.covariance("covariance", covariance, (states, size, size))
        self._covariance = Covariance.of(covariance.astype(self.bias.dtype))
        self.minimum_scale = checked_minimum(minimum_scale)

    @property
    def covariance(self) -> Float[Array, "K N N"]:
        """Covariances of the residuals."""
        return self._covariance.matrix

    @property
    def root(self) -> Float[Array, "K N N"]:
        """Their lower-triangular square roots."""
        return self._covariance.lower

    def rows(
        self, ys: Float[Array, "M N"], us: Float[Array, "M U"], observed: Bool[Array, "M *parts"] | None = None
    ) -> Float[Array, "K M"]:
        """See `AbstractEmission.rows`."""
        residuals = ys.T - multiply(self.weights, us.T) - self.bias[..., None]  # (K, N, M)
        return residual_rows(lambda n: residuals[:, n], self.root, observed)

    def given(self, state: Int[Array, ""], u: Float[Array, "U"]) -> Distribution:
        """N(W u + b, covariance) of `state`."""
        return multivariate_normal(linear_predictor(self.weights[state], self.bias[state], u), self.root[state])

    def mixture(self, probs: Float[Array, "K"], u: Float[Array, "U"]) -> Distribution:
        """The mixture of multivariate normals."""
        return multivariate_normal_mixture(probs, linear_predictor(self.weights, self.bias, u), self.root)

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M N"],
        us: Float[Array, "M U"],
        observed: Bool[Array, "M *parts"] | None,
    ) -> Residuals:
        """Moments of [u, what is left of y] for every state; what is missing enters by its conditional moments."""
        weights = weights_seen(weights, observed)

        def one_state(parts: tuple) -> Residuals:
            share, slope, bias, covariance = parts
            expected = lambda slope, bias: multiply(us, slope.T) + bias
            if observed is None or observed.ndim == 1:
                return residuals_of(share, us, lambda *line: ys - expected(*line), slope, bias)
            here = expected(slope, bias)
            around, extra = complete(share, ys - here, observed, jnp.zeros_like(bias), covariance)
            there = observed
            left = lambda *line: jnp.where(there, ys - expected(*line), around + (here - expected(*line)))
            return residuals_of(share, us, left, slope, bias, extra)

        return jax.lax.map(one_state, (weights.T, self.weights, self.bias, self.covariance))

    def fitted(self, sums: Residuals, frozen: frozenset[str] = frozenset()) -> "MultivariateLinearRegression":
        """Least squares from the moments."""
        keep = "weights" in frozen, "bias" in frozen
        one = lambda moments, slope, bias: regress(moments, slope, bias, *keep)
        weights, bias, covariance = jax.vmap(one)(sums, self.weights, self.bias)
        root = self.root
        if "covariance" not in frozen:
            count, middle = jnp.broadcast_to(sums.moments.count[:, None], bias.shape), sums.of_response()
            variance = jnp.maximum(jnp.diagonal(covariance, axis1=1, axis2=2), 0)
            smallest = smallest_scales(count, middle[0], variance, middle[1], ROUNDING_OF_LINES)
            root = bounded_roots(sums.moments.count, covariance, smallest, root, self.minimum_scale)
        new = MultivariateLinearRegression(weights, bias, self.covariance, self.minimum_scale)
        return eqx.tree_at(lambda m: m._covariance, new, Covariance(root))

    def restart(
        self, key: Key, ys: Float[Array, "M N"], us: Float[Array, "M U"], observed: Bool[Array, "M"] | None
    ) -> "MultivariateLinearRegression":
        """`from_data`."""
        new = MultivariateLinearRegression.from_data(key, self.num_states, ys, us, observed)
        return MultivariateLinearRegression(new.weights, new.bias, new.covariance, self.minimum_scale)

    @classmethod
    def random(cls, key: Key, num_states: int, num_inputs: int, num_components: int) -> "MultivariateLinearRegression":
        """Weights and biases from a standard normal, unit covariances."""
        shape = (checks.positive_int("num_states", num_states), checks.positive_int("num_components", num_components))
        eye = jnp.broadcast_to(jnp.eye(num_components), (*shape, num_components))
        return cls(*random_coefficients(key, shape, num_inputs), eye)

    @classmethod
    def from_data(
        cls,
        key: Key,
        num_states: int,
        ys: Float[Array, "M N"],
        us: Float[Array, "M U"],
        observed: Bool[Array, "M"] | None = None,
    ) -> "MultivariateLinearRegression":
        """Least squares on random weights, most of each state's on a few of the M observations."""
        ys, us = jnp.asarray(ys), jnp.asarray(us)
        shape = (checks.positive_int("num_states", num_states), ys.shape[1])
        there = jnp.ones(len(ys), bool) if observed is None else observed
        apart = jnp.broadcast_to(jnp.diag(starting_scale(ys, there) ** 2), (*shape, ys.shape[1]))
        blank = cls(jnp.zeros((*shape, us.shape[1]), ys.dtype), jnp.zeros(shape, ys.dtype), apart)
        return blank.maximise(uneven_shares(key, num_states, us, observed), ys, us, observed)
