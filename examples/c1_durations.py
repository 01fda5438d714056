"""How long do regimes last? A semi-Markov model learns it; an ordinary Markov chain must say "geometric".

A hidden Markov model forgets how long it has been in a state, so the probability of leaving never changes and the
shortest stay is always the likeliest. An explicit-duration model (Yu 2010) learns the distribution of the stays, and
with it when the next change is due.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

import ssm
from ssm import durations

LONGEST = 50
SWAP = np.array([[0.0, 1.0], [1.0, 0.0]])  # two regimes take turns
TRUTH, LASTING, PLAIN = "#555555", "#0072B2", "#D55E00"  # Okabe & Ito: told apart by everyone


def emission() -> ssm.emissions.Normal:
    """Two levels under noise as large as their difference."""
    return ssm.emissions.Normal([-0.7, 0.7], [1.0, 1.0])


def truth() -> ssm.HMM:
    """Regimes of about 8 and 20 steps, far more regular than geometric."""
    return ssm.HSMM([0.5, 0.5], SWAP, durations.NegativeBinomial([12.0, 12.0], [7.0, 19.0], LONGEST), emission())


def main(out: str | Path | None = "figures", length: int = 2000) -> dict[str, float]:
    """Fit both models, print what they learnt, draw the figure (none if `out` is None)."""
    states, ys = ssm.simulate(truth(), jax.random.key(0), length)
    modes = np.asarray(truth().dynamics.mode(states))
    start = ssm.HSMM([0.5, 0.5], SWAP, durations.NegativeBinomial([1.0, 1.0], [12.0, 12.0], LONGEST), emission())
    lasting = ssm.fit(start, ys, ssm.EM(max_iters=50), progress=False).model
    plain = ssm.fit(ssm.HMM([0.5, 0.5], 0.1 * SWAP + 0.9 * np.eye(2), emission()), ys, ssm.EM(), progress=False).model
    smoothed = lasting.dynamics.modes(ssm.smooth(lasting, ys).smoothed.probs)
    result = {
        "durations": float(ssm.log_prob(lasting, ys)) / length,
        "markov": float(ssm.log_prob(plain, ys)) / length,
        "durations, right": float(np.mean(np.asarray(smoothed).argmax(1) == modes)),
        "markov, right": float(np.mean(np.asarray(ssm.smooth(plain, ys).smoothed.probs).argmax(1) == modes)),
    }
    for name in ("durations", "markov"):
        print(f"{name:<10} {result[name]:.4f} nats a step, {result[name + ', right']:.1%} of regimes told right")
    family = lasting.dynamics.durations
    print(f"mean durations {np.round(family.expected, 1)}, of size {np.round(family.size, 1)} (geometric would be 1)")
    if out is not None:
        geometric = durations.Geometric(np.diagonal(plain.transition), 10 * LONGEST)  # as good as never cut off
        draw(Path(out), {"truth": truth().dynamics.durations, "semi-Markov": family, "Markov": geometric})
    return result


def draw(out: Path, families: dict[str, durations.AbstractDurations]) -> None:
    """Distributions of the durations of each regime, and how likely a regime of some age is to end now."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    steps = 1 + np.arange(LONGEST)
    for (name, family), colour, style in zip(families.items(), (TRUTH, LASTING, PLAIN), ("-", "--", ":"), strict=True):
        probs = np.asarray(family.probs, float)
        longer = probs[:, ::-1].cumsum(1)[:, ::-1]
        likely = longer > 0.01  # of ages that are hardly ever reached nothing is learnt
        for regime in (0, 1):
            axes[0, regime].plot(steps, probs[regime, :LONGEST], style, color=colour, label=name)
            hazard = np.where(likely, probs / np.where(likely, longer, 1), np.nan)[regime, :LONGEST]
            axes[1, regime].plot(steps, hazard, style, color=colour, label=name)
    for regime in (0, 1):
        axes[0, regime].set_title(f"regime {regime}", fontsize="medium", loc="left")
        axes[1, regime].set_xlabel("steps since the regime began")
    axes[0, 0].set_ylabel("probability of this duration")
    axes[1, 0].set_ylabel("probability to end now")
    axes[0, 1].legend(frameon=False)
    for axis in axes.ravel():
        axis.spines[["top", "right"]].set_visible(False)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "c1_durations.png", dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="figures", help="folder for the figure (default: figures)")
    parser.add_argument("--length", type=int, default=2000, help="steps to simulate (default: 2000)")
    main(**vars(parser.parse_args()))
