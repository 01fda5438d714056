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
from ssm.schedules import AbstractSchedule, Sequential, SideBySide, resolve, together
from ssm.shapes import Array, Float, Key, PyTree, Scalar


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
    return _expected_statistics(model, sequences, resolve(schedule, model, sequences.steps.t.shape))


@eqx.filter_jit
def _expected_statistics(model, sequences, schedule):
    model = constrain(model)

    schedule = Sequential() if sequences.batched and isinstance(schedule, SideBySide) else schedule

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
    """Expected statistics and log p(y_t | y_<t) (T,), for a constrained model and one sequence as observed."""
    saved = beliefs(model, steps, schedule, None, fast=fast)
    smoothed = smooth_backward(model, model.prepare(steps), saved.predicted, saved.filtered, schedule)
    return model.statistics(steps, saved.predicted, saved.filtered, smoothed), saved.log_evidence


def smooth_backward(model: Any, steps: Step, predicted: Any, filtered: Any, schedule: AbstractSchedule) -> Any:
    """Smoothed beliefs (T, ...) of prepared steps, from the beliefs of the forward pass."""
    back = backward_steps(steps, predicted, filtered)
    _, smoothed = scan(Smoother(model), back, schedule=schedule, save=lambda saved: saved.filtered, backward=True)
    return model.settle(smoothed)


def evidence(
    model: AbstractRecursion, steps: Step, schedule: AbstractSchedule, key: Key | None, *, fast: bool = True
) -> Float[Array, "*B"]:
    """log p(y_{1:T}) for a constrained model and steps as observed; of a batch if the schedule takes it together."""
    if isinstance(model, AbstractExpectation):
        return _expectation_evidence((model, steps), schedule, fast)
    return jnp.sum(forward(model, steps, schedule, key, nothing, fast=fast)[1])


@eqx.filter_custom_vjp
def _expectation_evidence(model_and_steps, schedule, fast):
    model, steps = model_and_steps
    return jnp.sum(forward(model, steps, schedule, None, nothing, fast=fast)[1], axis=-1)


@_expectation_evidence.def_fwd
def _evidence_forward(perturbed, model_and_steps, schedule, fast):
    del perturbed
    model, steps = model_and_steps
    if together(schedule, model, steps):
        if steps.t.ndim == 2:
            return _expectation_evidence(model_and_steps, schedule, fast), None
        # One sequence: both ways at once, since the gradient that is asked for needs them anyway.
        log_evidence, statistics = _expect_together(model, steps, None, schedule, fast)
        return jnp.sum(log_evidence), statistics
    _, log_evidence, filtered = forward(model, steps, schedule, None, lambda saved: saved.filtered, fast=fast)
    return jnp.sum(log_evidence), filtered


@_expectation_evidence.def_bwd
def _evidence_backward(found, cotangent, perturbed, model_and_steps, schedule, fast):
    del perturbed
    model, steps = model_and_steps
    if not together(schedule, model, steps):
        statistics = _look_back(model, steps, found, schedule)
        expected = lambda both: both[0].expected_log_prob(both[0].prepare(both[1]), statistics)
        return jax.tree.map(lambda leaf: cotangent * leaf, eqx.filter_grad(expected)(model_and_steps))
    batched = steps.t.ndim == 2
    statistics = _expect_together(model, steps, cotangent, schedule, fast)[1] if batched else found

    def expected_together(both: tuple) -> Scalar:
        model, steps = both
        return model.expected_log_prob(model.prepare(model.arrange(steps, schedule)), statistics)

    slope = eqx.filter_grad(expected_together)(model_and_steps)
    return slope if batched else jax.tree.map(lambda leaf: cotangent * leaf, slope)


def _look_back(model: Any, steps: Step, filtered: Any, schedule: AbstractSchedule) -> PyTree:
    prepared = model.prepare(steps)
    predicted = predictions(model, prepared, filtered)
    smoothed = smooth_backward(model, prepared, predicted, filtered, schedule)
    return model.statistics(steps, predicted, filtered, smoothed)


# -- side by side ---------------------------------------------------------------------------------------------
# What does not hold side by side is walked in order, and derivatives are those of walking in order.


@eqx.filter_custom_jvp
def _expect_together(
    model: AbstractExpectation, steps: Step, counted: Array | None, schedule: AbstractSchedule, fast: bool
) -> tuple[Array, PyTree]:
    """log p(y_t | y_<t), and the statistics of all sequences together in the order of `arrange`."""
    agreed, statistics, log_evidence = model.expect_side_by_side(steps, schedule, counted)
    in_order = lambda: _expect_in_order(model, steps, counted, schedule, fast)
    return jax.lax.cond(agreed, lambda: (log_evidence, statistics), in_order)


@_expect_together.def_jvp
def _expect_together_jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    in_order = lambda *arguments: _expect_in_order(*arguments, *primals[3:])
    return _expect_together(*primals), eqx.filter_jvp(in_order, primals[:3], tangents[:3])[1]


def _expect_in_order(
    model: AbstractExpectation, steps: Step, counted: Array | None, schedule: AbstractSchedule, fast: bool
) -> tuple[Array, PyTree]:
    batched = steps.t.ndim == 2
    one = lambda steps: statistics_of(model, steps, Sequential(), fast=fast and not batched)
    statistics, log_evidence = (jax.vmap(one) if batched else one)(steps)
    return log_evidence, model.arrange_statistics(statistics, steps, schedule, counted)


@eqx.filter_custom_jvp
def smooth_together(
    model: AbstractExpectation, steps: Step, schedule: AbstractSchedule, fast: bool
) -> tuple[Any, Array]:
    """Smoothed beliefs and log p(y_t | y_<t), of one sequence or a batch."""
    agreed, smoothed, log_evidence = model.smooth_side_by_side(steps, schedule)
    return jax.lax.cond(agreed, lambda: (smoothed, log_evidence), lambda: _smooth_in_order(model, steps, fast))


@smooth_together.def_jvp
def _smooth_together_jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    in_order = lambda model, steps: _smooth_in_order(model, steps, primals[3])
    return smooth_together(*primals), eqx.filter_jvp(in_order, primals[:2], tangents[:2])[1]


def _smooth_in_order(model: AbstractExpectation, steps: Step, fast: bool) -> tuple[Any, Array]:
    batched = steps.t.ndim == 2

    def one(steps: Step) -> tuple[Any, Array]:
        saved = beliefs(model, steps, Sequential(), None, fast=fast and not batched)
        back = smooth_backward(model, model.prepare(steps), saved.predicted, saved.filtered, Sequential())
        return back, saved.log_evidence

    return (jax.vmap(one) if batched else one)(steps)
