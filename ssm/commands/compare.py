"""EM against gradient ascent on hidden Markov models of real data: one table and one figure."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from ssm import datasets, plotting
from ssm.commands.reading import Data, InputError, read
from ssm.emissions import Categorical, Normal
from ssm.fitting import EM, SGD, Fit, fit
from ssm.inference.filtering import filter
from ssm.recursions.markov.hmm import HMM

HELD_OUT = 0.2  # the end of each sequence
FEWEST = 20  # observations: fewer leave nothing to learn from or to be tested on
LETTERS = 25_000  # of the default text, so that all is done within a minute
TOLERANCE = 1e-5  # nats per observation and iteration, at which both methods stop
LEARNING_RATE = 0.05


class Options(NamedTuple):
    """What the command line asks for; `states` None: as suits the default data."""

    data: Path | None
    states: int | None
    restarts: int
    iterations: int
    seed: int
    out: Path


class Task(NamedTuple):
    """Data to fit: ys[:cut] to learn from, the rest held out."""

    name: str
    ys: jax.Array
    cut: int
    states: int
    about: str = ""

    @property
    def seen(self) -> np.ndarray:
        """Where something is observed (T,)."""
        values = np.asarray(self.ys, float).reshape(len(self.ys), -1)
        return np.any(~np.isnan(values), axis=1)


class Row(NamedTuple):
    """One line of the table: the best start by training evidence; iterations and seconds of all starts together."""

    data: str
    method: str
    train: float
    held_out: float
    iterations: int
    compile_seconds: float
    seconds: float


def compare(options: Options) -> list[Row]:
    """Fit, print the table, save the figure. Raises InputError for what the user can put right."""
    _check_out(options.out)
    tasks = _tasks(options)
    methods = {
        "EM": EM(max_iters=options.iterations, tol=TOLERANCE),
        "SGD (Adam)": SGD(optax.adam(LEARNING_RATE), num_epochs=options.iterations, tol=TOLERANCE),
    }
    rows: list[Row] = []
    curves: dict[str, dict[str, list[plotting.Curve]]] = {}
    with tqdm(total=len(tasks) * len(methods) * options.restarts, unit="fit", disable=None) as bar:
        for task in tasks:
            keys = jax.random.split(jax.random.key(options.seed), options.restarts)
            starts = [starting_point(key, task) for key in keys]
            curves[task.name] = {}
            for name, method in methods.items():
                bar.set_description(f"{name}, {task.name}")
                compiled = fit(starts[0], task.ys[: task.cut], _once(method), progress=False)
                fits = []
                for start in starts:
                    fits.append(fit(start, task.ys[: task.cut], method))
                    bar.update()
                rows.append(summarise(task, name, fits, compiled.compile_seconds))
                curves[task.name][name] = [_curve(each, task) for each in fits]
    print(table(rows))
    print(
        f"\nNats per observation, more is better: the best of {options.restarts} starts by training evidence,"
        f"\nand the same model on the last {HELD_OUT:.0%}, held out. Series are standardised."
        "\nIterations and seconds are those of all starts together."
    )
    for task in tasks:
        if task.about:
            print(task.about)
    plotting.learning_curves(curves).savefig(options.out)
    print(f"Learning curves: {options.out}")
    return rows


def starting_point(key: jax.Array, task: Task) -> HMM:
    """A random chain, with emissions seeded from the training data."""
    for_chain, for_emission = jax.random.split(key)
    # Exponentials divided by their sum are uniform on the simplex, and compile faster than a Dirichlet draw.
    draws = jax.random.exponential(for_chain, (1 + task.states, task.states))
    initial, *transition = draws / jnp.sum(draws, axis=1, keepdims=True)
    train = task.ys[: task.cut]
    if jnp.issubdtype(train.dtype, jnp.integer):
        emission = Categorical.from_data(for_emission, task.states, train, num_classes=len(datasets.ALPHABET))
    else:
        # Missing components stand at zero, the mean of a standardised series, while the seeds are drawn.
        seen = jnp.asarray(task.seen[: task.cut])
        emission = Normal.from_data(for_emission, task.states, jnp.nan_to_num(train), seen)
    return HMM(initial, jnp.stack(transition), emission)


def _once(method: EM | SGD) -> EM | SGD:
    """The method for one iteration: it compiles what the full run then only runs."""
    if isinstance(method, EM):
        return dataclasses.replace(method, max_iters=1)
    return dataclasses.replace(method, num_epochs=1)


def summarise(task: Task, method: str, fits: list[Fit], compile_seconds: float) -> Row:
    """One line of the table."""
    best = max(fits, key=lambda each: each.log_probs[-1])
    evidence = np.asarray(filter(best.model, task.ys).log_evidence, float)
    train, held_out = evidence[: task.cut].sum(), evidence[task.cut :].sum()
    return Row(
        task.name,
        method,
        train / task.seen[: task.cut].sum(),
        held_out / task.seen[task.cut :].sum(),
        sum(each.num_iters for each in fits),
        compile_seconds + sum(each.compile_seconds for each in fits),
        sum(each.seconds for each in fits),
    )


def table(rows: list[Row]) -> str:
    """Rows under a heading, in aligned columns."""
    cells = [("data", "method", "train", "held out", "iterations", "compile (s)", "run (s)")]
    for row in rows:
        evidence = (f"{row.train:.4f}", f"{row.held_out:.4f}")
        effort = (str(row.iterations), f"{row.compile_seconds:.3f}", f"{row.seconds:.3f}")
        cells.append((row.data, row.method, *evidence, *effort))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        words = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        lines.append("  ".join(words).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _tasks(options: Options) -> list[Task]:
    if options.data is not None:
        chosen = [(read(options.data), options.states or 3)]
    else:
        text = datasets.letters(datasets.english_text())[:LETTERS]
        chosen = [
            (Data("English letters", text), options.states or 8),
            (Data("US economy, 1959-2009", datasets.macro()), options.states or 3),
        ]
    return [_task(data, states) for data, states in chosen]


def _task(data: Data, states: int) -> Task:
    total = len(data.ys)
    cut = total - int(HELD_OUT * total)
    if total < FEWEST:
        raise InputError(f"{data.name}: {total} observations; at least {FEWEST} are needed")
    ys = jnp.asarray(data.ys if data.is_text else _standardise(data, cut))
    task = Task(data.name, ys, cut, states, data.about)
    available = task.seen[:cut].sum()
    if states > available:
        raise InputError(f"--states {states}: more than the {available} observations of {data.name} to learn from")
    if not task.seen[cut:].any():
        raise InputError(f"{data.name}: nothing is observed in the last {HELD_OUT:.0%}, which is held out")
    return task


def _standardise(data: Data, cut: int) -> np.ndarray:
    """Mean 0 and variance 1 of every column in the training part."""
    train = data.ys[:cut]
    if (~np.isnan(train)).sum(axis=0).min() < 2:
        raise InputError(f"{data.name}: a column has fewer than two values in the first {1 - HELD_OUT:.0%}")
    scale = np.nanstd(train, axis=0)
    if (scale == 0).any():
        raise InputError(f"{data.name}: a column is constant in the first {1 - HELD_OUT:.0%}")
    return (data.ys - np.nanmean(train, axis=0)) / scale


def _curve(each: Fit, task: Task) -> plotting.Curve:
    values = np.append(each.start_log_prob, each.log_probs) / task.seen[: task.cut].sum()
    return plotting.Curve(np.append(0.0, each.times), values)


def _check_out(out: Path) -> None:
    """Before anything is computed."""
    endings = plotting.file_types()
    if out.suffix.lower().removeprefix(".") not in endings:
        raise InputError(f"--out {out}: a figure's name ends in one of {', '.join('.' + e for e in endings)}")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
