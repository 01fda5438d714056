"""The best path."""

import jax.numpy as jnp

from ssm.compiling import compiled
from ssm.data import observe, over_sequences
from ssm.forward import beliefs
from ssm.missing import unless_nan
from ssm.parameters import constrain
from ssm.recursions.backward import PathSampler, backward_steps
from ssm.recursions.changepoint import ChangePoint
from ssm.recursions.hmm import HMM
from ssm.recursions.segmentation import BestSegmentation
from ssm.recursions.viterbi import Viterbi
from ssm.scan import scan
from ssm.schedules import AbstractSchedule, resolve, together
from ssm.shapes import Array, Float, Int, PyTree
from ssm.steps import Step

BEST = {HMM: Viterbi, ChangePoint: BestSegmentation}  # each member with max-product in the place of sum-product


def decode(
    model: HMM | ChangePoint,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    missing: bool | None = None,
    schedule: str | AbstractSchedule = "auto",
) -> tuple[Int[Array, "*B T"], Float[Array, "*B"]]:
    """The most probable path of states and its joint log-probability log p(path, ys).

    The path as a whole: to be right about as many times as possible, take the most probable state at each time,
    `jnp.argmax(ssm.smooth(model, ys).smoothed.probs, axis=-1)` (posterior decoding), of which the moves may be
    impossible. `ssm.decode_best` gives the runners-up.

    Shapes: path (T,), log-probability (); a leading B for a batch; in the padding after a sequence the path
    repeats its last state. The states of a ChangePoint are run lengths: 0 where a segment begins. Other arguments
    and errors as in `ssm.filter`; TypeError unless the model is an HMM or a ChangePoint. Source: Viterbi 1967.
    """
    if type(model) not in BEST:
        raise TypeError(
            f"model: decode needs a discrete state space, ssm.HMM or ssm.ChangePoint, got {type(model).__name__}"
        )
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return _decode(model, sequences, resolve(schedule, BEST[type(model)](model), sequences.steps.t.shape))


@compiled
def _decode(model, sequences, schedule):
    best = BEST[type(model)](constrain(model))

    def one(steps: Step, key: None):
        if together(schedule, best, steps):
            return best.decode_side_by_side(steps, schedule)
        saved = beliefs(best, steps, schedule, None)
        back = backward_steps(best.prepare(steps), saved.predicted, saved.filtered)
        _, path = scan(PathSampler(best), back, save=lambda saved: saved.filtered.state, backward=True)
        # Moves into unobserved steps are not among the increments but still in the scores where a sequence ends.
        ends = jnp.ones(1, bool) if steps.first is None else jnp.append(steps.first[1:], True)
        scores = jnp.max(saved.filtered.values[-ends.shape[0] :], axis=1)
        return path, jnp.sum(saved.log_evidence) + jnp.sum(jnp.where(ends, scores, 0))

    path, log_prob = over_sequences(one, sequences, None, together=together(schedule, best, sequences.steps))
    return unless_nan(log_prob, path), log_prob
