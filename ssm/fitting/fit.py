"""The learning verb."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssm.data import Sequences, check_key, needs_key, observe
from ssm.fitting.checks import count_observations
from ssm.fitting.em import EM
from ssm.fitting.lbfgs import LBFGS
from ssm.fitting.loop import Job
from ssm.fitting.result import Fit
from ssm.fitting.sgd import SGD
from ssm.fitting.stochastic_em import StochasticEM
from ssm.numeric.checks import is_concrete
from ssm.parameters.freezing import Frozen, frozen_names
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Key, PyTree


def fit(
    model: AbstractRecursion,
    ys: Array,
    method: EM | LBFGS | SGD | StochasticEM,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    validation: Array | Mapping[str, Any] | None = None,
    frozen: Frozen = (),
    key: Key | None = None,
    progress: bool = True,
    checkpoint: str | Path | None = None,
) -> Fit:
    """Learn the parameters of `model` from one sequence or a batch, starting from the ones it has.

    `method`: `ssm.EM(...)`, `ssm.SGD(...)`, `ssm.LBFGS(...)` or `ssm.StochasticEM(...)`. `validation`: held-out
    observations, an array like ys or a mapping with the keys ys, inputs, mask, lengths; its evidence is recorded, and
    SGD stops early and returns the best model. `frozen`: names of parameters to leave alone, such as ("transition",
    "emission.scale"), or a mapping of names to True or to an array of bools of the parameter's shape, True at entries
    to leave alone: {"transition_matrix": mask, "emission_bias": True}. Where the entries of a parameter are stored on
    their own (no rows of probabilities, no covariances but `ssm.Diagonal`; one of several entries that are
    `ssm.Tied` stands for all of them); EM takes entries of `ssm.LinearGaussian` alone. `progress`: show a bar,
    if stderr is a terminal. `checkpoint`: a file to save to while fitting, and to go on from if it exists; more
    iterations or epochs may be asked for than before, while data, starting model, method, `frozen` and key must be
    those that the file was begun with, or ValueError says which are not. Other arguments as in `ssm.filter`.

    Compiled once per model structure, method and shape: a second fit of the same kind starts at once. Raises
    ValueError where nothing is observed or an observation is impossible under the starting model, naming the
    time step; FloatingPointError if the evidence becomes NaN; RuntimeError if EM ever lowers it.
    """
    if not isinstance(method, EM | LBFGS | SGD | StochasticEM):
        raise TypeError(
            f"method: expected ssm.EM(...), ssm.SGD(...), ssm.LBFGS(...) or ssm.StochasticEM(...), got {method!r}"
        )
    sequences = observe(model, ys, inputs, mask=mask, lengths=lengths, starts=starts)
    if not is_concrete(sequences.steps.y):
        raise TypeError("ys: fit runs its own compiled steps and cannot be called under jit, grad or vmap")
    needs_key(model, key, "fit")
    if key is not None:
        check_key(key)
    return method.fit(
        Job(
            model,
            sequences,
            observations=count_observations(sequences),
            validation=_held_out(model, validation),
            frozen=frozen_names(model, frozen),
            key=key,
            progress=progress,
            checkpoint=checkpoint,
        )
    )


def _held_out(model: AbstractRecursion, validation: Any) -> Sequences | None:
    if validation is None:
        return None
    if isinstance(validation, Mapping):
        known = {"ys", "inputs", "mask", "lengths", "starts"}
        if "ys" not in validation or not set(validation) <= known:
            raise ValueError(f"validation: expected the keys {sorted(known)}, ys among them, got {sorted(validation)}")
        return observe(model, **validation)
    return observe(model, validation)
