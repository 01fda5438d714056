"""One recursion, several ways through time: the same evidence, with fewer steps that wait for one another.

    sequential            T steps, one after the other: the least work
    checkpointed blocks   the same, keeping one belief per block for a gradient
    composed blocks       inside blocks in order, across blocks as composed maps
    associative           all steps as composed maps, log T deep
    fixed point           a nonlinear network: guess the whole path, linearise, solve, repeat

With few cores the sequential walk is hard to beat; the others are for accelerators. What composes takes seconds to
compile, more for longer sequences, and is timed at short ones unless --all is given.
"""

import argparse
import timeit
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from ssm.schedules import Associative, Blocked, FixedPoint, Sequential

LENGTHS = (32, 512, 4096)
SCHEDULES = {  # by length; composed blocks are always four
    "sequential": lambda size: Sequential(),
    "checkpointed blocks": lambda size: Blocked(32),
    "composed blocks": lambda size: Blocked(size // 4, across=Associative()),
    "associative": lambda size: Associative(),
    "fixed point": lambda size: FixedPoint(),
}
COLOURS = ("#000000", "#0072B2", "#CC79A7", "#D55E00", "#009E73")  # Okabe & Ito: told apart by everyone
STYLES = dict(zip(SCHEDULES, zip(COLOURS, "osD^v", strict=True), strict=True))


def members() -> dict[str, tuple[ssm.HMM | ssm.LinearGaussian | ssm.RNN, dict[str, int]]]:
    """Models, and the longest sequence to time each of their schedules with."""
    key, one = jax.random.key(0), jnp.ones((1, 1))
    emission = ssm.emissions.Normal(jnp.arange(-2.0, 2.0)[:, None], jnp.ones((4, 1)))
    chain = ssm.HMM(jnp.ones(4) / 4, 0.8 * jnp.eye(4) + 0.05, emission)
    level = ssm.LinearGaussian(jnp.zeros(1), one, 0.9 * one, 0.2 * one, one, 0.5 * one)
    network = ssm.RNN(ssm.cells.GRU(1, 4, key=key), ssm.heads.Normal(4, 1, key=key))
    cheap = {"sequential": 4096, "checkpointed blocks": 4096}
    composed = {**cheap, "composed blocks": 4096, "associative": 32}
    nonlinear = (network, {**cheap, "fixed point": 32})
    return {"HMM, K = 4": (chain, composed), "Kalman filter, D = 1": (level, composed), "GRU, 4 units": nonlinear}


def measure(model, schedule, ys: np.ndarray, repeats: int = 20) -> tuple[float, float]:
    """The evidence, and the seconds of the fastest of several calls, already compiled."""
    ask = lambda: float(ssm.log_prob(model, ys, schedule=schedule))
    return ask(), min(timeit.repeat(ask, number=1, repeat=repeats))


def main(
    out: str | Path = "figures", all_lengths: bool = False, lengths: tuple[int, ...] = LENGTHS
) -> dict[str, float]:
    """Print a table, draw the figure, return each schedule's largest relative difference."""
    ys = np.random.default_rng(0).normal(size=(max(lengths), 1)).astype(np.float32)
    differences, timings = {}, {}
    print(f"{'':22s}{'schedule':22s}{'T':>6s}{'evidence':>13s}{'off by':>10s}{'ms':>9s}")
    for name, (model, longest) in members().items():
        reference = {}
        for label, limit in longest.items():
            for size in [size for size in lengths if all_lengths or size <= limit]:
                value, seconds = measure(model, SCHEDULES[label](size), ys[:size])
                off = abs(value / reference.setdefault(size, value) - 1)
                differences[f"{name}: {label}"] = max(off, differences.get(f"{name}: {label}", 0.0))
                timings.setdefault(name, {}).setdefault(label, []).append((size, seconds))
                print(f"{name:22s}{label:22s}{size:6d}{value:13.4f}{off:10.1e}{1e3 * seconds:9.3f}")
    draw(Path(out), timings)
    return differences


def draw(out: Path, timings: dict[str, dict[str, list[tuple[int, float]]]]) -> None:
    """Seconds against length, one panel per model."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(timings), figsize=(12, 4.4), sharey=True, sharex=True, layout="constrained")
    for axis, (name, schedules) in zip(axes, timings.items(), strict=True):
        for label, points in schedules.items():
            colour, marker = STYLES[label]
            axis.loglog(*zip(*points, strict=True), color=colour, marker=marker, ms=6, label=label)
        axis.set(title=name, xlabel="T (time steps)", xticks=LENGTHS, xticklabels=map(str, LENGTHS))
        axis.xaxis.set_minor_locator(plt.NullLocator())  # the few decades of seconds keep theirs
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("evidence of one sequence (seconds)")
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), frameon=False)
    figure.suptitle(f"One evidence, several ways through time, on the {jax.default_backend().upper()} backend")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "b1_parallel_in_time.png", dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One evidence under every schedule: a table and a figure.")
    parser.add_argument("--out", default="figures", help="folder for the figure (default: figures)")
    parser.add_argument("--all", action="store_true", help="time every schedule at every length: a minute or more")
    main(*vars(parser.parse_args()).values())
