"""The best path."""

from ssm.data import observe
from ssm.numeric.missing import unless_nan
from ssm.numeric.trial import tried
from ssm.parameters import constrain
from ssm.passes.capabilities import AbstractDecodable
from ssm.passes.door import ask
from ssm.schedules import AbstractSchedule, resolve
from ssm.shapes import Array, Float, Int, PyTree


def decode(
    model: AbstractDecodable,
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
    if not isinstance(model, AbstractDecodable):
        raise TypeError(
            f"model: decode needs a discrete state space, ssm.HMM or ssm.ChangePoint, got {type(model).__name__}"
        )
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts, missing=missing)
    return _decode(model, sequences, resolve(schedule, model.best(), sequences.steps.t.shape))


@tried
def _decode(model, sequences, schedule):
    path, log_prob = ask(lambda way: way.best(), constrain(model).best(), sequences.steps, schedule)
    return unless_nan(log_prob, path), log_prob
