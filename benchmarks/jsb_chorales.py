"""How well, and how fast, does a hidden Markov model learn Bach's chorales?

The quarter-note grid of Boulanger-Lewandowski, Bengio & Vincent 2012: 229 chorales to learn from, 76 to choose by, 77
to be judged by, of 25 to 160 chords of 88 keys, in `polyphonic/JSB_Chorales.mat` of the folder that ONESCAN_DATA names.
Sequences are packed into rows, so that one program without much padding runs all of them. A key is struck with a beta
prior of `keys` chords of the average piece, a state follows another one with a Dirichlet prior of `moves` moves from
each: so what was not heard is improbable but not impossible. The two numbers are chosen on the second set, for every K;
the test set is scored once, for every start. Needs SciPy. Draws `chorales.png` in the folder `figures`.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import table
from ssm import datasets, plotting

SIZES = (10, 50, 100, 200, 400)
ITERATIONS, STARTS = 40, 3
PRIORS = [(keys, moves) for keys in (0.5, 1.5, 5.0) for moves in (4.0, 12.0)]


def main(
    sizes: tuple[int, ...] = SIZES, iterations: int = ITERATIONS, starts: int = STARTS, out: str | None = "figures"
) -> str:
    """Nats for each of the 4,725 chords of the test set, and seconds of EM; the figure, unless `out` is None."""
    train, choose, test = chorales()
    rows, scores = [], {}
    for size in sizes:
        score = lambda priors, size=size: fitted(size, train, choose, priors, 0, iterations)[0]
        priors = min(PRIORS, key=score)
        runs = [fitted(size, train, test, priors, seed, iterations) for seed in range(starts)]
        nats, learnt = [run[0] for run in runs], [run[1] for run in runs]
        scores[size] = runs
        spread = f"{min(nats):.3f} to {max(nats):.3f}"
        warm = f"{runs[-1][2]:.1f} s" if starts > 1 else "-"
        chosen = f"{priors[0]:g}, {priors[1]:g}"
        rows.append([str(size), f"{np.mean(nats):.3f}", spread, f"{np.mean(learnt):.3f}", chosen, warm])
    if out is not None:
        draw(Path(out), scores, independent(train, test), runs[0][3], min(test, key=len))
    title = f"JSB chorales: nats per chord after {iterations} EM iterations, from {starts} starts"
    return table(title, ["K", "test, mean", "test, all starts", "train", "priors", "time, warm"], rows)


def fitted(
    size: int, train: list, held_out: list, priors: tuple[float, float], seed: int, iterations: int
) -> tuple[float, float, float, ssm.HMM]:
    """Nats per chord of what was held out and of what was learnt from, seconds, and the model."""
    packed, apart = ssm.pack(train), ssm.pack(held_out)
    began = time.perf_counter()
    start = model(size, train, priors, seed)
    fit = ssm.fit(start, packed.ys, ssm.EM(iterations, tol=0.0), **packed.flags, progress=False)
    seconds = time.perf_counter() - began
    nats = -float(jnp.sum(ssm.log_prob(fit.model, apart.ys, **apart.flags))) / sum(map(len, held_out))
    return nats, -fit.log_prob / sum(map(len, train)), seconds, fit.model


def independent(train: list[np.ndarray], test: list[np.ndarray]) -> float:
    """Nats per chord if every key were struck as often as in the first set, whatever else is."""
    often = (np.concatenate(train).sum(axis=0) + 0.5) / (len(np.concatenate(train)) + 1)
    struck = np.concatenate(test)
    return -float(np.mean(struck @ np.log(often) + (1 - struck) @ np.log1p(-often)))


def draw(out: Path, scores: dict[int, list], chance: float, model: ssm.HMM, piece: np.ndarray) -> None:
    """Nats over the number of states; and a piece as it was expected, chord after chord, by the largest model."""
    figure, ((left, right),) = plotting.figure(1, 2, width=11.0, height=3.8, width_ratios=[1, 2])
    sizes = list(scores)
    for row, name, marker in ((0, "test", "o"), (1, "learnt from", "s")):
        left.plot(sizes, [np.mean([run[row] for run in scores[size]]) for size in sizes], f"-{marker}", label=name)
    left.axhline(chance, color="gray", linestyle="--", label="keys on their own")
    left.set(xscale="log", xlabel="states K", ylabel="nats per chord", xticks=sizes, xticklabels=sizes)
    left.minorticks_off()
    left.legend()
    expected = ssm.filter(model, piece).predicted.probs @ model.emission.probs
    shown = right.imshow(np.asarray(expected).T, aspect="auto", origin="lower", cmap="Blues", interpolation="nearest")
    chords, keys = np.nonzero(piece)
    right.scatter(chords, keys, s=7, color="#d55e00", label="struck")
    right.set(xlabel="chord", ylabel="key", ylim=(keys.min() - 2, keys.max() + 7), title=f"K = {sizes[-1]}, test piece")
    right.legend(loc="upper right")
    right.grid(False)
    figure.colorbar(shown, ax=right, label="probability given the chords before")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "chorales.png")


def chorales() -> tuple[list[np.ndarray], ...]:
    """Those to learn from, to choose by and to be judged by, (T_b, 88) zeros and ones each."""
    from scipy.io import loadmat

    pieces = loadmat(datasets.public_file("polyphonic/JSB_Chorales.mat"))
    return tuple(
        [np.asarray(piece, np.float32) for piece in pieces[name][0]] for name in ("traindata", "validdata", "testdata")
    )


def model(size: int, train: list[np.ndarray], priors: tuple[float, float], seed: int) -> ssm.HMM:
    """States at chords far apart, nearly even moves, and the two priors."""
    keys, moves = priors
    chords = np.concatenate(train)
    often = (chords.sum(axis=0) + 0.5) / (len(chords) + 1)  # no key is never struck
    for_chords, for_moves = jax.random.split(jax.random.key(seed))
    probs: Any = ssm.emissions.Bernoulli.from_data(for_chords, size, chords).probs
    emission = ssm.emissions.Bernoulli(probs, (keys * often, keys * (1 - often)))
    even = jax.random.dirichlet(for_moves, jnp.full(size, 10.0), (size,))
    return ssm.HMM(jnp.full(size, 1 / size), ssm.transitions.Homogeneous(even, moves / size), emission)
