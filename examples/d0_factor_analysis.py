"""Factor analysis and probabilistic principal components are Kalman filters that forget everything.

    x_t ~ N(0, I),    y_t = H x_t + d + N(0, R)

is `ssm.LinearGaussian` with a transition matrix of zero: rows of a table in the place of times. With one variance for
all noises its maximum has a closed form, the leading eigenvectors of the covariance (Tipping & Bishop 1999); with one
for each column it is factor analysis (Rubin & Thayer 1982), which has none. EM and L-BFGS find both.
"""

from pathlib import Path

import jax
import numpy as np
from common import command_line

import ssm
from ssm import datasets, plotting

BLUE, ORANGE, GREEN, *_ = plotting.COLOURS
FIXED = ("initial_mean", "initial_covariance", "transition_matrix", "transition_covariance")
SIZE = 2


def start(noise: ssm.Diagonal | ssm.Spherical, columns: int) -> ssm.LinearGaussian:
    """Two causes of unit variance, with small random effects on every column."""
    effects = 0.3 * np.random.default_rng(0).normal(size=(columns, SIZE))
    nothing, unit = np.zeros((SIZE, SIZE)), np.eye(SIZE)
    return ssm.LinearGaussian(np.zeros(SIZE), unit, nothing, unit, effects, noise, emission_bias=np.zeros(columns))


def closed_form(table: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Principal axes as effects, variance of the noise, and log-likelihood (Tipping & Bishop 1999, eqs. 4, 7, 8)."""
    rows, columns = table.shape
    covariance = np.cov(table.T, bias=True)
    values, vectors = (each[..., ::-1] for each in np.linalg.eigh(covariance))
    noise = values[SIZE:].mean()
    effects = vectors[:, :SIZE] * np.sqrt(values[:SIZE] - noise)
    model = effects @ effects.T + noise * np.eye(columns)
    spread = np.linalg.slogdet(model)[1] + np.trace(np.linalg.solve(model, covariance))
    return effects, float(noise), float(-rows / 2 * (columns * np.log(2 * np.pi) + spread))


def main(out: str | Path | None = "figures") -> dict:
    """Fit both, print how near the closed form is, draw the figure (none if `out` is None)."""
    names, places, table = datasets.state_crime()
    table, columns = (table - table.mean(0)) / table.std(0), len(names)
    axes, noise, best = closed_form(table)
    with jax.enable_x64(True):
        ppca = {
            name: ssm.fit(start(ssm.Spherical(1.0, columns), columns), table, method, frozen=FIXED, progress=False)
            for name, method in {"EM": ssm.EM(80, tol=0), "L-BFGS": ssm.LBFGS(80, tol=1e-12)}.items()
        }
        factors = ssm.fit(start(ssm.Diagonal(np.ones(columns)), columns), table, ssm.EM(300), frozen=FIXED)
        model = ppca["L-BFGS"].model
        states = np.asarray(ssm.smooth(model, table).smoothed.mean)
        effects, variance = np.asarray(model.emission_matrix), float(model.emission_covariance[0, 0])
        unique = np.asarray(factors.model.emission_covariance).diagonal()
        kept = {name: (fit.log_prob, best - np.append(fit.start_log_prob, fit.log_probs)) for name, fit in ppca.items()}
        bic, apart = ppca["EM"].bic, (factors.log_prob, factors.bic)
    # The causes are known up to a rotation: turn them to the principal axes.
    left, _, right = np.linalg.svd(effects.T @ axes)
    states, effects = states @ left @ right, effects @ left @ right
    for name, (reached, curve) in kept.items():
        print(f"{name:<7} after {len(curve) - 1:3} iterations: {reached:.6f}, in closed form {best:.6f}")
    print(f"variance of the noise {variance:.6f}, in closed form {noise:.6f}")
    print(f"one variance for each column: {apart[0]:.3f}, BIC {apart[1]:.1f}; one for all: BIC {bic:.1f}")
    curves = {name: curve for name, (_, curve) in kept.items()}
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        draw(names, places, states, effects, curves, unique, variance).savefig(Path(out) / "d0_factor_analysis.png")
    gaps = {name: float(curve[-1]) for name, curve in curves.items()}
    return {"gaps": gaps, "noise": (variance, noise), "effects": (effects, axes), "factors": apart[0] - best}


def draw(names, places, states, effects, curves, unique, variance):
    """The states of the Union in two dimensions, the way to the maximum, and what is left to noise."""
    figure, ((plane, climb, rest),) = plotting.figure(1, 3, width=13.0, height=4.4)
    plane.plot(*states.T, ".", color="#888888", ms=4)
    for i in map(places.index, ("Mississippi", "District of Columbia", "West Virginia", "Hawaii", "New Hampshire")):
        plane.annotate(places[i], states[i], xytext=(3, 3), textcoords="offset points", fontsize=7, color="#555555")
    for name, effect in zip(names, 3 * effects, strict=True):
        plane.annotate("", effect, (0, 0), arrowprops={"arrowstyle": "->", "color": BLUE})
        plane.text(*(1.04 * effect), name, color=BLUE, ha="left" if effect[0] > 0 else "right", va="center", fontsize=8)
    plane.set(xlabel="first cause", ylabel="second cause", title="States and the effects of two causes (× 3)")
    plane.set(xlim=(-5.2, 3.9), ylim=(-2.4, 2.6))
    for (name, curve), colour in zip(curves.items(), (BLUE, ORANGE), strict=True):
        climb.semilogy(np.maximum(curve, 1e-12), color=colour, lw=2, label=name)
    climb.set(xlabel="iteration", ylabel="nats below the maximum in closed form", title="Probabilistic PCA")
    climb.legend(frameon=False)
    rest.barh(names, unique, color=GREEN, height=0.6, label="one variance for each column")
    rest.axvline(variance, color=ORANGE, lw=2, label="one variance for all")
    rest.set(xlabel="share of the variance that is noise", xlim=(0, 1), title="What two causes leave")
    rest.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.57))
    for ax in (plane, climb, rest):
        ax.title.set_fontsize("medium")
    return figure


if __name__ == "__main__":
    command_line(main, __doc__)
