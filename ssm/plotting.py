"""Figures; the only file that imports matplotlib, when one is made.

Every function returns a matplotlib Figure, to be saved by `figure.savefig(path)`; nothing opens a window.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from ssm.axes import columns_of, continued, names_of, times_of
from ssm.diagnostics.residual_tests import autocorrelations, one_sequence
from ssm.numeric.optional import demo

# Okabe & Ito 2008: told apart by people with any kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")


class Curve(NamedTuple):
    """How one fit went: seconds since its start, and evidence per observation, both (num_iters + 1,)."""

    seconds: np.ndarray
    values: np.ndarray


def figure(
    rows: int = 1, columns: int = 1, *, width: float = 9.0, height: float = 3.0, **options: Any
) -> tuple[Any, Any]:
    """An empty figure and its axes (rows, columns), inches wide and inches high for each row."""
    made = demo("matplotlib.figure").Figure(figsize=(width, height * rows), layout="constrained", dpi=150)
    axes = made.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.locator_params(nbins=6)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    return made, axes


def learning_curves(runs: Mapping[str, Mapping[str, Sequence[Curve]]]) -> Any:
    """Evidence against iteration and against wall clock, for `runs[data][method]`: one curve per start.

    One row per data set, one colour per method; the start that ends highest is drawn thick.
    """
    made, axes = figure(len(runs), 2, sharey="row")
    for row, (data, methods) in zip(axes, runs.items(), strict=True):
        for colour, (method, curves) in zip(COLOURS, methods.items(), strict=False):
            best = max(range(len(curves)), key=lambda i: curves[i].values[-1])
            for i, curve in enumerate(curves):
                style = {"linewidth": 2.4, "label": method} if i == best else {"linewidth": 0.8, "alpha": 0.55}
                row[0].plot(np.arange(len(curve.values)), curve.values, color=colour, zorder=2 + (i == best), **style)
                row[1].plot(curve.seconds, curve.values, color=colour, zorder=2 + (i == best), **style)
        row[0].set_ylabel("nats per observation")
        row[0].set_title(data, loc="left", fontsize="medium")
        row[0].legend(frameon=False, loc="lower right")
    axes[-1][0].set_xlabel("iteration")
    axes[-1][1].set_xlabel("seconds, without compilation")
    return made


def state_bands(ys: Any, probs: Any, times: Any = None, labels: Iterable[Any] = ()) -> Any:
    """A series (T,) or (T, N) over the posterior p(x_t = k | y_1..T) (T, K) of its states, as stacked bands.

    `times` are numbers or dates, `labels` names of the N components: sequences, or an index of pandas. Raises
    ValueError where their number, or that of `probs`, is another one.
    """
    components, probs = columns_of("ys", ys).T, columns_of("probs", probs)
    times, labels = times_of(times, components.shape[1]), names_of(labels, len(components))
    if len(probs) != len(times):
        raise ValueError(f"probs: expected (T, K) with T = {len(times)} as ys, got {probs.shape}")
    made, axes = figure(2, 1, height=1.9, sharex=True, height_ratios=[2, 1])
    series, bands = axes[:, 0]
    for component, label, grey in zip_longest(components, labels, np.linspace(0, 0.65, len(components))):
        series.plot(times, component, color=str(grey), linewidth=1.2, label=label)
    colours = [COLOURS[k % len(COLOURS)] for k in range(probs.shape[1])]
    bands.stackplot(times, probs.T, colors=colours, alpha=0.8, labels=[f"state {k}" for k in range(len(colours))])
    bands.set(ylim=(0, 1), yticks=(0, 1), ylabel="probability", xlim=(times[0], times[-1]))
    for ax in (series, bands)[not labels :]:
        ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return made


def forecast_fan(
    ys: Any,
    forecast: Any,
    levels: Sequence[float] = (0.5, 0.9),
    times: Any = None,
    label: str | Iterable[Any] = "",
    ahead: Any = None,
) -> Any:
    """A series (T,) or (T, N), its forecast mean, and a band for each of the central intervals `levels`.

    One panel for each component; `label` names it, or each of them. `times` are numbers or dates, or an index of
    pandas, which the forecast continues; `ahead` its own times, where those before are not evenly spaced. Raises
    ValueError for batches, and where ys and forecast have different numbers of components.
    """
    ys, mean = columns_of("ys", ys), columns_of("forecast", forecast.mean)
    count = ys.shape[1]
    if mean.shape[1] != count:
        raise ValueError(f"forecast: expected as many components as ys has, {count}, got {mean.shape[1]}")
    names = names_of(label, count) or ([f"component {n}" for n in range(count)] if count > 1 else [""])
    past, ahead = continued(times, ahead, len(ys), len(mean))
    bands = {level: [columns_of("forecast", bound) for bound in forecast.interval(level)] for level in sorted(levels)}
    made, axes = figure(count, 1, height=3.0 if count == 1 else 2.2, sharex=True)
    for n, ax in enumerate(axes[:, 0]):
        ax.plot(past, ys[:, n], color="black", linewidth=1, label="observed")
        ax.plot(ahead, mean[:, n], color=COLOURS[0], linewidth=2, zorder=3, label="mean")
        for level, (low, high) in bands.items():
            # The wider, the paler; opaque, so that a band has the colour of its legend.
            colour = _paler(COLOURS[0], level)
            ax.fill_between(ahead, low[:, n], high[:, n], color=colour, zorder=2 - level, label=f"{level:.0%}")
        ax.set_ylabel(names[n])
    axes[-1, 0].set_xlabel("time")
    axes[0, 0].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return made


def selection(table: Any) -> Any:
    """The candidates of `ssm.select`, best first, by how much worse than the best they are."""
    names = [row.name for row in table.rows]
    held_out = table.criterion == "held-out"
    scores = np.array([-row.held_out if held_out else getattr(row, table.criterion) for row in table.rows])
    made, axes = figure(height=0.8 + 0.4 * len(names))
    ax = axes[0, 0]
    ax.plot(scores - scores.min(), names, "o", color=COLOURS[0])
    ax.invert_yaxis()
    criterion = "held-out nats per observation, below" if held_out else f"{table.criterion.upper()} above"
    ax.set_xlabel(f"{criterion} the best")
    return made


def residuals(found: Any, lags: int = 20, times: Any = None, labels: Iterable[Any] = ()) -> Any:
    """Standardised residuals in time, their histogram over N(0, 1), their quantiles, and their autocorrelations.

    `found`: what `ssm.residuals` or `ssm.innovations` returned of one sequence, (T,) or (T, N), NaN where there are
    none; each of up to 8 components, which `labels` names, has a colour. Dashed are the bounds of 95 %, under the
    model, for one residual and for one autocorrelation. Raises ValueError as `ssm.diagnose`, which has the tests.
    """
    columns = one_sequence(found).T
    if len(columns) > len(COLOURS):
        raise ValueError(f"residuals: expected at most {len(COLOURS)} components, got {len(columns)}")
    times, labels = times_of(times, columns.shape[1]), names_of(labels, len(columns))
    made, ((series, shape), (quantiles, memory)) = figure(2, 2)
    for i, column in enumerate(columns):
        series.plot(
            times, column, ".-", markersize=4, linewidth=0.6, color=COLOURS[i], label=labels[i] if labels else None
        )
        there = np.sort(column[~np.isnan(column)])
        levels = (np.arange(len(there)) + 0.5) / len(there)
        quantiles.plot(_normal_quantiles(levels), there, ".", markersize=4, color=COLOURS[i])
        correlation, pairs = autocorrelations(column, min(lags, len(column) - 1))
        lag = np.flatnonzero(pairs) + 1 + 0.8 * ((i + 0.5) / len(columns) - 0.5)
        memory.bar(lag, correlation[pairs > 0], width=0.8 / len(columns), color=COLOURS[i])
    if labels:
        series.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(columns))
    edge = np.ceil(max(3.0, np.nanmax(np.abs(columns))))
    _histogram(shape, columns, edge)
    quantiles.plot([-edge, edge], [-edge, edge], color="black", linewidth=0.6, zorder=1)
    _levels(series, 1.96)
    _levels(memory, 1.96 / np.sqrt(np.sum(~np.isnan(columns), axis=1).min()))
    series.set(xlabel="time", ylabel="standardised residual")
    quantiles.set(xlabel="quantile of N(0, 1)", ylabel="standardised residual")
    memory.set(xlabel="lag", ylabel="autocorrelation")
    return made


def _histogram(ax: Any, columns: np.ndarray, edge: float) -> None:
    """Densities of the columns, and of N(0, 1), in -edge .. edge."""
    each = [column[~np.isnan(column)] for column in columns]
    width = 1.0 if max(map(len, each)) < 60 else 0.5
    ax.hist(each, np.arange(-edge, edge + width, width), density=True, color=COLOURS[: len(each)], alpha=0.55)
    line = np.linspace(-edge, edge, 201)
    ax.plot(line, np.exp(-(line**2) / 2) / np.sqrt(2 * np.pi), color="black", linewidth=1, label="N(0, 1)")
    ax.set(xlabel="standardised residual", ylabel="density")
    ax.legend(frameon=False, loc="upper right")


def _levels(ax: Any, bound: float) -> None:
    """A line at zero, and dashed ones at the bounds."""
    for level in (0.0, -bound, bound):
        ax.axhline(level, color="black", linewidth=0.6, linestyle="--" if level else "-", zorder=1)


def _normal_quantiles(levels: np.ndarray) -> np.ndarray:
    return np.array([NormalDist().inv_cdf(float(level)) for level in levels])


def _paler(colour: str, share: float) -> tuple[float, ...]:
    """A colour mixed with that share of white."""
    return tuple((1 - share) * int(colour[i : i + 2], 16) / 255 + share for i in (1, 3, 5))


def file_types() -> tuple[str, ...]:
    """Endings, without the dot, that a figure can be saved under."""
    return tuple(sorted(figure()[0].canvas.get_supported_filetypes()))
