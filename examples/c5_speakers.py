"""Who is speaking? One hidden Markov model for each of nine speakers; the most probable one names the speaker.

640 utterances of the Japanese vowel /ae/, 7 to 29 frames of 12 cepstral coefficients each (Kudo, Toyama & Shimbo
1999), in `classify/japanese_vowels.npz` of the folder that `--data` or the environment variable ONESCAN_DATA names.
All speakers have as many utterances to learn from, so one program fits the nine models one after the other, and one
`vmap` over models scores every utterance under all of them.
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from common import command_line

import ssm
from ssm import datasets, plotting


def utterances(data: str | Path | None, part: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames (T_b, 12) of each utterance, and who spoke (B,); `part` is "tr" or "te"."""
    with np.load(datasets.public_file("classify/japanese_vowels.npz", data)) as file:
        frames, lengths, speakers = (file[name + part] for name in "XLy")
    return np.split(frames, np.cumsum(lengths)[:-1]), speakers


def learn(own: list[np.ndarray], size: int, longest: int, iterations: int) -> ssm.HMM:
    """Gaussian states with full covariances, in any order, padded alike for all speakers."""
    ys = np.zeros((len(own), longest, own[0].shape[1]), np.float32)
    for row, utterance in zip(ys, own, strict=True):
        row[: len(utterance)] = utterance
    frames = np.concatenate(own)
    # States begin in thirds of the utterances, where the vowel changes.
    thirds = np.concatenate([np.arange(len(utterance)) * size // len(utterance) for utterance in own])
    loc = np.stack([frames[thirds == k].mean(axis=0) for k in range(size)])
    covariance = np.stack([np.cov(frames[thirds == k].T) for k in range(size)]) + 1e-3 * np.eye(frames.shape[1])
    emission = ssm.emissions.MultivariateNormal(loc.astype(np.float32), covariance.astype(np.float32))
    start = ssm.HMM(jnp.full(size, 1 / size), jnp.full((size, size), 0.2 / size) + 0.8 * jnp.eye(size), emission)
    lengths = np.array([len(utterance) for utterance in own])
    return ssm.fit(start, ys, ssm.EM(iterations, tol=1e-4), lengths=lengths, progress=False).model


def main(
    out: str | Path | None = "figures", data: str | Path | None = None, size: int = 3, iterations: int = 30
) -> dict:
    """Learn, classify, draw the figure (none if `out` is None), return what a test can check."""
    (train, speakers), (test, truth) = utterances(data, "tr"), utterances(data, "te")
    names = np.unique(speakers)
    longest = max(map(len, train))
    models = [learn([train[i] for i in np.flatnonzero(speakers == n)], size, longest, iterations) for n in names]
    ys, lengths = ssm.pad(test)
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    evidence = eqx.filter_vmap(lambda model: ssm.log_prob(model, ys, lengths=lengths))(together)  # (9, B)
    said = names[np.argmax(np.asarray(evidence), axis=0)]
    right = float(np.mean(said == truth))
    print(f"{right:.4f} of {len(test)} utterances by the right one of {len(names)} speakers")
    if out is not None:
        draw(Path(out), np.asarray(evidence) / np.asarray(lengths), truth, said, names)
    return {"accuracy": right, "finite": bool(np.isfinite(np.asarray(evidence)).all())}


def draw(out: Path, evidence: np.ndarray, truth: np.ndarray, said: np.ndarray, names: np.ndarray) -> None:
    """The evidence of every utterance under every model, relative to the best, and who was taken for whom."""
    figure, ((left, right),) = plotting.figure(1, 2, width=11.0, height=3.6, width_ratios=[2, 1])
    order = np.argsort(truth, kind="stable")
    relative = np.maximum((evidence - evidence.max(axis=0))[:, order], -20)
    shown = left.imshow(relative, aspect="auto", cmap="Blues_r", interpolation="nearest")
    figure.colorbar(shown, ax=left, label="nats per frame below the best")
    left.set(xlabel="utterance, by speaker", ylabel="model")
    table = np.array([[np.sum((truth == a) & (said == b)) for b in names] for a in names])
    right.imshow(table, cmap="Blues")
    for (i, j), count in np.ndenumerate(table):
        if count:
            right.text(j, i, count, ha="center", va="center", color="white" if count > table.max() / 2 else "black")
    right.set(xlabel="taken for", ylabel="speaker", xticks=range(len(names)), yticks=range(len(names)))
    for axis in (left, right):
        axis.grid(False)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "c5_speakers.png")


if __name__ == "__main__":
    command_line(main, __doc__)
