"""Which structure: several models fitted to the same data, and compared by a criterion that counts their parameters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssm.data import observe
from ssm.fitting import Fit, fit
from ssm.inference.filtering import log_prob
from ssm.numeric.checks import positive_int
from ssm.numeric.trees import widen
from ssm.parameters.freezing import Frozen
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Key, PyTree
from ssm.steps import seen_steps

CRITERIA = ("bic", "aic", "held-out")


class Candidate(NamedTuple):
    """One row of a selection; `held_out` is in nats per observed time step, NaN unless it was the criterion."""

    name: str
    log_prob: float
    num_parameters: int
    aic: float
    bic: float
    held_out: float


class Selection(NamedTuple):
    """Fitted candidates, best first by `criterion`. Prints as a table; `rows` is plain data for a data frame."""

    rows: tuple[Candidate, ...]
    criterion: str
    observations: int
    fits: dict[str, Fit]  # on all the data

    @property
    def best(self) -> str:
        """The name of the best candidate; its model is `fits[best].model`."""
        return self.rows[0].name

    def __str__(self) -> str:
        """A fixed-width table."""
        width = max(len("model"), *(len(row.name) for row in self.rows))
        head = ("log-evidence", "parameters", "AIC", "BIC")
        lines = [f"{'model':<{width}}  " + "  ".join(f"{name:>12}" for name in head)]
        if self.criterion == "held-out":
            lines[0] += f"  {'held out':>12}"
        for row in self.rows:
            line = f"{row.name:<{width}}  {row.log_prob:>12.3f}  {row.num_parameters:>12}"
            line += f"  {row.aic:>12.2f}  {row.bic:>12.2f}"
            lines.append(line + (f"  {row.held_out:>12.5f}" if self.criterion == "held-out" else ""))
        return "\n".join([*lines, f"best first by {self.criterion}; {self.observations} observed time steps"])


class _Data(NamedTuple):
    """The arguments that say what was observed."""

    ys: Any
    inputs: PyTree
    mask: Any
    lengths: Any

    def options(self) -> dict[str, Any]:
        """Keyword arguments of a verb."""
        return {"inputs": self.inputs, "mask": self.mask, "lengths": self.lengths}


def select(
    models: Mapping[str, AbstractRecursion],
    ys: Array,
    method: Any,
    inputs: PyTree = None,
    *,
    criterion: str = "bic",
    folds: int = 5,
    mask: Array | None = None,
    lengths: Array | None = None,
    frozen: Frozen = (),
    key: Key | None = None,
    progress: bool = False,
) -> Selection:
    """Fit each of several models to the same observations by `method`, and rank the results.

    `models`: names to models of any kind, which may read the same `inputs` or none. `criterion`: "bic" (Schwarz 1978),
    "aic" (Akaike 1974), or "held-out": evidence of what a fit has not seen, by cross-validation. There a batch is cut
    into `folds` groups of sequences; one sequence into `folds` blocks of time, each left out in turn as missing and
    then scored given the rest, log p(all) - log p(rest). Every candidate is also fitted to all the data. Other
    arguments as in `ssm.fit`; restarts, for mixtures of regimes advisable, are the method's (`ssm.EM(restarts=10)`).
    AIC and BIC suppose a maximum of the likelihood at which the parameters are identified.
    """
    if not isinstance(models, Mapping) or not models:
        raise TypeError(f'models: expected a mapping such as {{"name": model}}, got {models!r}')
    if criterion not in CRITERIA:
        raise ValueError(f"criterion: expected one of {', '.join(CRITERIA)}, got {criterion!r}")
    if positive_int("folds", folds) < 2:
        raise ValueError("folds: cross-validation needs at least 2, got 1")
    rows, fits, observations = [], {}, 0
    for i, (name, model) in enumerate(models.items()):
        data = _Data(ys, inputs if getattr(model, "num_inputs", None) != 0 else None, mask, lengths)
        own = None if key is None else jax.random.fold_in(key, i)
        options = {"frozen": frozen, "progress": progress}
        found = fit(model, data.ys, method, key=own, **data.options(), **options)
        held_out = float("nan")
        if criterion == "held-out":
            held_out = _cross_validate(model, data, method, folds, own, options) / found.observations
        fits[name], observations = found, found.observations
        rows.append(Candidate(name, found.log_prob, found.num_parameters, found.aic, found.bic, held_out))
    rank = {"bic": lambda row: row.bic, "aic": lambda row: row.aic, "held-out": lambda row: -row.held_out}[criterion]
    return Selection(tuple(sorted(rows, key=rank)), criterion, observations, fits)


def _cross_validate(
    model: AbstractRecursion, data: _Data, method: Any, folds: int, key: Key | None, options: dict[str, Any]
) -> float:
    """Evidence of each fold under the model fitted to the others, summed."""
    sequences = observe(model, data.ys, **data.options())
    if not sequences.batched:
        return _by_blocks(model, data, method, folds, key, options)
    count = sequences.steps.t.shape[0]
    if folds > count:
        raise ValueError(f"folds: at most the {count} sequences of ys, got {folds}")
    group = np.arange(count) * folds // count
    total = 0.0
    for fold in range(folds):
        rest, kept = (_rows(data, np.flatnonzero(group != fold)), _rows(data, np.flatnonzero(group == fold)))
        fitted = fit(model, rest.ys, method, key=key, **rest.options(), **options).model
        total += float(jnp.sum(log_prob(fitted, kept.ys, key=key, **kept.options())))
    return total


def _by_blocks(
    model: AbstractRecursion, data: _Data, method: Any, folds: int, key: Key | None, options: dict[str, Any]
) -> float:
    steps = observe(model, data.ys, **data.options()).steps
    seen = np.asarray(seen_steps(steps))
    if folds > seen.sum():
        raise ValueError(f"folds: at most the {int(seen.sum())} observed time steps of ys, got {folds}")
    # Blocks of equally many observed steps.
    group = (np.cumsum(seen) - 1).clip(0) * folds // seen.sum()
    flags = seen if data.mask is None else np.asarray(data.mask)
    whole, total = data._replace(mask=flags), 0.0
    for fold in range(folds):
        kept = widen(group != fold, flags.ndim)
        rest = data._replace(mask=flags & kept)
        fitted = fit(model, rest.ys, method, key=key, **rest.options(), **options).model
        both = log_prob(fitted, whole.ys, key=key, **whole.options())
        total += float(both - log_prob(fitted, rest.ys, key=key, **rest.options()))
    return total


def _rows(data: _Data, rows: np.ndarray) -> _Data:
    """Some sequences of a batch."""
    take = lambda array: None if array is None else np.asarray(array)[rows]
    return _Data(take(data.ys), jax.tree.map(take, data.inputs), take(data.mask), take(data.lengths))
