"""What does it cost to predict the spread of a state, as a triangular root by LAPACK and as a covariance?"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.timing import in_turn, ratio, table
from ssm.linalg import multiply

LENGTH = 5_000
SIZES = (4, 8, 10, 20)


def main() -> str:
    """Nanoseconds a step inside a scan, float32."""
    rows = []
    for size in SIZES:
        matrix, noise = 0.5 * jnp.eye(size) + 0.1 / size, jnp.eye(size)

        def factorise(root: jax.Array, matrix: jax.Array = matrix, noise: jax.Array = noise) -> jax.Array:
            return jnp.linalg.qr(jnp.concatenate([multiply(matrix, root), noise], axis=1).T, mode="r").T

        def multiplied(covariance: jax.Array, matrix: jax.Array = matrix, noise: jax.Array = noise) -> jax.Array:
            return multiply(matrix, covariance, matrix.T) + noise

        root, covariance = in_turn(_walk(factorise, noise), _walk(multiplied, noise))
        times = [f"{each / LENGTH * 1e9:.0f}" for each in (root, covariance)]
        rows.append([str(size), *times, ratio(root, covariance)])
    header = ["D", "QR of (F L, Q½)ᵀ", "F P Fᵀ + Q", "a root over a covariance"]
    return table("The next root or covariance, D x D, inside a scan, nanoseconds a step", header, rows)


def _walk(step: Callable[[jax.Array], jax.Array], start: jax.Array) -> Callable[[], jax.Array]:
    run = jax.jit(lambda start: jax.lax.scan(lambda now, _: (step(now), None), start, None, LENGTH)[0])
    return lambda: run(start)
