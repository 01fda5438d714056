"""What is asked of a linear-Gaussian model, to compare one way to walk with another."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import ssm
from ssm.parameters import constrain
from ssm.passes.door import ways
from ssm.recursions.gaussian.learning.moments import total
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
        way = ways(plain, steps, schedule)[0].of(plain, steps, schedule)
        if counted is None:
            return way.statistics().found
        together = getattr(way, "moments", None)  # of all sequences, as the M-step has them
        return together(counted).found if together else total(way.statistics().found, counted)

    return found(constrain(model))


def holds(model: Any, ys: Any, schedule: SideBySide, us: Any = None, **observed: Any) -> bool:
    """Whether the answer is one of its own."""
    plain, steps = constrain(model), ssm.data.observe(model, ys, us, **observed).steps
    way = ways(plain, steps, schedule)[0].of(plain, steps, schedule)
    return bool(way.maximised(frozenset()).holds)
