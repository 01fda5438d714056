"""Expected statistics, Q, and the evidence whose gradient they are (Fisher's identity).

    ∇ log p(y; θ) = E_{p(x|y)} [∇ log p(x, y; θ)] = ∇_θ Q(θ, statistics)     at θ = the current parameters

EM maximises Q, gradient methods take a step up ∇Q, and both get the statistics from one forward and one
backward pass. Because the backward pass of `evidence` *is* that identity, reverse mode keeps (T, K) beliefs
where differentiating through the scan would keep what every operation of every step needs.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.data import observe, over_sequences
from ssm.forward import beliefs, forward, nothing
from ssm.parameters import constrain
from ssm.recursion import AbstractExpectation, AbstractRecursion, Step
from ssm.recursions.backward import Smoother, backward_steps
from ssm.scan import predictions, scan
from ssm.schedules import AbstractSchedule, Sequential, SideBySide, resolve
from ssm.shapes import Array, Key, PyTree, Scalar


def expected_statistics(
    model: AbstractExpectation,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    schedule: str | AbstractSchedule = "auto",
) -> PyTree:
    """E[sufficient statistics | ys] under the model, such as the expected counts of an HMM.

    For an `HMM`: `.initial` (K,), `.transitions` (K, K), `.states` (T, K), with a leading B for a batch.
    Arguments as in `ssm.filter`. Raises TypeError for a model without tractable statistics.
    """
    _check_tractable(model, "expected_statistics")
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts)
    return _expected_statistics(model, sequences, resolve(schedule, model, sequences.alone))


@eqx.filter_jit
def _expected_statistics(model, sequences, schedule):
    model = constrain(model)

    def one(steps: Step, key: None) -> PyTree:
        return statistics_of(model, steps, schedule, fast=not sequences.batched)[0]

    return over_sequences(one, sequences, None)


def Q(model: AbstractExpectation, statistics: PyTree, ys: Array, inputs: PyTree = None, **observed: Array) -> Scalar:
    """E[log p(x, y; model)] under the posterior that `statistics` came from, a sum over the batch.

    `ys`, `inputs` and the keywords `mask`, `lengths`, `starts` as they were given to `expected_statistics`.
    Its gradient at the model that made the statistics is the gradient of `log_prob`.
    """
    _check_tractable(model, "Q")
    sequences = observe(model, ys, inputs, **observed)
    plain = constrain(model)
    one = lambda steps, key, these: plain.expected_log_prob(plain.prepare(steps), these)
    return jnp.sum(over_sequences(one, sequences, None, statistics))


def _check_tractable(model: AbstractRecursion, verb: str) -> None:
    if not isinstance(model, AbstractExpectation):
        raise TypeError(
            f"model: {verb} needs a model with tractable expected statistics, such as ssm.HMM, "
            f"got {type(model).__name__}; gradient methods (ssm.SGD) do without"
        )


# -- inside jit -----------------------------------------------------------------------------------------------


def statistics_of(
    model: AbstractExpectation, steps: Step, schedule: AbstractSchedule, *, fast: bool = True
) -> tuple[PyTree, Array]:
    """Expected statistics and log p(y_t | y_<t) (T,), for a constrained model and steps as observed."""
    statistics, _, log_evidence = expectations(model, steps, schedule, fast)
    return statistics, log_evidence


def expectations(
    model: AbstractExpectation, steps: Step, schedule: AbstractSchedule, fast: bool
) -> tuple[PyTree, Any, Array]:
    """Statistics, smoothed beliefs (T, ...) and log p(y_t | y_<t) (T,)."""
    if isinstance(schedule, SideBySide) and model.is_one_stretch(steps):
        return _side_by_side(model, steps, schedule, fast)
    saved = beliefs(model, steps, schedule, None, fast=fast)
    smoothed = smooth_backward(model, model.prepare(steps), saved.predicted, saved.filtered, schedule)
    return model.statistics(steps, saved.predicted, saved.filtered, smoothed), smoothed, saved.log_evidence


@eqx.filter_custom_jvp
def _side_by_side(
    model: AbstractExpectation, steps: Step, schedule: AbstractSchedule, fast: bool
) -> tuple[PyTree, Any, Array]:
    """Side by side where that holds, in order where it does not; its derivative is that of walking in order."""
    agreed, *found = model.expect_side_by_side(steps, schedule)
    return jax.lax.cond(agreed, lambda: tuple(found), lambda: expectations(model, steps, Sequential(), fast))


@_side_by_side.def_jvp
def _side_by_side_jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    in_order = lambda model, steps: expectations(model, steps, Sequential(), primals[3])
    return _side_by_side(*primals), eqx.filter_jvp(in_order, primals[:2], tangents[:2])[1]


def smooth_backward(model: Any, steps: Step, predicted: Any, filtered: Any, schedule: AbstractSchedule) -> Any:
    """Smoothed beliefs (T, ...) of prepared steps, from the beliefs of the forward pass."""
    back = backward_steps(steps, predicted, filtered)
    _, smoothed = scan(Smoother(model), back, schedule=schedule, save=lambda saved: saved.filtered, backward=True)
    return model.settle(smoothed)


def evidence(
    model: AbstractRecursion, steps: Step, schedule: AbstractSchedule, key: Key | None, *, fast: bool = True
) -> Scalar:
    """log p(y_{1:T}) for a constrained model and steps as observed."""
    if isinstance(model, AbstractExpectation):
        return _expectation_evidence((model, steps), schedule, fast)
    return jnp.sum(forward(model, steps, schedule, key, nothing, fast=fast)[1])


@eqx.filter_custom_vjp
def _expectation_evidence(model_and_steps, schedule, fast):
    model, steps = model_and_steps
    return jnp.sum(forward(model, steps, schedule, None, nothing, fast=fast)[1])


@_expectation_evidence.def_fwd
def _evidence_forward(perturbed, model_and_steps, schedule, fast):
    del perturbed
    model, steps = model_and_steps
    if isinstance(schedule, SideBySide):  # both ways at once: the gradient that is asked for needs them anyway
        statistics, log_evidence = statistics_of(model, steps, schedule, fast=fast)
        return jnp.sum(log_evidence), statistics
    _, log_evidence, filtered = forward(model, steps, schedule, None, lambda saved: saved.filtered, fast=fast)
    return jnp.sum(log_evidence), filtered


@_expectation_evidence.def_bwd
def _evidence_backward(found, cotangent, perturbed, model_and_steps, schedule, fast):
    del perturbed, fast
    model, steps = model_and_steps
    statistics = found if isinstance(schedule, SideBySide) else _look_back(model, steps, found, schedule)
    expected = lambda both: both[0].expected_log_prob(both[0].prepare(both[1]), statistics)
    return jax.tree.map(lambda leaf: cotangent * leaf, eqx.filter_grad(expected)(model_and_steps))


def _look_back(model: Any, steps: Step, filtered: Any, schedule: AbstractSchedule) -> PyTree:
    prepared = model.prepare(steps)
    predicted = predictions(model, prepared, filtered)
    smoothed = smooth_backward(model, prepared, predicted, filtered, schedule)
    return model.statistics(steps, predicted, filtered, smoothed)
