"""One business cycle behind four series of the United States: a dynamic factor, by EM and by gradients.

    cycle_t = persistence cycle_{t-1} + N(0, 1),    growth_t = effects cycle_t + d + N(0, diag(variances))

(Geweke 1977; Stock & Watson 1991), on quarterly growth of consumption, investment, income and, turned round,
unemployment from 1959 to 2009, in standard deviations; growth of output is not seen, for comparison. Left alone, the
noise of unemployment would vanish (a Heywood case); a prior, as if 22 quarters had been seen in which half of the
variance was each series' own, prevents it (Martin & McDonald 1975). Fisher's identity makes the E-step of EM and the
gradient one computation, so an iteration of each costs about the same: what differs is how far it goes.
"""

from pathlib import Path

import jax
import numpy as np
import optax
from common import command_line

import ssm
from ssm import datasets, plotting

FIXED = ("initial_mean", "initial_covariance", "transition_covariance")
# Peaks and troughs, by the National Bureau of Economic Research.
RECESSIONS = ((1960.25, 1961.0), (1969.75, 1970.75), (1973.75, 1975.0), (1980.0, 1980.5), (1981.5, 1982.75))
RECESSIONS += ((1990.5, 1991.0), (2001.0, 2001.75), (2007.75, 2009.25))
METHODS = {
    "EM": ssm.EM(150, tol=0),
    "L-BFGS": ssm.LBFGS(150, tol=1e-12),
    "Adam, rate 0.05": ssm.SGD(optax.adam(0.05), num_epochs=150),
}


def start(table: np.ndarray) -> ssm.LinearGaussian:
    """A cycle that forgets half in a quarter, and moves all series a little."""
    columns, one = table.shape[1], np.ones((1, 1))
    sees = np.full((columns, 1), 0.3), ssm.Diagonal(np.ones(columns))
    prior = ssm.RegressionPrior(degrees=20.0, scale=np.full(columns, 11.0))
    mean, bias = np.zeros(1), np.zeros(columns)
    return ssm.LinearGaussian(mean, 2 * one, 0.5 * one, one, *sees, emission_bias=bias, emission_prior=prior)


def main(out: str | Path | None = "figures") -> dict:
    """Fit by three methods from one start, print, draw the figure (none if `out` is None)."""
    names, table = datasets.CYCLE_COLUMNS[1:], datasets.cycle()
    output, table = table[:, 0], ((table - table.mean(0)) / table.std(0))[:, 1:]
    with jax.enable_x64(True):
        begin = start(table)
        fits = {name: ssm.fit(begin, table, method, frozen=FIXED, progress=False) for name, method in METHODS.items()}
        reached = {name: fit.objective for name, fit in fits.items()}
        trace = lambda fit: plotting.Curve(np.append(0, fit.times), np.append(fit.start_log_prob, fit.log_probs))
        curves = {name: trace(fit) for name, fit in fits.items()}
        model = fits["L-BFGS"].model
        errors = ssm.standard_errors(model, table, frozen=FIXED)
        smoothed = ssm.smooth(model, table).smoothed
        cycle, spread = np.asarray(smoothed.mean[:, 0]), np.sqrt(np.asarray(smoothed.covariance[:, 0, 0]))
        found = {name: float(effect) for name, effect in zip(names, model.emission_matrix[:, 0], strict=True)}
        persistence = float(model.transition_matrix[0, 0]), float(errors.transition_matrix[0, 0])
        shares = 1 - np.asarray(model.emission_covariance).diagonal()
    best = max(reached.values())
    for name, curve in curves.items():
        near = np.flatnonzero(best - curve.values < 0.1)
        print(f"{name:<16} {reached[name]:.4f}, within 0.1 nats of the best from iteration {near[0]}")
    agreement = float(np.corrcoef(cycle, output)[0, 1])
    print("persistence {:.3f} ({:.3f}), correlation with output {:.2f}".format(*persistence, agreement))
    for (name, effect), error, share in zip(
        found.items(), np.asarray(errors.emission_matrix)[:, 0], shares, strict=True
    ):
        print(f"effect on {name:<26} {effect:6.3f} ({error:.3f}), the cycle explains {share:4.0%}")
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        draw(cycle, spread, curves, best).savefig(Path(out) / "d1_dynamic_factor.png")
    return {"log_probs": reached, "cycle": cycle, "effects": found, "persistence": persistence, "agreement": agreement}


def draw(cycle, spread, curves, best):
    """The cycle over recessions, and the ways to the maximum by iteration and by seconds."""
    figure, ((history, steps, clock),) = plotting.figure(1, 3, width=13.0, height=3.8, width_ratios=(2, 1, 1))
    years = 1959.25 + np.arange(len(cycle)) / 4
    for begin, end in RECESSIONS:
        history.axvspan(begin, end, color="#cccccc", lw=0)
    history.fill_between(years, cycle - 1.645 * spread, cycle + 1.645 * spread, alpha=0.3, lw=0)
    history.plot(years, cycle, lw=1.4)
    history.set(
        xlabel="year", ylabel="cycle, with a band of 90 %", title="One cycle behind four series; grey: recessions"
    )
    for (name, curve), colour in zip(curves.items(), plotting.COLOURS, strict=False):
        gap = np.maximum(best - curve.values, 1e-9)
        steps.semilogy(gap, color=colour, lw=1.8, label=name)
        clock.semilogy(curve.seconds, gap, color=colour, lw=1.8)
    steps.set(xlabel="iteration", ylabel="log-posterior below the best, nats", title="By iteration")
    clock.set(xlabel="seconds, without compilation", title="By the clock")
    steps.legend(frameon=False, fontsize=8)
    for ax in (history, steps, clock):
        ax.title.set_fontsize("medium")
    return figure


if __name__ == "__main__":
    command_line(main, __doc__)
