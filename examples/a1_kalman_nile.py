"""The Nile at Aswan, 1871-1970, as a noisy level that wanders: fitted, smoothed, bridged, forecast and examined.

The local level model of Durbin & Koopman 2012, chapter 2, whose numbers and figures these are:

    level_t = level_{t-1} + N(0, change),    flow_t = level_t + N(0, noise)

Nothing is known of the first level (an exactly diffuse start), and the two variances are those of maximum likelihood.
"""

from pathlib import Path

import jax
import numpy as np
from common import command_line

import ssm
from ssm import datasets, plotting

BLUE, ORANGE, GREEN, *_ = plotting.COLOURS
YEARS = 1871 + np.arange(100)
MISSING = np.isin(np.arange(100), [*range(20, 40), *range(60, 80)])  # observations 21-40 and 61-80
FIXED = ("initial_mean", "initial_covariance", "transition_matrix", "emission_matrix")


def local_level(noise: float, change: float) -> ssm.LinearGaussian:
    """A level that nothing is known about at first; variances in (10^8 m³)²."""
    number = lambda value: np.full((1, 1), value)
    return ssm.LinearGaussian(
        np.zeros(1), number(0.0), number(1.0), number(change), number(1.0), number(noise), diffuse=[True]
    )


def main(out: str | Path | None = "figures", fit: bool = True) -> dict:
    """Print, draw two figures (none if `out` is None), return what a test can check; `fit=False`: as in the book."""
    flow, log_prob = datasets.nile()[:, None], float("nan")
    with jax.enable_x64(True):  # a hundred years hold seven digits of the log-likelihood
        model = local_level(15099.0, 1469.1)
        if fit:
            start = local_level(np.var(flow) / 2, np.var(np.diff(flow[:, 0])) / 4)
            fitted = ssm.fit(start, flow, ssm.LBFGS(tol=1e-9), frozen=FIXED, progress=False)
            model, log_prob = fitted.model, fitted.log_prob
        noise, change = float(model.emission_covariance[0, 0]), float(model.transition_covariance[0, 0])
        # All years, and without two stretches of twenty: one batch.
        mask = np.stack([np.ones(100, bool), ~MISSING])
        smoothed = ssm.smooth(model, np.stack([flow, flow]), mask=mask).smoothed
        levels = np.asarray(smoothed.mean[..., 0]), np.asarray(smoothed.covariance[..., 0, 0])
        filtered = np.asarray(ssm.filter(model, flow).filtered.mean[:, 0])
        ahead = ssm.forecast(model, flow, 30)
        future = [np.asarray(each)[:, 0] for each in (ahead.mean, *ahead.interval(0.5), *ahead.interval(0.9))]
        innovations = np.asarray(ssm.innovations(model, flow))
        noises = jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0], ssm.auxiliary_residuals(model, flow))
    outlier = int(YEARS[np.argmax(np.abs(noises.emission))])
    broken = int(YEARS[np.nanargmax(np.abs(noises.transition))])
    diagnosis = ssm.diagnose(innovations, lags=[1, 9])
    print(f"variances {noise:.1f} and {change:.1f}, log-likelihood {log_prob:.4f}")
    print(f"flow in 1971: {future[0][0]:.0f}, 90 % between {future[3][0]:.0f} and {future[4][0]:.0f};", end=" ")
    print(f"in 2000: {future[0][-1]:.0f}, 90 % between {future[3][-1]:.0f} and {future[4][-1]:.0f}")
    print(f"the flow stands out most in {outlier}, the level broke in {broken}\n{diagnosis}")
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        draw(flow[:, 0], filtered, levels, future, noises).savefig(Path(out) / "a1_kalman_nile.png")
        plotting.residuals(innovations, times=YEARS).savefig(Path(out) / "a1_kalman_nile_residuals.png")
    answer = {"log_prob": log_prob, "noise": noise, "change": change, "outlier": outlier, "break": broken}
    return answer | {"diagnosis": diagnosis, "variances": levels[1], "forecast": np.stack(future)}


def draw(flow, filtered, levels, future, noises):
    """The past, the past with gaps, the future, and what stands out."""
    figure, ((past, gaps), (later, strange)) = plotting.figure(2, 2, width=11.0)
    for ax, mean, variance, seen in zip((past, gaps), *levels, (MISSING | True, ~MISSING), strict=True):
        spread = 1.645 * np.sqrt(variance)
        ax.fill_between(YEARS, mean - spread, mean + spread, color=BLUE, alpha=0.25, lw=0, label="90 % for the level")
        ax.plot(YEARS, mean, color=BLUE, lw=2, label="level, from all years")
        ax.plot(YEARS[seen], flow[seen], ".", color="#333333", ms=4, label="flow")
    past.plot(YEARS, filtered, color=ORANGE, lw=1, label="level, from the years until then")
    gaps.plot(YEARS[MISSING], flow[MISSING], ".", color="#bbbbbb", ms=4, label="flow, kept from the model")
    ahead, (mean, *bounds) = 1971 + np.arange(30), future
    for low, high, alpha, level in ((*bounds[2:], 0.2, "90 %"), (*bounds[:2], 0.3, "50 %")):
        later.fill_between(ahead, low, high, color=ORANGE, alpha=alpha, lw=0, label=f"{level} for the flow")
    later.plot(YEARS[50:], flow[50:], ".", color="#333333", ms=4, label="flow")
    later.plot(ahead, mean, color=ORANGE, lw=2, label="expected flow")
    for ax in (past, gaps, later):
        ax.set(xlabel="year", ylabel="annual flow, 10$^8$ m$^3$", ylim=(300, 1800))
    strange.vlines(YEARS, 0, noises.emission, color=GREEN, lw=2, label="noise of the flow: outliers")
    strange.plot(YEARS, noises.transition, color=BLUE, lw=1.5, label="noise of the level: breaks")
    strange.hlines((-1.96, 1.96), *YEARS[[0, -1]], "black", "dashed", lw=0.6)
    for year, noise in ((1899, noises.transition), (1913, noises.emission)):
        strange.text(year, noise[year - 1871] - 0.15, str(year), ha="center", va="top", fontsize=8)
    strange.set(xlabel="year", ylabel="standard deviations", ylim=(-4, 4))
    for ax in (past, gaps, later, strange):
        ax.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    return figure


if __name__ == "__main__":
    command_line(main, __doc__)
