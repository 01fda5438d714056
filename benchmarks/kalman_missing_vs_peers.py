"""How fast is the evidence of one long linear-Gaussian series when data are missing, or matrices vary in time?"""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.kalman_evidence_vs_peers import LENGTH, dynamax, problem, statsmodels
from benchmarks.timing import in_turn, microseconds, ratio, same, table, versions

SIZES = ((2, 1), (4, 1), (10, 1), (4, 2), (10, 5))
MISSING = 0.1


def main() -> str:
    """T = 10⁴; all in float32 but statsmodels, which is float64 Cython. dynamax knows no missing data."""
    warnings.filterwarnings("ignore")
    rows = [row(*sizes, kind) for kind in ("10 % missing", "H varies in time") for sizes in SIZES]
    header = ["D, N", "", "onescan", "statsmodels (Cython)", "ratio", "dynamax", "ratio"]
    title = f"Kalman evidence where covariances never rest, T = {LENGTH} ({versions('statsmodels', 'dynamax')})"
    return table(title, header, rows)


def row(state: int, seen: int, kind: str) -> list[str]:
    """Times of one model, after the answers were found equal."""
    arrays: Any
    arrays, ys = problem(state, seen)
    random = np.random.default_rng(0)
    ys = np.array(ys)
    if kind == "H varies in time":
        mean, covariance, transition, noise, emission, blur = arrays
        varying = emission * random.uniform(0.5, 1.5, size=(LENGTH, 1, 1))
        arrays = mean, covariance, transition, noise, varying, blur
        mask = None
    else:
        mask = random.random(LENGTH) >= MISSING
        ys[~mask] = np.nan
    model = ssm.LinearGaussian(*arrays)
    observed = jnp.nan_to_num(jnp.asarray(ys, jnp.float32))
    flags = None if mask is None else jnp.asarray(mask)
    ours = jax.jit(lambda model, ys, flags: ssm.log_prob(model, ys, mask=flags, missing=False))
    run = lambda: ours(model, observed, flags)
    peer = statsmodels(arrays, ys)
    exact = float(peer())
    same(run(), exact, 1e-5, "evidence, onescan")
    warm, warm_peer = in_turn(run, peer, 9)
    cells = [f"{state}, {seen}", kind, microseconds(warm), microseconds(warm_peer), ratio(warm_peer, warm)]
    if mask is not None:
        return [*cells, "", ""]
    other = dynamax(arrays, observed)
    same(other(), exact, 1e-4, "evidence, dynamax")
    warm, warm_other = in_turn(run, other, 5)
    return [*cells, microseconds(warm_other), ratio(warm_other, warm)]
