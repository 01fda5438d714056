"""How many digits does a linear-Gaussian model lose in float32?"""

import jax
import jax.numpy as jnp
import numpy as np

import ssm
from benchmarks.kalman_evidence_vs_peers import dynamax_evidence, problem
from benchmarks.timing import table

LENGTH, SIZES = 100_000, ((2, 1), (4, 2), (10, 5))


def main() -> str:
    """Evidence and smoothed means at T = 10⁵, with the same float32 parameters and data."""
    rows = [row(state, seen, schedule) for state, seen in SIZES for schedule in ("side_by_side", "sequential")]
    header = ["D, N", "schedule", "log-evidence", "error", "bound", "error, dynamax", "largest error of a mean"]
    return table(f"float32 against float64, T = {LENGTH}", [*header, "of its standard deviation"], rows)


def row(state: int, seen: int, schedule: str) -> list[str]:
    """The errors of one model."""
    arrays = tuple(array.astype(np.float32) for array in problem(state, seen)[0])
    model = ssm.LinearGaussian(*arrays)
    ys = jax.block_until_ready(ssm.simulate(model, jax.random.key(0), LENGTH)[1])
    evidence = float(ssm.log_prob(model, ys, schedule=schedule))
    means = np.asarray(ssm.smooth(model, ys, schedule=schedule).smoothed.mean, float)
    parameters, peer = dynamax_evidence(arrays)
    theirs = float(jax.jit(peer)(parameters, ys))
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model)
        data = ys.astype(jnp.float64)
        increments = np.asarray(ssm.filter(double, data, schedule="sequential").log_evidence)
        smoothed = ssm.smooth(double, data, schedule="sequential").smoothed
        deviations = np.sqrt(np.diagonal(np.asarray(smoothed.covariance), axis1=1, axis2=2))
        error = np.abs(means - np.asarray(smoothed.mean))
    truth = float(increments.sum())
    allowed = bound(increments)
    if not abs(evidence - truth) < allowed:
        raise AssertionError(f"D = {state}, {schedule}: {evidence} is not within {allowed} of {truth}")
    errors = (f"{abs(value - truth):.1e}" for value in (evidence, theirs))
    ours, other = errors
    return [
        f"{state}, {seen}",
        schedule,
        f"{truth:.0f}",
        ours,
        f"{allowed:.1e}",
        other,
        f"{error.max():.0e}",
        f"{(error / deviations).max():.0e}",
    ]


def bound(increments: np.ndarray) -> float:
    """What is published: 16 roundings of 2⁻²⁴ a step, each of the size of its increment or of one."""
    return 16 * 2.0**-24 * float(np.sum(np.maximum(1, np.abs(increments))))
