"""Which schedule is fastest at which length, on the device at hand?"""

import jax

import ssm
from benchmarks.timing import finished, machine, microseconds, seconds, table

LENGTHS = (100, 1_000, 10_000)


def main() -> str:
    """Evidence of an HMM (K = 5, 32) and a LinearGaussian (D = 4) under every schedule; medians of 7 calls."""
    key = jax.random.key(0)
    schedules = {
        "sequential": ssm.schedules.Sequential(),
        "sequential, unroll 4": ssm.schedules.Sequential(unroll=4),
        "associative": ssm.schedules.Associative(),
        "blocked 128": ssm.schedules.Blocked(128),
        "blocked 128, composed": ssm.schedules.Blocked(128, ssm.schedules.Associative()),
    }
    rows = []
    for name, model in members(key).items():
        for length in LENGTHS:
            ys = finished(lambda model=model, length=length: ssm.simulate(model, key, length)[1])
            row = [name, str(length)]
            for schedule in schedules.values():
                run = lambda: ssm.log_prob(model, ys, schedule=schedule)
                finished(run)
                row.append(microseconds(sorted(seconds(run) for _ in range(7))[3]))
            rows.append(row)
    return table(f"Evidence under each schedule ({machine()})", ["model", "T", *schedules], rows)


def members(key: jax.Array) -> dict[str, object]:
    """The models that are timed."""
    kalman = ssm.LinearGaussian(
        [0.0] * 4, jax.numpy.eye(4), 0.9 * jax.numpy.eye(4), jax.numpy.eye(4), jax.numpy.eye(4)[:2], jax.numpy.eye(2)
    )
    return {"HMM, K = 5": hmm(key, 5), "HMM, K = 32": hmm(key, 32), "LinearGaussian, D = 4": kalman}


def hmm(key: jax.Array, size: int) -> ssm.HMM:
    """Random probabilities over 30 symbols."""
    rows = jax.random.dirichlet(key, jax.numpy.ones(size), (size,))
    return ssm.HMM(rows[0], rows, ssm.emissions.Categorical.random(key, size, 30))
