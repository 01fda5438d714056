"""What is asked of a linear-Gaussian model, to compare one way to walk with another."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import ssm
from ssm.parameters import constrain
from ssm.passes.answers import statistics_of
from ssm.schedules import SideBySide


def close(answer: Any, truth: Any, tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), answer, truth)


def beliefs(model: Any, ys: Any, us: Any, schedule: Any, **observed: Any) -> Any:
    """There and back."""
    filtered = ssm.filter(model, ys, us, schedule=schedule, **observed)
    smoothed = ssm.smooth(model, ys, us, schedule=schedule, **observed).smoothed
    means = filtered.filtered.mean, filtered.predicted.mean, smoothed.mean
    covariances = (each.covariance for each in (filtered.filtered, filtered.predicted, smoothed))
    return means, tuple(covariances), filtered.log_evidence


def slopes(model: Any, ys: Any, us: Any, schedule: Any, **observed: Any) -> Any:
    """Evidence and its slope in parameters, observations and inputs, sequences not all counted alike."""
    weights = jnp.arange(1.0, 1 + len(ys)) if ys.ndim == 3 else 1.0
    whole = lambda all: jnp.sum(weights * ssm.log_prob(*all, schedule=schedule, **observed))
    return eqx.filter_value_and_grad(whole)((model, ys, us))


def moments(model: Any, ys: Any, us: Any, schedule: Any, **observed: Any) -> Any:
    """What EM learns from, sequences not all counted alike."""
    steps = ssm.data.observe(model, ys, us, **observed).steps
    counted = jnp.arange(1.0, 1 + len(ys)) if ys.ndim == 3 else None

    @eqx.filter_jit
    def found(plain: Any) -> Any:
        if isinstance(schedule, SideBySide):
            return plain.expect_side_by_side(steps, schedule, counted)[1]
        one = lambda steps: statistics_of(plain, steps, schedule)[0]
        return plain.arrange_statistics((one if counted is None else jax.vmap(one))(steps), steps, schedule, counted)

    return found(constrain(model))


def holds(model: Any, ys: Any, schedule: SideBySide, us: Any = None, **observed: Any) -> bool:
    """Whether the answer is one of its own."""
    return bool(constrain(model).expect_side_by_side(ssm.data.observe(model, ys, us, **observed).steps, schedule)[0])
