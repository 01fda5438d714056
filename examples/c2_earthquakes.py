"""How many regimes have the world's great earthquakes? Poisson hidden Markov models of a century of counts.

The example of Zucchini & MacDonald (2009), chapters 3 to 6: chains that start as they would be found, fitted by
quasi-Newton ascent, chosen by AIC and BIC, checked by pseudo-residuals, and asked about the years to come. The data,
`year,count` of earthquakes of magnitude 7 and more, 1900-2006, are in `hmm/earthquakes_annual_1900_2006.csv` of
the folder that `--data` or the environment variable ONESCAN_DATA names.
"""

from pathlib import Path

import jax
import numpy as np
from common import command_line

import ssm
from ssm import datasets, plotting

BLUE, RED, GREEN = plotting.COLOURS[:3]


def start(counts: np.ndarray, size: int) -> ssm.HMM:
    """Rates at quantiles of the counts, and regimes that last ten years."""
    rates = np.quantile(counts, (np.arange(size) + 0.5) / size)
    others = np.full((size, size), 0.1 / max(size - 1, 1))
    stay = np.where(np.eye(size, dtype=bool), 1 - others.sum(axis=1) + others[0, 0], others)
    return ssm.HMM("stationary", stay, ssm.emissions.Poisson(rates))


def main(
    out: str | Path | None = "figures", data: str | Path | None = None, sizes: tuple[int, ...] = (1, 2, 3, 4)
) -> dict:
    """Fit, choose, check and forecast; draw the figure (none if `out` is None); return what a test can check."""
    path = datasets.public_file("hmm/earthquakes_annual_1900_2006.csv", data)
    years, counts = np.loadtxt(path, delimiter=",", skiprows=1, unpack=True)
    with jax.enable_x64(True):  # a hundred counts hold four decimals of the log-likelihood
        models = {f"{size} regime{'s' * (size > 1)}": start(counts, size) for size in sizes}
        choice = ssm.select(models, counts, ssm.LBFGS(max_iters=300, tol=1e-10))
        print(choice)
        model = choice.fits[choice.best].model
        rates = np.asarray(model.emission.rate)
        print("rates", np.round(rates, 3), "stay", np.round(np.diag(model.transition), 3))
        ahead, residuals = ssm.forecast(model, counts, 10), jax.tree.map(np.asarray, ssm.residuals(model, counts))
        regime = rates[ssm.decode(model, counts)[0]]
        mean, low, high = (np.asarray(each) for each in (ahead.mean, *ahead.interval(0.9)))
    print(f"next year {mean[0]:.1f} expected, 90 % between {low[0]:.0f} and {high[0]:.0f}")
    diagnosis = ssm.diagnose(residuals)
    print(diagnosis)
    if out is not None:
        draw(Path(out), years, counts, choice, regime, mean, (low, high), residuals)
    rows = {row.name[:1]: row for row in choice.rows}
    return {
        "minus_loglik": {size: -row.log_prob for size, row in rows.items()},
        "AIC": {size: row.aic for size, row in rows.items()},
        "BIC": {size: row.bic for size, row in rows.items()},
        "rates": rates,
        "residuals": np.asarray(residuals.mid),
        "diagnosis": diagnosis,
        "next_year": (float(low[0]), float(mean[0]), float(high[0])),
    }


def draw(out: Path, years, counts, choice, regime, mean, interval, residuals) -> None:
    """The counts, their regimes and what comes next; the choice; the residuals against normal quantiles."""
    from statistics import NormalDist

    figure, ((series, scores), (over_time, normal)) = plotting.figure(2, 2, width=11.0, width_ratios=[2, 1])
    later = years[-1] + np.arange(1, len(mean) + 1)
    series.plot(years, counts, ".-", color="0.6", lw=0.7, label="earthquakes in a year")
    series.step(years, regime, where="mid", color=BLUE, lw=2, label="rate of the best path")
    series.fill_between(later, *interval, color=RED, alpha=0.3, lw=0, label="forecast, 90 %")
    series.plot(later, mean, color=RED, lw=2, label="forecast, mean")
    series.legend(frameon=False, ncols=2, fontsize="small")
    series.set(xlabel="year", ylim=(0, 48))
    rows = sorted(choice.rows, key=lambda row: row.name)
    for name, colour in (("aic", BLUE), ("bic", RED)):
        scores.plot([row.name[:1] for row in rows], [getattr(row, name) for row in rows], "o-", color=colour)
        scores.annotate(name.upper(), (len(rows) - 1, getattr(rows[-1], name)), (-4, 8), textcoords="offset points")
    scores.set_xlabel("regimes")
    over_time.vlines(years, residuals.low, residuals.high, color=BLUE, lw=2)
    for level in (-1.96, 0, 1.96):
        over_time.axhline(level, color="black", lw=0.6, ls="--" if level else "-")
    over_time.set(xlabel="year", ylabel="forecast pseudo-residual")
    expected = [NormalDist().inv_cdf((i + 0.5) / len(counts)) for i in range(len(counts))]
    normal.plot(expected, np.sort(residuals.mid), ".", color=GREEN)
    normal.plot(expected, expected, color="black", lw=0.6)
    normal.set(xlabel="standard normal quantile", ylabel="residual")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "c2_earthquakes.png")


if __name__ == "__main__":
    command_line(main, __doc__)
