"""A recurrent network learns English, letter by letter, from the documentation topics that come with Python.

A GRU that reads its own past is trained by gradient descent on the evidence, which for a recurrent network is
the usual next-letter loss. Held-out bits per letter stand beside those of letter and letter-pair frequencies.
"""

import argparse
import re
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import numpy as np
import optax

import ssm

ALPHABET = " abcdefghijklmnopqrstuvwxyz.,()\"'-_="
LENGTH = 64  # letters in a sequence
HIDDEN, EPOCHS, BATCH = 96, 6, 32


def letters(size: int) -> np.ndarray:
    """The beginning of the topics as sequences of symbols (B, LENGTH); what is not in the alphabet is left out."""
    text = re.sub(r"\s+", " ", " ".join(topics.values()).lower())
    symbols = np.array([ALPHABET.index(letter) for letter in text if letter in ALPHABET])
    return symbols[: size - size % LENGTH].reshape(-1, LENGTH)


def bits(log_prob: float, ys: np.ndarray) -> float:
    """Nats in all as bits per letter."""
    return -float(log_prob) / ys.size / np.log(2)


def frequencies(train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Bits per letter of the test set under letter and letter-pair frequencies, one added to every count."""
    size = len(ALPHABET)
    one = np.bincount(train.ravel(), minlength=size) + 1.0
    two = np.ones((size, size))
    np.add.at(two, (train[:, :-1], train[:, 1:]), 1)
    log_one, log_two = np.log(one / one.sum()), np.log(two / two.sum(1, keepdims=True))
    pairs = log_one[test[:, 0]].sum() + log_two[test[:, :-1], test[:, 1:]].sum()
    return bits(log_one[test].sum(), test), bits(pairs, test)


def main(out: str | Path = "figures", size: int = 200_000, epochs: int = EPOCHS) -> dict[str, Any]:
    """Held-out bits per letter of the network after every epoch, and of letter and pair frequencies."""
    sequences = letters(size)
    train, test = np.split(sequences, [len(sequences) * 9 // 10])  # the last tenth of the text is held out
    for_cell, for_head, for_fit, for_text = jax.random.split(jax.random.key(0), 4)
    model = ssm.RNN(
        ssm.cells.GRU(len(ALPHABET), HIDDEN, key=for_cell),
        ssm.heads.Categorical(HIDDEN, len(ALPHABET), key=for_head),
    )
    method = ssm.SGD(optax.adam(5e-3), num_epochs=epochs, batch_size=BATCH, max_grad_norm=1.0)
    fit = ssm.fit(model, train, method, validation=test, key=for_fit)

    start = bits(ssm.log_prob(model, test).sum(), test)
    curve = [start, *(bits(log_prob, test) for log_prob in fit.validation_log_probs)]
    unigram, bigram = frequencies(train, test)
    _, written = ssm.simulate(fit.model, for_text, 200)
    text = "".join(ALPHABET[symbol] for symbol in np.asarray(written))
    print(f"held-out bits per letter: frequencies {unigram:.2f}, pairs {bigram:.2f}, network {curve[-1]:.2f}")
    print(f"{fit.seconds:.1f} s of training after {fit.compile_seconds:.1f} s of compilation. It writes:\n{text}")
    draw(curve, unigram, bigram, Path(out) / "a2_rnn_text.png")
    return {"unigram": unigram, "bigram": bigram, "network": curve, "text": text}


def draw(curve: list[float], unigram: float, bigram: float, path: Path) -> None:
    """Held-out bits per letter against epochs, beside the two baselines."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(curve, "o-", color="#0072B2", label="recurrent network (GRU)")
    for level, name, style in ((unigram, "letter frequencies", "--"), (bigram, "frequencies of letter pairs", ":")):
        axes.axhline(level, color="black", linestyle=style, label=name)
    axes.set(xlabel="epochs of training", ylabel="bits per held-out letter", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="figures", help="folder for the figure")
    parser.add_argument("--letters", type=int, default=200_000, help="how much of the text to use")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="how often to go through it")
    options = parser.parse_args()
    main(options.out, options.letters, options.epochs)
