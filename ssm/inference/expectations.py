"""What is expected of the states of the past: sufficient statistics, and the log-density of all given them."""

from typing import Any

import jax.numpy as jnp

from ssm.data import observe, over_sequences
from ssm.numeric.protocols import offers
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.door import ask, where_missing
from ssm.passes.expectation import AbstractExpectation
from ssm.recursion import AbstractRecursion
from ssm.schedules import AbstractSchedule, resolve
from ssm.shapes import Array, PyTree, Scalar


def expected_statistics(
    model: AbstractExpectation,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
) -> PyTree:
    """E[sufficient statistics | ys] under the model, such as the expected counts of an HMM.

    For an `HMM`: `.initial` (K,), `.transitions` (K, K), `.states` (T, K), with a leading B for a batch. For a
    `LinearGaussian`: `.initial`, `.transition` and `.emission`, three regressions with their second moments
    `.targets`, `.across` and `.regressors`.
    Arguments as in `ssm.filter`. Raises TypeError for a model without tractable statistics.
    """
    _check_tractable(model, "expected_statistics")
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return _expected_statistics(model, sequences, resolve(schedule, model, sequences.steps.t.shape))


@tried
@where_missing
def _expected_statistics(model, sequences, schedule):
    return ask(lambda way: way.statistics(), constrain(model), sequences.steps, schedule)


def Q(model: AbstractExpectation, statistics: PyTree, ys: Array, inputs: PyTree = None, **observed: Any) -> Scalar:
    """E[log p(x, y; model)] under the posterior that `statistics` came from, a sum over the batch.

    `ys`, `inputs` and the keywords `mask`, `lengths`, `starts`, `missing` as they were given to `expected_statistics`.
    Its gradient at the model that made the statistics is the gradient of `log_prob`.
    """
    _check_tractable(model, "Q")
    sequences = observe(model, ys, inputs, **observed)
    plain = constrain(model)
    one = lambda steps, key, these: plain.expected_log_prob(plain.prepare(steps), these)
    return jnp.sum(over_sequences(one, sequences, None, statistics))


def _check_tractable(model: AbstractRecursion, verb: str) -> None:
    if not offers(model, AbstractExpectation):
        raise TypeError(
            f"model: {verb} needs a model with tractable expected statistics, such as ssm.HMM, "
            f"got {getattr(model, 'described', type(model).__name__)}; gradient methods (ssm.SGD) do without"
        )
