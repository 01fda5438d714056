"""Correlated normal components of unknown mean and covariance."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.conjugate.base import AbstractConjugate
from ssm.distributions import Distribution, multivariate_normal, multivariate_student_t
from ssm.numeric import checks
from ssm.numeric.linalg import multiply, square
from ssm.numeric.roots import root_with_column, solve_lower_transposed
from ssm.parameters import Covariance, Positive, value
from ssm.shapes import Array, Bool, Float, Key


class MeanAndRoot(NamedTuple):
    """Parameters of a segment of correlated normal vectors."""

    mean: Float[Array, "*batch N"]
    root: Float[Array, "*batch N N"]

    @property
    def covariance(self) -> Float[Array, "*batch N N"]:
        """root rootᵀ."""
        return square(self.root)


@final
class NormalInverseWishart(AbstractConjugate):
    """y ~ N(μ, Σ) with Σ ~ InverseWishart(df, scale_matrix) and μ ~ N(mean, Σ / count): components are correlated.

    Shapes: `mean` (N,), `scale_matrix` (N, N) positive definite, `count` and `df` (). `count` says how many
    observations the prior mean is worth; df > N - 1, and E[Σ] = scale_matrix / (df - N - 1) where df > N + 1.
    Predictive: multivariate Student t with ν = df - N + 1 degrees of freedom, location `mean` and scale matrix
    scale_matrix (count + 1) / (count ν). Source: Murphy 2007, section 9; Gelman et al. 2013, section 3.6.

    Steps are observed or missing as a whole: what is known after some of the components is no longer of this family.
    Raises ValueError for shapes that disagree, for what is not positive (definite), for df <= N - 1, and for steps of
    which a part is missing; under `jit`, where they cannot be seen, all that follows such a step is NaN.
    """

    mean: Float[Array, "N"]
    _count: Positive | Float[Array, ""]
    _freedom: Positive | Float[Array, ""]  # df - N + 1, which is what must be positive
    _scale_matrix: Covariance

    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"_freedom": ("df", "mean")}

    def __init__(self, mean: Array, count: Array, df: Array, scale_matrix: Array):
        self.mean = checks.real("mean", mean, ("N",))
        size, dtype = self.mean.shape[0], self.mean.dtype
        self._count = Positive.of(checks.positive("count", count, ()).astype(dtype))
        df = checks.positive("df", df, ()).astype(dtype)
        if checks.is_concrete(df) and not df > size - 1:
            raise ValueError(f"df: expected more than N - 1 = {size - 1} for vectors of {size}, got {float(df):.6g}")
        self._freedom = Positive.of(checks.where_valid(df > size - 1, df) - (size - 1))
        scale_matrix = checks.covariance("scale_matrix", scale_matrix, (size, size)).astype(dtype)
        self._scale_matrix = Covariance.of(scale_matrix)
        if checks.is_concrete(scale_matrix) and not (np.diagonal(self._scale_matrix.root) > 0).all():
            raise ValueError("scale_matrix: expected a positive definite matrix, got a singular one")

    @property
    def count(self) -> Float[Array, ""]:
        """How many observations the mean rests on."""
        return value(self._count)

    @property
    def df(self) -> Float[Array, ""]:
        """Degrees of freedom of the covariance: how many observations it rests on."""
        return value(self._freedom) + (self.mean.shape[0] - 1)

    @property
    def scale_matrix(self) -> Float[Array, "N N"]:
        """The prior's matrix plus the sums of squares and products."""
        return self._scale_matrix.matrix

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(N,)."""
        return self.mean.shape

    def predictive(self) -> Distribution:
        """Multivariate Student t (Murphy 2007, section 9)."""
        freedom = value(self._freedom)
        spread = jnp.sqrt((self.count + 1) / (self.count * freedom))
        return multivariate_student_t(self.mean, self._scale_matrix.lower * spread, freedom)

    def add(self, y: Float[Array, "N"]) -> "NormalInverseWishart":
        """Around the running mean, and by the root of the matrix, so that float32 keeps its digits."""
        count = self.count + 1
        away = y - self.mean
        root = root_with_column(self._scale_matrix.lower, away * jnp.sqrt(self.count / count))
        fields = lambda m: (m.mean, m._count, m._freedom, m._scale_matrix.root)
        return eqx.tree_at(fields, self, (self.mean + away / count, count, value(self._freedom) + 1, root))

    def learn(self, y: Float[Array, "N"], observed: Bool[Array, "N"] | None = None) -> "NormalInverseWishart":
        """`add`, for a whole observation; NaN for a part of one."""
        if observed is None:
            return self.add(y)
        part = jnp.any(observed) & ~jnp.all(observed)
        choose = lambda new, old: jnp.where(part, jnp.nan, jnp.where(jnp.all(observed), new, old))
        return jax.tree.map(choose, self.add(y), self)

    def sample(self, key: Key) -> MeanAndRoot:
        """Σ⁻¹ by the factors of a Wishart matrix (Bartlett 1933), then μ given Σ."""
        for_diagonal, for_rest, for_mean = jax.random.split(key, 3)
        size, dtype = self.mean.shape[0], self.mean.dtype
        # W = GᵀG is Wishart with df degrees of freedom: G is lower triangular, with χ²(df - N + 1 + i) as the squares
        # on its diagonal and standard normals below. So Σ = L W⁻¹ Lᵀ has the lower-triangular root L G⁻¹.
        half = (value(self._freedom) + jnp.arange(size, dtype=dtype)) / 2
        diagonal = jnp.exp((jnp.log(2.0).astype(dtype) + jax.random.loggamma(for_diagonal, half, dtype=dtype)) / 2)
        factor = jnp.tril(jax.random.normal(for_rest, (size, size), dtype), -1) + jnp.diag(diagonal)
        root = solve_lower_transposed(factor, self._scale_matrix.lower.T).T
        noise = jax.random.normal(for_mean, (size,), dtype)
        return MeanAndRoot(self.mean + multiply(root, noise) / jnp.sqrt(self.count), root)

    def observation(self, parameters: MeanAndRoot) -> Distribution:
        """N(mean, root rootᵀ)."""
        return multivariate_normal(parameters.mean, parameters.root)

    def validate_observed(self, observed: np.ndarray) -> None:
        """Whole observations only."""
        part = observed.any(-1) & ~observed.all(-1)
        if part.any():
            raise ValueError(
                f"ys: {part.sum()} time steps have some but not all of their {observed.shape[-1]} components, which a "
                "NormalInverseWishart cannot learn from; leave such steps out whole (NaN, or mask= of shape (T,)), or "
                "use NormalInverseGamma, whose components are independent"
            )
