"""Tracking in the plane with a sensor that drops out: a vessel of nearly constant velocity, filtered and smoothed.

    position_t = position_{t-1} + velocity_{t-1} + noise,    velocity_t = velocity_{t-1} + noise,
    measured_t = position_t + N(0, 0.2²) in each coordinate

with the noises of a velocity that is a Brownian motion (Bar-Shalom, Li & Kirubarajan 2001, section 6.2.2). A step is a
minute, a unit a kilometre. East and north are lost singly, each for a stretch, and both together; what is left is used.
"""

from pathlib import Path

import jax
import numpy as np
from common import command_line

import ssm
from ssm import plotting

BLUE, ORANGE, *_ = plotting.COLOURS
STEPS, NOISE, DRIFT = 100, 0.2, 0.02
INSIDE = 2 * np.log(10)  # the square of the radius of a 90 % ellipse, in standard deviations
LOST = {"east lost": (20, 32), "north lost": (45, 57), "both lost": (70, 80)}


def vessel() -> ssm.LinearGaussian:
    """State: east, north, and their velocities."""
    axes, square = np.eye(2), DRIFT**2
    move = np.kron([[1.0, 1.0], [0.0, 1.0]], axes)
    jitter = np.kron([[square / 3, square / 2], [square / 2, square]], axes)
    start = np.array([0.0, 0.0, 0.15, 0.05]), np.diag([1.0, 1.0, 0.1, 0.1]) ** 2
    return ssm.LinearGaussian(*start, move, jitter, np.eye(2, 4), NOISE**2 * axes)


def dropped(measured: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same (T, 2) with NaN for what is lost: three stretches, and one coordinate in ten."""
    seen = rng.uniform(size=measured.shape) > 0.1
    for stretch, lost in zip(LOST.values(), (0, 1, (0, 1)), strict=True):
        seen[slice(*stretch), lost] = False
    return np.where(seen, measured, np.nan)


def score(belief, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the truth (T,), and whether the truth is inside the 90 % ellipse (T,)."""
    off, spread = truth - np.asarray(belief.mean)[:, :2], np.asarray(belief.covariance)[:, :2, :2]
    return np.linalg.norm(off, axis=1), np.einsum("ti,tij,tj->t", off, np.linalg.inv(spread), off) < INSIDE


def main(out: str | Path | None = "figures") -> dict:
    """Print how far off both are, draw the figure (none if `out` is None), return what a test can check."""
    model = vessel()
    states, measured = (np.asarray(each) for each in ssm.simulate(model, jax.random.key(2), STEPS))
    truth, seen = states[:, :2], dropped(measured, np.random.default_rng(0))
    beliefs = {"filter": ssm.filter(model, seen).filtered, "smoother": ssm.smooth(model, seen).smoothed}
    print("metres off, root mean square, and the share of minutes with the vessel inside the 90 % ellipse")
    result = {}
    for name, belief in beliefs.items():
        distance, inside = score(belief, truth)
        parts = {"all": distance} | {why: distance[slice(*stretch)] for why, stretch in LOST.items()}
        result[name] = {why: 1000 * np.sqrt(np.mean(part**2)) for why, part in parts.items()}
        print(f"{name:<9}", *(f"{why} {off:.0f}," for why, off in result[name].items()), f"inside {inside.mean():.0%}")
        result[name]["inside"] = inside.mean()
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        draw(truth, seen, beliefs).savefig(Path(out) / "d2_tracking.png")
    return result


def draw(truth: np.ndarray, seen: np.ndarray, beliefs: dict):
    """The map with 90 % ellipses, and how far off both coordinates are, with 90 % bands."""
    figure, axes = plotting.figure(3, 1, width=10.0, height=2.8, height_ratios=[1.5, 1, 1])
    plane, *coordinates = axes[:, 0]
    angle = np.linspace(0, 2 * np.pi, 50)
    circle = np.sqrt(INSIDE) * np.stack([np.cos(angle), np.sin(angle)])
    for (name, belief), colour in zip(beliefs.items(), (ORANGE, BLUE), strict=True):
        mean, covariance = np.asarray(belief.mean)[:, :2], np.asarray(belief.covariance)[:, :2, :2]
        plane.plot(*mean.T, color=colour, lw=1.5, label=f"{name}, with 90 % every 6 minutes")
        for t in range(0, STEPS, 6):
            plane.plot(*(mean[t][:, None] + np.linalg.cholesky(covariance[t]) @ circle), color=colour, lw=0.7)
        for i, ax in enumerate(coordinates):
            off, width = mean[:, i] - truth[:, i], 1.645 * np.sqrt(covariance[:, i, i])
            ax.fill_between(range(STEPS), off - width, off + width, color=colour, alpha=0.25, lw=0)
            ax.plot(off, color=colour, lw=1.5, label=f"{name}, with 90 %")
    plane.plot(*truth.T, color="black", lw=1, ls="--", label="truth")
    plane.plot(*seen.T, ".", color="#777777", ms=4, label="measured in both coordinates")
    plane.set(xlabel="east, km", ylabel="north, km", aspect="equal", adjustable="datalim")
    for i, (ax, name) in enumerate(zip(coordinates, ("east", "north"), strict=True)):
        ax.plot(seen[:, i] - truth[:, i], ".", color="#777777", ms=4, label="measured")
        for j, stretch in enumerate((list(LOST.values())[i], LOST["both lost"])):
            edges, label = np.array(stretch) - 0.5, None if j else f"{name} lost"
            ax.axvspan(*edges, color="#e4e4e4", lw=0, zorder=0, label=label)
        ax.set(xlabel="minute", ylabel=f"{name}, km off the truth", ylim=(-1.5, 1.5), xlim=(-1, STEPS))
    for ax in (plane, *coordinates):
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    command_line(main, __doc__)
