"""Ragged and partly missing data: sequences of their own lengths, absent steps, absent components, in one batch.

Padding is not data: whatever fills it up, every answer equals that of the sequence alone. What is missing is
integrated out, one component at a time if need be, never dropped and never filled in.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ssm

ORANGE, BLUE, SKY, GREY = "#D55E00", "#0072B2", "#56B4E9", "#999999"  # Okabe & Ito: told apart by everyone


def chain() -> ssm.HMM:
    """Three states that stay for a while, each with its own normal distribution."""
    emission = ssm.emissions.Normal(jnp.array([-2.0, 0.0, 2.0]), jnp.array([0.6, 0.6, 0.6]))
    return ssm.HMM(jnp.ones(3) / 3, 0.05 * jnp.ones((3, 3)) + 0.85 * jnp.eye(3), emission)


def rotation() -> ssm.LinearGaussian:
    """A slow rotation in the plane, seen in both coordinates."""
    angle = 2 * np.pi / 24
    turn = 0.995 * jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    eye = jnp.eye(2)
    return ssm.LinearGaussian(jnp.array([2.0, 0.0]), eye, turn, 0.02 * eye, eye, 0.15 * eye)


def main(out: str | Path | None = "figures") -> dict[str, float]:
    """Compare padded with separate runs, draw the figure (none if `out` is None), return the differences."""
    rng = np.random.default_rng(0)
    lengths = (60, 37, 18)
    differences = {}
    for name, model in (("HMM", chain()), ("LinearGaussian", rotation())):
        sequences = [np.array(ssm.simulate(model, jax.random.key(n), 60)[1])[:n] for n in lengths]
        masks = [rng.uniform(size=ys.shape) > 0.2 for ys in sequences]  # a fifth of all components is missing

        # One rectangle, its length and its gaps said three ways: lengths=, mask=, NaN.
        ys, sizes = ssm.pad(sequences)
        mask, _ = ssm.pad(masks)
        masked = ssm.log_prob(model, ys, mask=mask, lengths=sizes)
        as_nan = ssm.log_prob(model, np.where(mask, ys, np.nan), lengths=sizes)
        rubbish = jnp.where(mask, ys, 1e6)  # what a mask hides is never read
        hidden = ssm.log_prob(model, rubbish, mask=mask, lengths=sizes)

        alone = np.array([ssm.log_prob(model, one, mask=seen) for one, seen in zip(sequences, masks, strict=True)])
        print(f"{name:15s} separate {alone.round(3)}   padded {np.asarray(masked).round(3)}")
        differences[f"{name} padded"] = float(np.max(np.abs(np.asarray(masked) - alone)))
        differences[f"{name} NaN"] = float(np.max(np.abs(np.asarray(as_nan - masked))))
        differences[f"{name} rubbish"] = float(np.max(np.abs(np.asarray(hidden - masked))))
    print("\n".join(f"largest difference, {name}: {value:.1e}" for name, value in differences.items()))
    if out is not None:
        draw(Path(out))
    return differences


def draw(out: Path) -> None:
    """What the models believe about what they did not see."""
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 7), layout="constrained")
    model, t = chain(), np.arange(60)
    states, ys = map(np.array, ssm.simulate(model, jax.random.key(1), 60))
    ys[25:37] = np.nan
    probs = np.asarray(ssm.smooth(model, ys).smoothed.probs)
    image = top.imshow(probs.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, origin="lower")
    top.plot(t, states, ".", color=ORANGE, label="true state")
    top.axvspan(24.5, 36.5, facecolor="none", edgecolor=GREY, hatch="//", lw=0, label="nothing observed")
    top.set(title="HMM: smoothed probability of each state", xlabel="time step", ylabel="state", yticks=range(3))
    figure.colorbar(image, ax=top, label="probability", pad=0.01)
    top.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=2, frameon=False)

    model = rotation()
    states, ys = map(np.array, ssm.simulate(model, jax.random.key(3), 60))
    ys[15:35, 1] = np.nan  # the second coordinate alone
    belief = ssm.smooth(model, ys).smoothed
    mean, stddev = np.asarray(belief.mean[:, 1]), np.sqrt(np.asarray(belief.covariance[:, 1, 1]))
    bottom.fill_between(t, mean - 1.645 * stddev, mean + 1.645 * stddev, color=SKY, alpha=0.45, lw=0, label="90 % band")
    bottom.plot(t, mean, color=BLUE, lw=2, label="smoothed mean")
    bottom.plot(t, states[:, 1], "--", color=ORANGE, label="true position")
    bottom.plot(t, ys[:, 1], ".", color="#333333", label="observed")
    bottom.set(title="Linear-Gaussian model: second coordinate, unseen at steps 15-34, where the first still is seen")
    bottom.set(xlabel="time step", ylabel="position (arbitrary units)", xlim=(-0.5, 59.5))
    bottom.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=4, frameon=False)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "b0_missing_and_ragged.png", dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="figures", help="folder for the figure (default: figures)")
    main(parser.parse_args().out)
