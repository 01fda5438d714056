"""The best paths, several of them."""

import jax.numpy as jnp

from ssm.data import observe, over_sequences
from ssm.numeric.checks import positive_int
from ssm.numeric.compiling import compiled
from ssm.numeric.missing import unless_nan
from ssm.parameters import constrain
from ssm.passes.backward import PathSampler
from ssm.passes.capabilities import AbstractChain
from ssm.scan import scan
from ssm.shapes import Array, Float, Int, PyTree
from ssm.steps import Step


def decode_best(
    model: AbstractChain,
    ys: Array,
    num_paths: int,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    missing: bool | None = None,
) -> tuple[Int[Array, "*B n T"], Float[Array, "*B n"]]:
    """The most probable paths of states, all different, best first, and their log-probabilities log p(path, ys).

    Shapes: paths (num_paths, T), log-probabilities (num_paths,); a leading B for a batch; in the padding after a
    sequence a path repeats its last state. Where fewer than `num_paths` paths are possible, the log-probabilities of
    the others are -inf, and their states mean nothing. The first path is that of `ssm.decode`. Time and memory grow
    with T K num_paths, besides K² num_paths operations a step. Packed sequences are not read: their best paths would
    be combinations of the best of each, so pass them as a batch.

    Other arguments and errors as in `ssm.filter`; TypeError unless the model is an HMM, or num_paths an integer.
    Source: Seshadri & Sundberg 1994, the parallel list Viterbi algorithm.
    """
    if not isinstance(model, AbstractChain):
        raise TypeError(f"model: decode_best needs a discrete state space, ssm.HMM, got {type(model).__name__}")
    positive_int("num_paths", num_paths)
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, missing=missing)
    return _decode_best(model, sequences, int(num_paths))


@compiled
def _decode_best(model, sequences, num_paths):
    best = constrain(model).ranked(num_paths)

    def one(steps: Step, key: None):
        prepared = best.prepare(steps)
        save = lambda saved: (saved.predicted.before, saved.log_evidence)
        last, (before, log_evidence) = scan(best, prepared, save=save)
        scores, entries = last.best()
        back = best.way_back(prepared, before, entries)
        _, path = scan(PathSampler(best), back, save=lambda saved: saved.filtered.state, backward=True)
        log_probs = jnp.sum(log_evidence) + scores
        return unless_nan(log_probs, path.T // num_paths), log_probs

    return over_sequences(one, sequences, None)
