"""Student's t: a normal whose variance is drawn afresh for every event."""

from typing import final

import distrax
import jax
import jax.numpy as jnp
from tensorflow_probability.substrates import jax as tfp

from ssm.distributions.families import Distribution
from ssm.distributions.marginals import MARGINALS, PARTIAL
from ssm.numeric.linalg import multiply, square
from ssm.numeric.roots import solve_lower, triangular_root
from ssm.shapes import Array, Bool, Float, Key


@final
class StudentT(distrax.Distribution):
    """Scalars t(df, loc, scale), in batches of any shape.

    The same as `tfp.distributions.StudentT`, whose methods mix integers with floats and so fail under JAX's strict
    type promotion. The mean is NaN for df <= 1; the variance infinite for 1 < df <= 2 and NaN below.
    """

    def __init__(self, loc: Float[Array, "*batch"], scale: Float[Array, "*batch"], df: Float[Array, "*batch"]):
        super().__init__()
        self.loc, self.scale, self.df = loc, scale, df

    @property
    def event_shape(self) -> tuple[int, ...]:
        """()."""
        return ()

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the parameters."""
        return jnp.broadcast_shapes(self.loc.shape, self.scale.shape, self.df.shape)

    def _sample_n(self, key: Key, n: int) -> Array:
        shape = (n, *self.batch_shape)
        return self.loc + self.scale * jax.random.t(key, self.df, shape, self.loc.dtype)

    def log_prob(self, value: Array) -> Array:
        """See `log_student_t`."""
        return log_student_t(value, self.loc, self.scale, self.df)

    def cdf(self, value: Array) -> Array:
        """½ I(df / (df + t²); df/2, ½) in the left tail (Abramowitz & Stegun 1964, 26.7.1)."""
        scaled = (value - self.loc) / self.scale
        df = jnp.broadcast_to(self.df, jnp.shape(scaled))
        half, whole = jnp.full_like(df, 0.5), df + scaled**2
        tail = jax.scipy.special.betainc(df / 2, half, df / whole)
        # Near the centre df / (df + t²) rounds to one: there the complement, I(t² / (df + t²); ½, df/2), is exact.
        body = jax.scipy.special.betainc(half, df / 2, scaled**2 / whole)
        below = 0.5 * jnp.where(scaled**2 < df, 1 - body, tail)
        above = 0.5 * jnp.where(scaled**2 < df, 1 + body, 2 - tail)
        return jnp.where(scaled < 0, below, above)

    def mean(self) -> Array:
        """loc."""
        return jnp.where(self.df > 1, jnp.broadcast_to(self.loc, self.batch_shape), jnp.nan)

    def variance(self) -> Array:
        """scale² df / (df - 2)."""
        return self.scale**2 * _inflation(self.df)


@final
class MultivariateStudentT(distrax.Distribution):
    """One vector t(df, loc, root rootᵀ): its components share one draw of the variance."""

    def __init__(self, loc: Float[Array, "N"], root: Float[Array, "N N"], df: Float[Array, ""]):
        super().__init__()
        self.loc, self.root, self.df = loc, root, df

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(N,)."""
        return self.loc.shape

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """()."""
        return ()

    def _sample_n(self, key: Key, n: int) -> Array:
        for_normal, for_scale = jax.random.split(key)
        normal = jax.random.normal(for_normal, (n, *self.loc.shape), self.loc.dtype)
        precision = jax.random.gamma(for_scale, self.df / 2, (n, 1), self.loc.dtype) * 2 / self.df
        return self.loc + multiply(normal, self.root.T) / jnp.sqrt(precision)

    def log_prob(self, value: Array) -> Array:
        """See `log_multivariate_t`; `value` (..., N)."""
        density = lambda y: log_multivariate_t(y - self.loc, self.root, self.df)
        for _ in range(value.ndim - 1):
            density = jax.vmap(density)
        return density(value)

    def marginals(self) -> StudentT:
        """The distribution of each component."""
        return StudentT(self.loc, jnp.sqrt(jnp.sum(self.root**2, axis=1)), jnp.broadcast_to(self.df, self.loc.shape))

    def mean(self) -> Array:
        """loc."""
        return self.marginals().mean()

    def variance(self) -> Array:
        """Of each component."""
        return self.marginals().variance()

    def covariance(self) -> Array:
        """root rootᵀ df / (df - 2)."""
        return square(self.root) * _inflation(self.df)


def student_t(loc: Float[Array, "*event"], scale: Float[Array, "*event"], df: Float[Array, "*event"]) -> Distribution:
    """Independent Student t components, one event."""
    return distrax.Independent(StudentT(loc, scale, df), reinterpreted_batch_ndims=loc.ndim)


def multivariate_student_t(loc: Float[Array, "N"], root: Float[Array, "N N"], df: Float[Array, ""]) -> Distribution:
    """A multivariate Student t with scale matrix root rootᵀ."""
    return MultivariateStudentT(loc, root, df)


def log_student_t(y: Array, loc: Array, scale: Array, df: Array) -> Array:
    """log Γ((ν+1)/2) - log Γ(ν/2) - ½ log(πν) - log scale - (ν+1)/2 log(1 + ((y - loc)/scale)²/ν)."""
    constant = _log_gamma_ratio(df, 1) - 0.5 * jnp.log(jnp.pi * df) - jnp.log(scale)
    return constant - 0.5 * (df + 1) * jnp.log1p(((y - loc) / scale) ** 2 / df)


def log_multivariate_t(
    residual: Float[Array, "N"],
    root: Float[Array, "N N"],
    df: Float[Array, ""],
    observed: Bool[Array, "N"] | None = None,
) -> Float[Array, ""]:
    """log t(residual; df, 0, root rootᵀ), over the n observed components alone.

    log Γ((ν+n)/2) - log Γ(ν/2) - n/2 log(πν) - log |root| - (ν+n)/2 log(1 + d²/ν), d² the squared distance.
    """
    size = residual.shape[0] if observed is None else jnp.sum(observed).astype(root.dtype)
    squared, log_volume = squared_distance(residual, root, observed)
    constant = _log_gamma_ratio(df, size) - 0.5 * size * jnp.log(jnp.pi * df) - log_volume
    return constant - 0.5 * (df + size) * jnp.log1p(squared / df)


def squared_distance(
    residual: Float[Array, "N"], root: Float[Array, "N N"], observed: Bool[Array, "N"] | None = None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """|L⁻¹ residual|² and log |L| for L Lᵀ the block of root rootᵀ that belongs to the observed components."""
    if observed is not None:
        # Rows of the root that belong to the observed components, the rest replaced by unit noise of their own.
        own = jnp.diag(jnp.where(observed, 0, 1).astype(root.dtype))
        root = triangular_root(jnp.concatenate([jnp.where(observed[:, None], root, 0), own], axis=1))
        residual = jnp.where(observed, residual, 0)
    whitened = solve_lower(root, residual)
    return jnp.sum(whitened**2), jnp.sum(jnp.log(jnp.abs(jnp.diagonal(root))))


def _log_gamma_ratio(df: Array, size: Array | int) -> Array:
    """log Γ((ν + n)/2) - log Γ(ν/2), to all digits for large ν, too; 0 for n = 0."""
    half = jnp.broadcast_to(jnp.asarray(size, df.dtype) / 2, df.shape)
    safe = jnp.where(half > 0, half, 0.5)
    return jnp.where(half > 0, -tfp.math.log_gamma_difference(safe, df / 2), 0)


def _inflation(df: Array) -> Array:
    """Variance of t(df, 0, 1)."""
    above = jnp.where(df > 2, df, 3)
    return jnp.where(df > 2, above / (above - 2), jnp.where(df > 1, jnp.inf, jnp.nan))


MARGINALS[MultivariateStudentT] = lambda joint: joint.marginals()
PARTIAL[MultivariateStudentT] = lambda joint, y, observed: log_multivariate_t(
    y - joint.loc, joint.root, joint.df, observed
)
