"""Which model predicts best: held-out evidence per observation, side by side."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ssm.data import observe
from ssm.filtering import log_prob
from ssm.fitting.checks import count_observations
from ssm.recursion import AbstractRecursion
from ssm.shapes import Array, Key, PyTree


class Score(NamedTuple):
    """One row of a comparison; evidence in nats, `per_observation` divided by the number of observed time steps."""

    name: str
    log_prob: float
    per_observation: float
    difference: float  # to the best model, per observation


class Comparison(NamedTuple):
    """Models on the same observations, best first. Prints as a table; `rows` is plain data for a data frame."""

    rows: tuple[Score, ...]
    observations: int

    def __str__(self) -> str:
        """A fixed-width table."""
        width = max(len("model"), *(len(row.name) for row in self.rows))
        lines = [f"{'model':<{width}}  {'log-evidence':>14}  {'per observation':>15}  {'to the best':>11}"]
        for row in self.rows:
            lines.append(
                f"{row.name:<{width}}  {row.log_prob:>14.3f}  {row.per_observation:>15.5f}  {row.difference:>11.5f}"
            )
        return "\n".join([*lines, f"evidence in nats, {self.observations} observed time steps"])


def compare(
    models: Mapping[str, AbstractRecursion],
    ys: Array,
    inputs: PyTree = None,
    *,
    mask: Array | None = None,
    lengths: Array | None = None,
    key: Key | None = None,
) -> Comparison:
    """Log-evidence of (held-out) observations under several models, in total and per observed time step.

    `models`: names to models of any kind, all over the same observations; they may read the same `inputs` or
    none. Estimates of particle filters and bounds of variational models (which need a key) are compared as
    they are. Other arguments and errors as in `ssm.filter`.
    """
    if not isinstance(models, Mapping) or not models:
        raise TypeError(f'models: expected a mapping such as {{"name": model}}, got {models!r}')
    scores, observations = {}, 0
    for name, model in models.items():
        reads = inputs if getattr(model, "num_inputs", None) != 0 else None
        sequences = observe(model, ys, reads, mask=mask, lengths=lengths)
        observations = count_observations(sequences)
        scores[name] = float(np.sum(log_prob(model, ys, reads, mask=mask, lengths=lengths, key=key)))
    best = max(scores.values())
    rows = [Score(name, total, total / observations, (total - best) / observations) for name, total in scores.items()]
    return Comparison(tuple(sorted(rows, key=lambda row: -row.log_prob)), observations)
