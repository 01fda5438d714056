"""Which model predicts best: held-out evidence per observation, side by side."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ssm.data import Sequences, observe
from ssm.fitting.checks import count_observations
from ssm.inference.filtering import filter_sequences, log_prob
from ssm.recursion import AbstractRecursion
from ssm.schedules import Sequential
from ssm.shapes import Array, Key, PyTree


class Score(NamedTuple):
    """One row of a comparison; evidence in nats, `per_observation` divided by the number of observed time steps."""

    name: str
    log_prob: float
    per_observation: float
    difference: float  # to the best model, per observation
    impossible: str = ""  # of an evidence of -inf: the first observation that the model rules out


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
        lines.append(f"evidence in nats, {self.observations} observed time steps")
        return "\n".join([*lines, *(f"{row.name}: {row.impossible}" for row in self.rows if row.impossible)])


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
    they are. A model that rules an observation out has an evidence of -inf; its row and the table say which was the
    first. Other arguments and errors as in `ssm.filter`.
    """
    if not isinstance(models, Mapping) or not models:
        raise TypeError(f'models: expected a mapping such as {{"name": model}}, got {models!r}')
    scores, impossible, observations = {}, {}, 0
    for name, model in models.items():
        reads = inputs if getattr(model, "num_inputs", None) != 0 else None
        sequences = observe(model, ys, reads, mask=mask, lengths=lengths)
        observations = count_observations(sequences)
        scores[name] = float(np.sum(log_prob(model, ys, reads, mask=mask, lengths=lengths, key=key)))
        impossible[name] = _first_impossible(model, sequences, key) if scores[name] == -np.inf else ""
    best = max(scores.values())
    less = lambda total: 0.0 if total == best else (total - best) / observations  # all may be -inf
    rows = [Score(name, total, total / observations, less(total), impossible[name]) for name, total in scores.items()]
    return Comparison(tuple(sorted(rows, key=lambda row: -row.log_prob)), observations)


def _first_impossible(model: AbstractRecursion, sequences: Sequences, key: Key | None) -> str:
    """What was observed where the evidence became -inf, and what to do about it."""
    times = np.atleast_1d(np.asarray(filter_sequences(model, sequences, Sequential(), key).first_impossible))
    if not (times >= 0).any():
        return "the evidence is -inf"
    sequence = int(np.argmax(times >= 0))
    time = int(times[sequence])
    seen = np.asarray(sequences.steps.y[sequence, time] if sequences.batched else sequences.steps.y[time])
    where = f"time step {time}" + (f" of sequence {sequence}" if sequences.batched else "")
    return (
        f"the observation {seen.tolist()} at {where} is impossible, as what was never seen in training is; "
        "pseudo_counts of the emission or the transition keep it possible"
    )
