"""What a forecast is asked: means, spreads, quantiles, draws and densities of the steps ahead."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.data import check_key, future_observations, needs_key
from ssm.distributions import quantile
from ssm.inference.simulating import draw_path, prepare_to_draw
from ssm.numeric.checks import positive_int
from ssm.numeric.compiling import compiled
from ssm.numeric.missing import unless_nan
from ssm.numeric.protocols import unwritten
from ssm.numeric.trees import index, length
from ssm.parameters import constrain
from ssm.recursion import AbstractRecursion
from ssm.scan import evidence_only, scan
from ssm.shapes import Array, Float, Key
from ssm.steps import Step


class AbstractForecast(eqx.Module):
    """A distribution over the next steps: arrays of shape (steps, *event), with a leading B for a batch."""

    @property
    def mean(self) -> Array:
        """Expected observations."""
        raise unwritten(self)

    @property
    def stddev(self) -> Array:
        """Standard deviations, component by component."""
        raise unwritten(self)

    @property
    def probs(self) -> Float[Array, "*B steps C"]:
        """Probabilities of the symbols; TypeError unless observations are categorical."""
        raise unwritten(self)

    def quantile(self, q: float) -> Array:
        """The q-quantile of every component at every step."""
        raise unwritten(self)

    def sample(self, key: Key, n: int) -> Array:
        """n joint futures (n, steps, *event); the n comes after a leading B."""
        raise unwritten(self)

    def log_prob(self, future_ys: Array, *, key: Key | None = None) -> Float[Array, "*B"]:
        """Joint log-probability of a future, given the past."""
        raise unwritten(self)

    def interval(self, level: float = 0.9) -> tuple[Array, Array]:
        """The central interval (low, high) that holds each component with probability `level`."""
        if not 0 < level < 1:
            raise ValueError(f"level: expected a probability strictly between 0 and 1, got {level}")
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)


class _Forecast(AbstractForecast):
    """What both kinds share: the model, the steps ahead and the belief that they start from.

    `beliefs` has a leading axis S, after B: one belief, or draws of it for a model whose belief is a draw.
    """

    model: AbstractRecursion
    ahead: Step
    beliefs: Any

    def sample(self, key: Key, n: int) -> Array:
        """See `AbstractForecast.sample`."""
        check_key(key)
        return _sample(self.model, self.beliefs, self.ahead, key, positive_int("n", n))

    def log_prob(self, future_ys: Array, *, key: Key | None = None) -> Float[Array, "*B"]:
        """See `AbstractForecast.log_prob`; stochastic recursions need a key."""
        needs_key(self.model, key, "log_prob")
        return _future_evidence(self.model, self.beliefs, future_observations(self.model, self.ahead, future_ys), key)

    @property
    def _batched(self) -> bool:
        return self.ahead.t.ndim == 2

    def _symbolic(self, name: str) -> None:
        if (name == "probs") != (self.model.event_kind == "symbol"):
            other = "mean, stddev" if name == "probs" else "probs"
            raise TypeError(
                f"{name}: the observations of this {type(self.model).__name__} have no {name}; use {other} or quantile"
            )


class ExactForecast(_Forecast):
    """The predicted belief of each step, read out by the model."""

    predicted: Any

    def _read(self, read_out: Any) -> Array:
        return _read(self.model, self.predicted, self.ahead, read_out)

    @property
    def mean(self) -> Array:
        """See `AbstractForecast.mean`."""
        self._symbolic("mean")
        return self._read(_mean)

    @property
    def stddev(self) -> Array:
        """See `AbstractForecast.stddev`."""
        self._symbolic("stddev")
        return jnp.sqrt(self._read(_variance))

    @property
    def probs(self) -> Array:
        """See `AbstractForecast.probs`."""
        self._symbolic("probs")
        return self._read(_probs)

    def quantile(self, q: float) -> Array:
        """See `AbstractForecast.quantile`; exact for normals, to rounding for mixtures."""
        _check_level(q)
        return _quantiles(self.model, self.predicted, self.ahead, jnp.asarray(q))


class SampledForecast(_Forecast):
    """Drawn futures (n, steps, *event)."""

    paths: Array

    @property
    def _axis(self) -> int:
        return 1 if self._batched else 0

    @property
    def mean(self) -> Array:
        """See `AbstractForecast.mean`."""
        self._symbolic("mean")
        return jnp.mean(self.paths, axis=self._axis)

    @property
    def stddev(self) -> Array:
        """See `AbstractForecast.stddev`."""
        self._symbolic("stddev")
        return jnp.std(self.paths, axis=self._axis)

    @property
    def probs(self) -> Array:
        """Frequencies of the symbols among the drawn futures."""
        self._symbolic("probs")
        return jnp.mean(jax.nn.one_hot(self.paths, self.model.num_classes), axis=self._axis)

    def quantile(self, q: float) -> Array:
        """See `AbstractForecast.quantile`; of the drawn futures."""
        _check_level(q)
        return jnp.quantile(self.paths.astype(float), q, axis=self._axis, method="inverted_cdf")


def _check_level(q: float) -> None:
    if not 0 < q < 1:
        raise ValueError(f"q: expected a probability strictly between 0 and 1, got {q}")


def _mean(distribution: Any) -> Array:
    return distribution.mean()


def _variance(distribution: Any) -> Array:
    return distribution.variance()


def _probs(distribution: Any) -> Array:
    return distribution.probs


@compiled
def _read(model, predicted, ahead, read_out):
    model = constrain(model)

    def one(predicted, ahead):
        known = model.prepare(ahead).u
        return jax.vmap(lambda belief, u: read_out(model.emit(belief, u)))(predicted, known)

    return jax.vmap(one)(predicted, ahead) if ahead.t.ndim == 2 else one(predicted, ahead)


@compiled
def _quantiles(model, predicted, ahead, q):
    return _read(model, predicted, ahead, lambda distribution: quantile(distribution, q))


@compiled
def _sample(model, beliefs, ahead, key, n):
    model = constrain(model)
    if ahead.t.ndim == 1:
        return draw_futures(model, beliefs, ahead, key, n)
    keys = jax.random.split(key, ahead.t.shape[0])
    return jax.vmap(lambda beliefs, ahead, key: draw_futures(model, beliefs, ahead, key, n))(beliefs, ahead, keys)


@compiled
def _future_evidence(model, beliefs, ahead, key):
    model = constrain(model)

    def one(beliefs, ahead):
        count = length(beliefs)
        keys = None if key is None else jax.random.split(key, count)

        def from_one(belief, key):
            return jnp.sum(scan(model, model.prepare(ahead), belief=belief, key=key, save=evidence_only)[1])

        each = jax.vmap(from_one, (0, None if key is None else 0))(beliefs, keys)
        return jax.nn.logsumexp(each) - jnp.log(count).astype(each.dtype)

    return jax.vmap(one)(beliefs, ahead) if ahead.t.ndim == 2 else one(beliefs, ahead)


def _nan_within(belief: Any) -> Float[Array, ""]:
    """NaN where some number of a belief is, else 0."""
    numbers = [leaf for leaf in jax.tree.leaves(belief) if eqx.is_inexact_array(leaf)]
    return jnp.where(jnp.any(jnp.stack([jnp.any(jnp.isnan(leaf)) for leaf in numbers])), jnp.nan, 0.0)


def draw_futures(model: AbstractRecursion, beliefs: Any, ahead: Step, key: Key, n: int) -> Array:
    """(n, steps, *event), starting from the beliefs (S, ...) in turn."""
    prepared = prepare_to_draw(model, ahead)

    def path(i: Array, key: Key) -> Array:
        start = index(beliefs, i % length(beliefs))
        return unless_nan(_nan_within(start), draw_path(model, start, prepared, key)[1])

    return jax.vmap(path)(jnp.arange(n), jax.random.split(key, n))
