"""How many digits does a million steps in float32 cost?"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.timing import table

LENGTHS, SIZE, SYMBOLS = (10_000, 100_000, 1_000_000), 5, 8


class Errors(NamedTuple):
    """Of float32 against float64, with the same float32 parameters and data."""

    evidence: float  # absolute
    allowed: float  # 16 roundings of 2⁻²⁴ a step, each of the size of its increment or of one
    log_prob: float  # the evidence itself, for scale
    smoothed: float  # largest difference of a probability


def main(quick: bool = False) -> str:
    """Evidence and smoothed probabilities of a categorical and a Normal HMM, K = 5, data drawn from them."""
    rows = []
    for name in ("categorical", "Normal"):
        for length in LENGTHS[: 1 if quick else None]:
            errors = measure(name, length)
            if not errors.evidence < errors.allowed:
                raise AssertionError(f"{name}, T = {length}: {errors}")
            rows.append(
                [
                    name,
                    f"{length}",
                    f"{errors.log_prob:.0f}",
                    f"{errors.evidence:.1e}",
                    f"{errors.evidence / length:.0e}",
                    f"{errors.allowed:.1e}",
                    f"{errors.smoothed:.0e}",
                ]
            )
    header = ["emission", "T", "log-evidence", "error", "error a step", "bound", "largest error of a probability"]
    return table("float32 against float64, evidence and smoothed probabilities", header, rows)


def measure(name: str, length: int) -> Errors:
    """The errors of one model at one length."""
    single = model(name)
    ys = jax.block_until_ready(ssm.simulate(single, jax.random.key(0), length)[1])
    answer = ssm.smooth(single, ys)
    with jax.enable_x64(True):
        wide = lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf
        double, data = jax.tree.map(wide, single), wide(ys)
        increments = np.asarray(ssm.filter(double, data).log_evidence)
        truth = np.asarray(ssm.smooth(double, data).smoothed.probs)
    return Errors(
        abs(float(answer.log_prob) - increments.sum()),
        16 * 2.0**-24 * float(np.sum(np.maximum(1, np.abs(increments)))),
        float(increments.sum()),
        float(np.max(np.abs(np.asarray(answer.smoothed.probs, float) - truth))),
    )


def model(name: str) -> ssm.HMM:
    """States that last ten steps and overlap."""
    random = np.random.default_rng(0)
    rows = lambda size: random.dirichlet(np.ones(size), SIZE).astype(np.float32)
    transition = 0.9 * np.eye(SIZE, dtype=np.float32) + 0.1 * rows(SIZE)
    if name == "Normal":
        emission = ssm.emissions.Normal(np.linspace(-3, 3, SIZE, dtype=np.float32), np.ones(SIZE, np.float32))
    else:
        emission = ssm.emissions.Categorical(rows(SYMBOLS))
    return ssm.HMM(np.full(SIZE, 1 / SIZE, np.float32), transition, emission)
