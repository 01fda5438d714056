"""How many bits does a letter of English take, by the number of states, and beside counting?

Shakespeare's plays as 27 symbols, a space and a to z, in `text/tinyshakespeare.txt` of the folder that ONESCAN_DATA
names: the first 200,000 letters to learn from, the last 50,000 to be judged by. A model is as large as the numbers that
it learns; counting learns one for each letter after each context. One is added to every count, and a tenth of a move
to those between states, so that what was not seen is not impossible. `examples/c4_letters.py` draws the same with less
text.
"""

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import table
from ssm import datasets

SIZES = (2, 4, 8, 16, 32)
LEARNT, JUDGED, ITERATIONS, STARTS = 200_000, 50_000, 150, 3
COUNTING = ("single letters", "pairs", "triples")


def main(quick: bool = False) -> str:
    """Bits per letter, learnt from and held out: of three starts the one that fits best, and its time alone."""
    text = datasets.public_file("text/tinyshakespeare.txt").read_text(encoding="utf-8")
    symbols = datasets.letters(text)
    train, test = symbols[: LEARNT // 10 if quick else LEARNT], symbols[-JUDGED:]
    rows = []
    for order, name in enumerate(COUNTING):
        counts = counted(train, order)
        rows.append([name, f"{26 * 27**order}", *(f"{bits(counts, each):.3f}" for each in (train, test)), "", ""])
    for size in SIZES[: 2 if quick else None]:
        fit = max((fitted(train, size, seed) for seed in range(STARTS)), key=lambda fit: fit.objective)
        scores = [-float(ssm.log_prob(fit.model, each)) / len(each) / np.log(2) for each in (train, test)]
        spent = [f"{fit.num_iters}", f"{fit.seconds:.1f} s"]
        rows.append([f"{size} states", f"{size * (size + 26) - 1}", *(f"{score:.3f}" for score in scores), *spent])
    title = f"Bits per letter of English, {len(train)} letters to learn from"
    return table(title, ["", "numbers learnt", "learnt from", "held out", "EM iterations", "time"], rows)


def counted(symbols: np.ndarray, order: int) -> np.ndarray:
    """Probabilities of a letter given the `order` letters before, from counts with one added."""
    counts = np.ones((27,) * (order + 1))
    np.add.at(counts, windows(symbols, order), 1)
    return counts / counts.sum(axis=-1, keepdims=True)


def bits(probabilities: np.ndarray, symbols: np.ndarray) -> float:
    """Per letter that has all its context."""
    return float(-np.mean(np.log2(probabilities[windows(symbols, probabilities.ndim - 1)])))


def windows(symbols: np.ndarray, order: int) -> tuple[np.ndarray, ...]:
    """Letters and those before them, oldest first."""
    return tuple(symbols[i : len(symbols) - order + i] for i in range(order + 1))


def fitted(train: np.ndarray, size: int, seed: int) -> ssm.Fit:
    """One start, from random moves and random letters."""
    for_moves, for_letters = jax.random.split(jax.random.key(seed))
    emission = ssm.emissions.Categorical.from_data(for_letters, size, train, None, 27)
    moves = jax.random.dirichlet(for_moves, jnp.full(size, 5.0), (size,))
    start = ssm.HMM(jnp.full(size, 1 / size), ssm.transitions.Homogeneous(moves, 0.1), emission)
    return ssm.fit(start, train, ssm.EM(ITERATIONS, tol=1e-5), progress=False)
