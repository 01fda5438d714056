"""What a hidden Markov model finds in letters: two states, told nothing, are the vowels and the consonants.

The discovery of Cave & Neuwirth (1980) on 27 symbols, a space and a to z; with more states, fewer bits for each
letter of text that was not read, beside counting single letters, pairs and triples, by how many numbers each learns.
The text is that of `--data` (`text/tinyshakespeare.txt` in that folder, or in the one of the environment variable
ONESCAN_DATA), or else Python's own documentation. Takes a minute or two.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import command_line

import ssm
from ssm import datasets, plotting


def text(data: str | Path | None) -> np.ndarray:
    """Symbols (T,)."""
    try:
        return datasets.letters(datasets.public_file("text/tinyshakespeare.txt", data).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if data is not None:
            raise
        return datasets.letters(datasets.english_text())


def counted(train: np.ndarray, test: np.ndarray, order: int) -> float:
    """Bits per letter given the `order` letters before, from counts with one added."""
    counts = np.ones((27,) * (order + 1))
    windows = lambda ys: tuple(ys[i : len(ys) - order + i] for i in range(order + 1))
    np.add.at(counts, windows(train), 1)
    return float(-np.mean(np.log2((counts / counts.sum(axis=-1, keepdims=True))[windows(test)])))


def fitted(train: np.ndarray, size: int, iterations: int, restarts: int) -> ssm.HMM:
    """The best of some starts; a tenth of a move is added to each count, so that what was not seen is possible."""
    for_moves, for_letters, for_restarts = jax.random.split(jax.random.key(0), 3)
    emission = ssm.emissions.Categorical.from_data(for_letters, size, train, None, 27)
    moves = ssm.transitions.Homogeneous(jax.random.dirichlet(for_moves, jnp.full(size, 5.0), (size,)), 0.1)
    start = ssm.HMM(jnp.full(size, 1 / size), moves, emission)
    method = ssm.EM(iterations, tol=1e-5, restarts=restarts)
    return ssm.fit(start, train, method, key=for_restarts, progress=False).model


def main(
    out: str | Path | None = "figures",
    data: str | Path | None = None,
    sizes: tuple[int, ...] = (2, 4, 8, 16, 32),
    letters: int = 50_000,
    iterations: int = 150,
    restarts: int = 4,
) -> dict:
    """Fit to the first letters, score the last, draw the figure (none if `out` is None); what a test can check."""
    symbols = text(data)
    train, test = symbols[:letters], symbols[-min(letters, len(symbols) // 2) :]
    ngrams = {name: counted(train, test, i) for i, name in enumerate(("single letters", "pairs", "triples"))}
    models = {size: fitted(train, size, iterations, restarts) for size in sizes}
    bits = {size: -float(ssm.log_prob(m, test)) / len(test) / np.log(2) for size, m in models.items()}
    rows = [(name, 26 * 27**i, number) for i, (name, number) in enumerate(ngrams.items())]
    states = [(f"{size} states", size * (size + 26) - 1, bits[size]) for size in sizes]
    for name, learnt, number in [*rows, *states]:
        print(f"{name:<15} {learnt:6} numbers learnt  {number:.4f} bits per letter")
    smallest = np.asarray(models[sizes[0]].emission.probs)
    split = smallest / smallest.sum(axis=0)
    groups = ["".join(np.array(list(datasets.ALPHABET))[split.argmax(axis=0) == k]) for k in range(sizes[0])]
    print(f"letters by their state: {groups}")
    if out is not None:
        draw(Path(out), rows, states, split[np.argmax(split[:, 1])])  # column 1 is the letter a
    return {"bits": bits, **ngrams, "groups": {*groups}}


def draw(out: Path, ngrams: list[tuple], states: list[tuple], vowel: np.ndarray) -> None:
    """Each letter's share in the state of the vowels, and bits per letter by how many numbers were learnt."""
    figure, ((left, right),) = plotting.figure(1, 2, width=11.0, height=3.6, width_ratios=[3, 2])
    order = np.argsort(-vowel)
    left.bar([datasets.ALPHABET[i].replace(" ", "␣") for i in order], vowel[order], color=plotting.COLOURS[0])
    left.set(xlabel="letter", ylabel="share in the state of a")
    above, below = {"xytext": (4, 6)}, {"xytext": (-5, -13), "ha": "right"}
    kinds = ((ngrams, "counting", above), (states, "HMM, by states", below))
    for (rows, kind, place), colour in zip(kinds, plotting.COLOURS[1:], strict=False):
        _, learnt, bits = zip(*rows, strict=True)
        right.plot(learnt, bits, "o-", color=colour, label=kind)
        for name, *point in rows:
            short = name.removesuffix(" states").removeprefix("single ")
            right.annotate(short, point, textcoords="offset points", color=colour, **place)
    right.margins(y=0.12)
    right.set(xscale="log", xlim=(15, 1.5e5), xlabel="numbers learnt", ylabel="bits per letter, held out")
    right.legend(frameon=False)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "c4_letters.png")


if __name__ == "__main__":
    command_line(main, __doc__)
