"""Climbs of a likelihood on all numbers of an emission at once."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.emissions.common.components import weights_seen
from ssm.numeric.ascent import climb
from ssm.parameters.freezing import trainable
from ssm.shapes import Array, Bool, Float, PyTree, Scalar


def climb_likelihood(
    emission: Any,
    weights: Float[Array, "M K"],
    ys: Array,
    us: PyTree,
    observed: Bool[Array, "M *parts"] | None,
    frozen: frozenset[str],
) -> Any:
    """Some steps of L-BFGS up Σ_mk weights_mk log p(y_m | k, u_m) + log p(parameters), on all parameters at once.

    For an emission whose parameters are any real numbers; never lower than it began.
    """
    weights = weights_seen(weights, observed)
    free, fixed = eqx.partition(emission, trainable(emission, tuple(frozen)))
    if not jax.tree.leaves(free):
        return emission
    total = jnp.maximum(jnp.sum(weights), 1)

    def objective(free: PyTree) -> Scalar:
        model = eqx.combine(free, fixed)
        table = jnp.where(weights > 0, model.log_likelihoods(ys, us, observed), 0)
        expected = jnp.sum(weights * table)
        return (expected + model.log_prior().astype(expected.dtype)) / total

    return eqx.combine(climb(objective, free), fixed)
