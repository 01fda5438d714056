"""How well, and how fast, does a hidden Markov model learn Bach's chorales?

The quarter-note grid of Boulanger-Lewandowski, Bengio & Vincent 2012: 229 chorales to learn from, 77 to be judged by,
of 25 to 160 chords of 88 keys, in `polyphonic/JSB_Chorales.mat` of the folder that ONESCAN_DATA names. Sequences are
packed into rows, so that one program without much padding runs all of them. A key is struck with a beta prior of
`KEYS` chords of the average piece, a state follows another one with a Dirichlet prior of `MOVES` moves from each:
so what was not heard is improbable but not impossible. Starts differ by some hundredths of a nat. Needs SciPy.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import table
from ssm import datasets

SIZES = (10, 50, 100, 200, 400)
ITERATIONS, KEYS, MOVES = 40, 1.5, 12.0


def main(sizes: tuple[int, ...] = SIZES, iterations: int = ITERATIONS) -> str:
    """Nats for each of the 4,725 chords of the test set, and seconds of EM."""
    train, test = chorales()
    rows = []
    for size in sizes:
        start = model(size, train)
        packed, held_out = ssm.pack(train), ssm.pack(test)
        runs = []
        for _ in ("cold", "warm"):
            began = time.perf_counter()
            fit = ssm.fit(start, packed.ys, ssm.EM(iterations, tol=0.0), **packed.flags, progress=False)
            runs.append(time.perf_counter() - began)
        nats = -float(jnp.sum(ssm.log_prob(fit.model, held_out.ys, **held_out.flags))) / sum(map(len, test))
        learnt = -fit.log_prob / sum(map(len, train))
        rows.append([str(size), f"{nats:.3f}", f"{learnt:.3f}", f"{runs[0]:.1f} s", f"{runs[1]:.1f} s"])
    title = f"JSB chorales, Bernoulli HMM, {iterations} EM iterations: nats per chord"
    return table(title, ["K", "test", "train", "cold", "warm"], rows)


def chorales() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Those to learn from and those to be judged by, (T_b, 88) zeros and ones each."""
    from scipy.io import loadmat

    pieces = loadmat(datasets.public_file("polyphonic/JSB_Chorales.mat"))
    return tuple([np.asarray(piece, np.float32) for piece in pieces[name][0]] for name in ("traindata", "testdata"))


def model(size: int, train: list[np.ndarray], seed: int = 0) -> ssm.HMM:
    """States at chords far apart, nearly even moves, and the two priors."""
    chords = np.concatenate(train)
    often = (chords.sum(axis=0) + 0.5) / (len(chords) + 1)  # no key is never struck
    for_chords, for_moves = jax.random.split(jax.random.key(seed))
    probs: Any = ssm.emissions.Bernoulli.from_data(for_chords, size, chords).probs
    emission = ssm.emissions.Bernoulli(probs, (KEYS * often, KEYS * (1 - often)))
    moves = jax.random.dirichlet(for_moves, jnp.full(size, 10.0), (size,))
    return ssm.HMM(jnp.full(size, 1 / size), ssm.transitions.Homogeneous(moves, MOVES / size), emission)
