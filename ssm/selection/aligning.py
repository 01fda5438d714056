"""States have no order of their own: the same model with its states in the order of another one."""

from typing import Any

import numpy as np

from ssm.inference.filtering import log_prob
from ssm.inference.smoothing import smooth
from ssm.passes.capabilities import AbstractChain
from ssm.shapes import Array, PyTree

# Evidence, a sum of T terms, may move by rounding when states are summed in another order.
ROUNDING = 1e3


def align(
    model: Any,
    reference: Any,
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
) -> Any:
    """`model` with its states renamed so that they match those of `reference` on the observations.

    The order under which the two models' smoothed probabilities agree most, Σ_t p(x_t = k | y; model)
    p(x_t = k | y; reference), by linear assignment: it needs no distance between families, and the two may be of
    different ones. Useful after restarts, for averages over fits, and to compare a fit with the model that made the
    data. Other arguments and errors as in `ssm.filter`; ValueError where the numbers of states differ, TypeError for
    an emission or transition that cannot rename its states.
    """
    for name, each in (("model", model), ("reference", reference)):
        if not isinstance(each, AbstractChain):
            raise TypeError(f"{name}: expected an ssm.HMM, got {type(each).__name__}")
    if model.num_states != reference.num_states:
        raise ValueError(
            f"reference: expected one of K = {model.num_states} states, as the model, got {reference.num_states}"
        )
    options: dict[str, Any] = {"mask": mask, "lengths": lengths}
    agreement = _states(reference, ys, inputs, options).T @ _states(model, ys, inputs, options)  # (K, K)
    from scipy.optimize import linear_sum_assignment  # a tenth of a second, for those who align

    order = linear_sum_assignment(agreement, maximize=True)[1]
    aligned = model.permuted(order)
    before, after = (np.asarray(log_prob(each, ys, inputs, **options), float) for each in (model, aligned))
    if not np.allclose(before, after, rtol=ROUNDING * np.finfo(np.asarray(model.initial).dtype).eps, equal_nan=True):
        raise TypeError(
            f"model: renaming the states of a {type(model.emission).__name__} changed its evidence from {before} to "
            f"{after}; its parameters or inputs name states in a way that renaming does not know"
        )
    return aligned


def _states(model: Any, ys: Array, inputs: PyTree, options: dict[str, Any]) -> np.ndarray:
    """Smoothed probabilities of all sequences, one after the other, and zeros in padding."""
    probs = np.asarray(smooth(model, ys, inputs if model.num_inputs != 0 else None, **options).smoothed.probs, float)
    if options["lengths"] is not None:
        real = np.arange(probs.shape[-2]) < np.asarray(options["lengths"])[..., None]
        probs = np.where(real[..., None], probs, 0)
    return probs.reshape(-1, probs.shape[-1])
