"""The Nile at Aswan, 1871-1970, as a noisy level that wanders: present, past, gaps and future by one model.

The local level model and its numbers are those of Durbin & Koopman 2012, chapter 2:

    level_t = level_{t-1} + N(0, 1469.1),    flow_t = level_t + N(0, 15099)
"""

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import ssm

SEEN, BAND, LINE, FUTURE = "#555555", "#56B4E9", "#0072B2", "#D55E00"  # Okabe & Ito: told apart by everyone


def local_level() -> ssm.LinearGaussian:
    """A level that nothing is known about at first: variance 1e7, in (10^8 m³)²."""
    one = jnp.ones((1, 1))
    return ssm.LinearGaussian(jnp.zeros(1), 1e7 * one, one, 1469.1 * one, one, 15099.0 * one)


def band(belief) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and central 90 % interval of a scalar normal belief."""
    mean, stddev = np.asarray(belief.mean[:, 0]), np.sqrt(np.asarray(belief.covariance[:, 0, 0]))
    return mean, mean - 1.645 * stddev, mean + 1.645 * stddev


def main(out: str | Path | None = "figures") -> dict[str, float]:
    """Print the evidence, draw the figure (none if `out` is None), return what a test can check."""
    from statsmodels.datasets import nile

    data = nile.load_pandas().data
    years, flow = data["year"].to_numpy().astype(int), data["volume"].to_numpy()[:, None]
    model = local_level()
    filtered, smoothed = ssm.filter(model, flow), ssm.smooth(model, flow)

    gaps = flow.copy()
    gaps[20:40], gaps[60:80] = np.nan, np.nan  # observations 21-40 and 61-80
    bridged = ssm.smooth(model, gaps)

    ahead = ssm.forecast(model, flow, 30)
    low, high = ahead.interval(0.9)
    print(f"log-likelihood of {len(flow)} years:  {filtered.log_prob:.4f}")
    print(f"with 40 of them missing:      {bridged.log_prob:.4f}")
    print(f"flow in {years[-1] + 1}: {ahead.mean[0, 0]:.0f}, 90 % between {low[0, 0]:.0f} and {high[0, 0]:.0f}")
    print(f"flow in {years[-1] + 30}: {ahead.mean[-1, 0]:.0f}, 90 % between {low[-1, 0]:.0f} and {high[-1, 0]:.0f}")
    if out is not None:
        beliefs = {
            "Filtered: from the past": (filtered.filtered, flow),
            "Smoothed: from all years": (smoothed.smoothed, flow),
            "Two gaps of 20 years, smoothed": (bridged.smoothed, gaps),
        }
        draw(Path(out), years, beliefs, ahead)
    return {
        "log_prob": float(filtered.log_prob),
        "smoothed_variance": float(smoothed.smoothed.covariance[50, 0, 0]),
        "gap_variance": float(bridged.smoothed.covariance[30, 0, 0]),
        "forecast_mean": float(ahead.mean[-1, 0]),
        "forecast_width": float(high[-1, 0] - low[-1, 0]),
    }


def draw(out: Path, years: np.ndarray, beliefs: dict, ahead) -> None:
    """Four panels: the present, the past, gaps and the future."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex=True, sharey=True, layout="constrained")
    for axis, (title, (belief, flow)) in zip(axes.flat, beliefs.items(), strict=False):
        mean, low, high = band(belief)
        axis.fill_between(years, low, high, color=BAND, alpha=0.45, lw=0, label="90 % for the level")
        axis.plot(years, flow[:, 0], ".", color=SEEN, ms=5, label="measured flow")
        axis.plot(years, mean, color=LINE, lw=2, label="expected level")
        axis.set_title(title)
    seen = axes[1, 1]
    later = years[-1] + 1 + np.arange(30)
    low, high = ahead.interval(0.9)
    seen.plot(years, beliefs["Smoothed: from all years"][1][:, 0], ".", color=SEEN, ms=5)
    seen.fill_between(later, low[:, 0], high[:, 0], color=FUTURE, alpha=0.25, lw=0, label="90 % for the flow")
    seen.plot(later, ahead.mean[:, 0], color=FUTURE, lw=2, label="expected flow")
    seen.set_title("Forecast of the next 30 years")
    for axis in axes.flat:
        axis.set(xlabel="year", ylabel="annual flow (10$^8$ m$^3$)", ylim=(300, 1900))
        axis.legend(loc="upper right", frameon=False, fontsize=9)
        axis.label_outer()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "a1_kalman_nile.png", dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="figures", help="folder for the figure (default: figures)")
    main(parser.parse_args().out)
