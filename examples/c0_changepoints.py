"""When did the Nile change? Every segmentation of a century weighed at once, as it is recorded and in hindsight.

Bayesian online changepoint detection (Adams & MacKay 2007): the belief is a distribution over how long the present
segment has run. With `--series FILE` (a list of numbers in JSON) another series takes the Nile's place.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import ssm
from ssm import datasets

SEEN, LINE, NOW, LATER = "#555555", "#0072B2", "#56B4E9", "#D55E00"  # Okabe & Ito: told apart by everyone


def detector(length: int) -> ssm.ChangePoint:
    """One change in a hundred steps; segments of unknown mean and variance; as many runs as steps, so all is exact."""
    return ssm.ChangePoint(ssm.conjugate.NormalInverseGamma(0.0, 1.0, 1.0, 1.0), 0.01, length)


def standardised(ys: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance."""
    return (ys - ys.mean()) / ys.std()


def changepoints(run_lengths) -> list[int]:
    """Where segments begin, after the first one."""
    return (np.flatnonzero(np.asarray(run_lengths)[1:] == 0) + 1).tolist()


def f1_score(annotators: list[list[int]], found: list[int], margin: int = 5) -> float:
    """F1 against several people: precision by what anybody marked, recall averaged (van den Burg & Williams 2020)."""
    everybody = sorted({0}.union(*annotators))
    precision = matched(everybody, [0, *found], margin) / (len(found) + 1)
    recall = np.mean([matched([0, *marked], [0, *found], margin) / (len(marked) + 1) for marked in annotators])
    return float(2 * precision * recall / (precision + recall))


def matched(marked: list[int], found: list[int], margin: int) -> int:
    """How many marked changes were found, each by one of its own."""
    left = list(found)
    for change in marked:
        near = [each for each in left if abs(each - change) <= margin]
        if near:
            left.remove(min(near, key=lambda each: abs(each - change)))
    return len(found) - len(left)


def covering(annotators: list[list[int]], found: list[int], length: int) -> float:
    """Overlap of the segments people see with the best found one, by length, averaged (Arbelaez et al. 2010)."""
    cut = lambda changes: list(zip([0, *changes], [*changes, length], strict=True))
    overlap = lambda a, b: max(0, min(a[1], b[1]) - max(a[0], b[0])) / (max(a[1], b[1]) - min(a[0], b[0]))
    one = lambda marked: sum((a[1] - a[0]) * max(overlap(a, b) for b in cut(found)) for a in cut(marked)) / length
    return float(np.mean([one(marked) for marked in annotators]))


def main(out: str | Path | None = "figures", series: str | Path | None = None) -> dict:
    """Print the changepoints, draw the figure (none if `out` is None), return what a test can check."""
    raw = datasets.nile() if series is None else np.array(json.loads(Path(series).read_text()), float)
    first, ys = (1871 if series is None else 0), standardised(raw)
    model = detector(len(ys))
    now, later = ssm.filter(model, ys), ssm.smooth(model, ys).smoothed
    found = changepoints(ssm.decode(model, ys)[0])
    print(f"log-evidence {now.log_prob:.4f}; changes of the best segmentation: {np.add(found, first)}")
    for change in found:
        print(f"a change within 2 steps of {first + change}: {later.change[change - 2 : change + 3].sum():.2f}")
    if out is not None:
        draw(Path(out), first + np.arange(len(ys)), raw, found, now.filtered, later)
    return {"log_prob": float(now.log_prob), "changepoints": found, "change": np.asarray(later.change)}


def draw(out: Path, times: np.ndarray, raw: np.ndarray, found: list[int], now, later) -> None:
    """The series and its segments; where a change was, in hindsight; how long runs seemed at the time."""
    import matplotlib.pyplot as plt

    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(9, 8), sharex=True, layout="constrained")
    top.plot(times, raw, ".", color=SEEN, label="measured")
    for a, b in zip([0, *found], [*found, len(raw)], strict=True):
        top.hlines(raw[a:b].mean(), times[a], times[b - 1], color=LINE, lw=2, label=None if a else "segment means")
    middle.bar(times[1:], later.change[1:], color=LATER, label="probability of a change, from all data")
    share = np.asarray(now.by_length(len(raw))).T ** 0.5  # the square root shows small probabilities too
    bottom.pcolormesh(times, np.arange(len(raw)), share, cmap="Blues", shading="nearest", rasterized=True)
    bottom.plot(times, np.argmax(share, axis=0), color=LATER, lw=1, label="most probable at the time")
    for axis, label in zip((top, middle, bottom), ("measured", "probability", "run length"), strict=True):
        axis.set_ylabel(label)
        axis.legend(loc="upper left" if axis is bottom else "upper right", frameon=False)
    bottom.set_xlabel("time")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "c0_changepoints.png", dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="figures", help="folder for the figure (default: figures)")
    parser.add_argument("--series", help="a JSON file with one list of numbers (default: the Nile)")
    main(**vars(parser.parse_args()))
