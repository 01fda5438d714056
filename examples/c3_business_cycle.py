"""Recessions of the United States from one series: Hamilton's autoregression around a mean that switches.

    y_t - mean(x_t) = Σ_l weights_l (y_t-l - mean(x_t-l)) + noise,   l = 1 .. 4

(Hamilton 1989). The observation depends on the last five regimes, so these are the state (`ssm.transitions.Recent`,
32 of them), and the 32 share two means, four weights and a scale (`ssm.emissions.Shared`). The data, growth of real
GNP in percent from 1951 to 1984, are in `switching/hamilton1989_gnp_growth.txt` of the folder that `--data` or the
environment variable ONESCAN_DATA names.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import command_line

import ssm
from ssm import datasets, plotting

LAGS = 4
# The regimes of each of the 32 states: now, and 1 .. 4 quarters ago.
REGIMES = np.stack(np.unravel_index(np.arange(2 ** (LAGS + 1)), (2,) * (LAGS + 1)), axis=1)


def regression(p: dict) -> ssm.emissions.LinearRegression:
    """What the shared parameters mean for each state: a line in the lags, whose height the five regimes decide."""
    means, weights = p["means"][REGIMES], p["weights"]
    each = lambda number: jnp.broadcast_to(number, (len(REGIMES), *number.shape))
    return ssm.emissions.LinearRegression(
        each(weights), means[:, 0] - means[:, 1:] @ weights, each(jnp.exp(p["log_scale"]))
    )


def autoregression(means, weights, variance: float, recession: float, growth: float) -> ssm.HMM:
    """The model, from the probabilities that a recession and that growth goes on."""
    transition = np.array([[recession, 1 - recession], [1 - growth, growth]])
    parameters = {"means": np.array(means), "weights": np.array(weights), "log_scale": np.log(variance) / 2}
    chain = ssm.transitions.Recent(transition, LAGS + 1)
    return ssm.HMM("stationary", chain, ssm.emissions.Shared(regression, parameters))


def published() -> ssm.HMM:
    """The maximum, in the four digits of Hamilton 1989, table I."""
    return autoregression([-0.3588, 1.1635], [0.0135, -0.0575, -0.247, -0.2129], 0.5914, 0.7547, 0.9041)


def named(model: ssm.HMM) -> dict:
    """The parameters by the names they have in the literature."""
    p, stay = model.emission.parameters, jnp.diag(model.dynamics.probs)
    numbers = {"recession stays": stay[0], "growth stays": stay[1], "mean, recession": p["means"][0]}
    numbers |= {"mean, growth": p["means"][1], "variance": jnp.exp(2 * p["log_scale"])}
    return numbers | {f"weight of lag {lag + 1}": p["weights"][lag] for lag in range(LAGS)}


def main(out: str | Path | None = "figures", data: str | Path | None = None, errors: bool = True) -> dict:
    """Fit, print a table of parameters, draw the figure (none if `out` is None), return what a test can check."""
    growth = np.loadtxt(datasets.public_file("switching/hamilton1989_gnp_growth.txt", data))
    ys, lags = growth[LAGS:], np.stack([growth[LAGS - lag : -lag] for lag in range(1, LAGS + 1)], axis=1)
    with jax.enable_x64(True):  # for second derivatives
        known = float(ssm.log_prob(published(), ys, lags))
        start = autoregression([0.0, 1.0], np.zeros(LAGS), 0.6, 0.7, 0.9)
        fit = ssm.fit(start, ys, ssm.LBFGS(300, tol=1e-11), lags, progress=False)
        found = {name: float(number) for name, number in named(fit.model).items()}
        spread = ssm.standard_errors(fit.model, ys, lags, of=named) if errors else {}
        reached = fit.log_prob
        print(f"log-likelihood {reached:.4f} after {fit.num_iters} iterations; as published {known:.4f}")
        for name, number in found.items():
            print(f"{name:<18} {number:8.4f}" + (f"  ({float(spread[name]):.4f})" if errors else ""))
        recession = np.asarray(fit.model.dynamics.marginal(ssm.smooth(fit.model, ys, lags).smoothed.probs))[:, 0]
        ahead = np.asarray(fit.model.dynamics.marginal(ssm.filter(fit.model, ys, lags).filtered.probs))[:, 0]
    if out is not None:
        draw(Path(out), 1951.25 + np.arange(len(growth))[LAGS:] / 4, ys, ahead, recession)
    return {"log_prob": reached, "published": known, "recession": recession, "found": found, "errors": spread}


def draw(out: Path, times: np.ndarray, ys: np.ndarray, then: np.ndarray, now: np.ndarray) -> None:
    """The growth, and how probable a recession was, as it was seen then and in hindsight."""
    figure, ((top,), (bottom,)) = plotting.figure(2, 1, height=2.4, sharex=True)
    top.plot(times, ys, color="black", lw=1)
    top.set_ylabel("growth of GNP, %")
    bottom.fill_between(times, now, color=plotting.COLOURS[0], alpha=0.35, lw=0, label="from all data")
    bottom.plot(times, then, color=plotting.COLOURS[1], lw=1.2, label="from the data until then")
    bottom.set(ylabel="probability of a recession", ylim=(0, 1))
    bottom.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "c3_business_cycle.png")


if __name__ == "__main__":
    command_line(main, __doc__)
