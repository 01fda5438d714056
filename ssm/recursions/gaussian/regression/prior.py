"""What was known of a linear regression beforehand, as moments of observations made beforehand."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.numeric.roots import empty_pivots, semidefinite_root
from ssm.parameters import AbstractCovariance, Constant, value
from ssm.recursions.gaussian.regression.regression import Regression
from ssm.shapes import Array, Float, Scalar


@final
class RegressionPrior(eqx.Module):
    """A prior of x = M z + noise: of its matrix M, or mean, and of the covariance of the noise; MAP instead of ML.

        covariance ~ inverse-Wishart(degrees, scale),  M | covariance ~ matrix-normal(mean, covariance, precision⁻¹)

    For `ssm.LinearGaussian(..., transition_prior=, emission_prior=, initial_prior=)`. Either half may be left out:
    `degrees` ν, a number, and `scale` Ψ, shaped as the covariance; `precision` (D, D), and `mean` (N, D), zero by
    default; for a start a number, and (D,). Input effects and biases are flat. The density is, up to a constant,

        -½ (ν + N + 1 + D) log |R| - ½ tr R⁻¹ [Ψ + (M - mean) precision (M - mean)ᵀ]

    without D where there is no `precision`: that of ν + N + 1 + D observations beforehand (Minka 2000). Variances of
    `ssm.Diagonal` have such a prior with N = 1 each, and `scale` (N,); that of `ssm.Spherical` one, and a number. Every
    fit climbs evidence and prior; EM in closed form. Raises ValueError for half a half.
    """

    degrees: Constant | Scalar | None
    scale: Constant | Array | None
    mean: Constant | Array | None
    precision: Constant | Array | None

    def __init__(
        self,
        degrees: Array | float | None = None,
        scale: Array | float | None = None,
        mean: Array | None = None,
        precision: Array | float | None = None,
    ):
        if (degrees is None) != (scale is None):
            raise ValueError("degrees: an inverse-Wishart prior needs both degrees and scale")
        if precision is None and (mean is not None or degrees is None):
            raise ValueError("precision: a prior of the matrix needs one, how sure it is of the mean, (D, D)")
        axes = lambda array: ("...",) * jnp.ndim(array)
        array = lambda name, given: None if given is None else Constant(checks.real(name, given, axes(given)))
        self.degrees = None if degrees is None else Constant(checks.non_negatives("degrees", degrees, ()))
        self.scale, self.mean = array("scale", scale), array("mean", mean)
        self.precision = array("precision", precision)

    def check(self, name: str, matrix: Float[Array, "*T N D"], covariance: AbstractCovariance) -> "RegressionPrior":
        """Itself, if it fits this regression, and ValueError if not."""
        if covariance.lower.ndim != 2 or (matrix.ndim != 2 and self.precision is not None):
            raise ValueError(f"{name}: a matrix or covariance that varies in time takes no prior")
        scale, mean, precision = value(self.scale), value(self.mean), value(self.precision)
        starts, (targets, columns) = name == "initial_prior", matrix.shape[-2:]
        if scale is not None:
            checks.shape(f"{name}.scale", scale, covariance.shape_of_scale)
            checks.covariance(f"{name}.scale", covariance.wishart(jnp.ones(()), scale)[1], (targets, targets))
            if checks.is_concrete(covariance.lower) and np.asarray(empty_pivots(covariance.lower)).any():
                raise ValueError(f"{name}: an inverse-Wishart prior rules a singular covariance out; leave degrees out")
        if mean is not None:
            checks.shape(f"{name}.mean", mean, (targets,) if starts else (targets, columns))
        if precision is not None:
            checks.shape(f"{name}.precision", precision, () if starts else (columns, columns))
            checks.covariance(f"{name}.precision", jnp.atleast_2d(precision), (columns, columns))
        return self

    def moments(self, covariance: AbstractCovariance, num_columns: int) -> Regression:
        """The observations beforehand, of the regression of this covariance on so many numbers."""
        size, dtype = covariance.lower.shape[-1], covariance.lower.dtype
        count, squares = jnp.zeros((), dtype), jnp.zeros((size, size), dtype)
        regressors, mean = jnp.zeros((num_columns, num_columns), dtype), jnp.zeros((size, num_columns), dtype)
        if self.degrees is not None and self.scale is not None:
            count, squares = covariance.wishart(value(self.degrees).astype(dtype), value(self.scale).astype(dtype))
        if self.precision is not None:
            precision = jnp.atleast_2d(value(self.precision)).astype(dtype)
            width, count = len(precision), count + len(precision)
            regressors = regressors.at[:width, :width].set(precision)
            if self.mean is not None:
                mean = mean.at[:, :width].set(value(self.mean).astype(dtype).reshape(size, width))
        eye = jnp.eye(size, dtype=dtype)
        return Regression(count, eye, jnp.zeros_like(mean), regressors, mean, semidefinite_root(squares))
