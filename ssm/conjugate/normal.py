"""Independent normal components of unknown mean, with unknown or known variance."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.conjugate.base import AbstractConjugate
from ssm.distributions import Distribution, normal
from ssm.distributions.heavy_tails import student_t
from ssm.numeric import checks
from ssm.parameters import Positive, value
from ssm.shapes import Array, Float, Key


class MeanAndScale(NamedTuple):
    """Parameters of a normal segment."""

    mean: Float[Array, "*event"]
    scale: Float[Array, "*event"]


@final
class NormalInverseGamma(AbstractConjugate):
    """y ~ N(μ, σ²) with 1/σ² ~ Gamma(shape, rate) and μ ~ N(mean, σ² / count), component by component.

    Shapes: `mean` () for scalars or (N,) for vectors of independent components, the others the same or ().
    `count` says how many observations the prior mean is worth. Predictive: Student-t with 2 shape degrees of
    freedom, location `mean` and scale² = rate (count + 1) / (shape count). Source: Murphy 2007, section 3.
    Raises ValueError for shapes that disagree and for what is not positive.
    """

    mean: Float[Array, "*event"]
    _count: Positive | Float[Array, "*event"]
    _shape: Positive | Float[Array, "*event"]
    _rate: Positive | Float[Array, "*event"]

    def __init__(self, mean: Array, count: Array, shape: Array, rate: Array):
        self.mean = _location("mean", mean)
        self._count = Positive.of(_like("count", count, self.mean))
        self._shape = Positive.of(_like("shape", shape, self.mean))
        self._rate = Positive.of(_like("rate", rate, self.mean))

    @property
    def count(self) -> Float[Array, "*event"]:
        """How many observations the mean rests on."""
        return value(self._count)

    @property
    def shape(self) -> Float[Array, "*event"]:
        """Shape of the gamma distribution of 1/σ²: half the degrees of freedom."""
        return value(self._shape)

    @property
    def rate(self) -> Float[Array, "*event"]:
        """Rate of the gamma distribution of 1/σ²: half the sum of squares."""
        return value(self._rate)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """() or (N,)."""
        return self.mean.shape

    def predictive(self) -> Distribution:
        """Student-t (Murphy 2007, eq. 110)."""
        scale = jnp.sqrt(self.rate * (self.count + 1) / (self.shape * self.count))
        return student_t(self.mean, scale, 2 * self.shape)

    def add(self, y: Float[Array, "*event"]) -> "NormalInverseGamma":
        """Murphy 2007, eqs. 86-89: around the running mean, so that float32 keeps its digits."""
        count = self.count + 1
        away = y - self.mean
        mean = self.mean + away / count
        rate = self.rate + away**2 * (self.count / (2 * count))
        fields = lambda m: (m.mean, m._count, m._shape, m._rate)
        return eqx.tree_at(fields, self, (mean, count, self.shape + 0.5, rate))

    def sample(self, key: Key) -> MeanAndScale:
        """1/σ² from its gamma distribution, then μ given σ."""
        for_scale, for_mean = jax.random.split(key)
        log_precision = jax.random.loggamma(for_scale, self.shape, dtype=self.mean.dtype) - jnp.log(self.rate)
        scale = jnp.exp(-0.5 * log_precision)
        noise = jax.random.normal(for_mean, self.mean.shape, self.mean.dtype)
        return MeanAndScale(self.mean + noise * scale / jnp.sqrt(self.count), scale)

    def observation(self, parameters: MeanAndScale) -> Distribution:
        """N(mean, scale²)."""
        return normal(parameters.mean, parameters.scale)


@final
class NormalMean(AbstractConjugate):
    """y ~ N(μ, scale²) with μ ~ N(mean, stddev²), component by component; `scale` is known.

    Shapes: `mean` () or (N,), `stddev` and `scale` the same or (). Predictive: N(mean, stddev² + scale²).
    Source: Murphy 2007, section 2. Raises ValueError for shapes that disagree and for what is not positive.
    """

    mean: Float[Array, "*event"]
    _stddev: Positive | Float[Array, "*event"]
    _scale: Positive | Float[Array, "*event"]

    def __init__(self, mean: Array, stddev: Array, scale: Array):
        self.mean = _location("mean", mean)
        self._stddev = Positive.of(_like("stddev", stddev, self.mean))
        self._scale = Positive.of(_like("scale", scale, self.mean))

    @property
    def stddev(self) -> Float[Array, "*event"]:
        """Standard deviation of μ."""
        return value(self._stddev)

    @property
    def scale(self) -> Float[Array, "*event"]:
        """Standard deviation of y around μ."""
        return value(self._scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """() or (N,)."""
        return self.mean.shape

    def predictive(self) -> Distribution:
        """Normal (Murphy 2007, eq. 36)."""
        return normal(self.mean, jnp.sqrt(self.stddev**2 + self.scale**2))

    def add(self, y: Float[Array, "*event"]) -> "NormalMean":
        """Precisions add; the mean moves by its share of the surprise (Murphy 2007, eqs. 20-24)."""
        total = self.stddev**2 + self.scale**2
        mean = self.mean + (y - self.mean) * (self.stddev**2 / total)
        return eqx.tree_at(lambda m: (m.mean, m._stddev), self, (mean, self.stddev * self.scale / jnp.sqrt(total)))

    def sample(self, key: Key) -> MeanAndScale:
        """μ, and the scale that is known."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return MeanAndScale(self.mean + noise * self.stddev, self.scale)

    def observation(self, parameters: MeanAndScale) -> Distribution:
        """N(mean, scale²)."""
        return normal(parameters.mean, parameters.scale)


def _location(name: str, array: Any) -> Float[Array, "*event"]:
    return checks.real(name, array, () if np.ndim(array) == 0 else ("N",))


def _like(name: str, array: Any, location: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """Positive, of the shape of `location` or one number for all components."""
    array = checks.positive(name, array, () if np.ndim(array) == 0 else location.shape)
    return jnp.broadcast_to(array.astype(location.dtype), location.shape)
