"""What does it cost to predict the spread of a state: as a root by LAPACK, as one of many in lanes, as a covariance?"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.timing import in_turn, ratio, table
from ssm.numeric import batched_roots
from ssm.numeric.linalg import multiply
from ssm.recursions.gaussian.varying.blocks import most_lanes

LENGTH = 5_000
SIZES = (4, 8, 10, 16, 20)


def main() -> str:
    """Nanoseconds a step inside a scan, float32; in lanes, of one lane."""
    rows = []
    for size in SIZES:
        matrix, noise, lanes = 0.5 * jnp.eye(size) + 0.1 / size, jnp.eye(size), most_lanes(size)

        def factorise(root: jax.Array, matrix: jax.Array = matrix, noise: jax.Array = noise) -> jax.Array:
            return jnp.linalg.qr(jnp.concatenate([multiply(matrix, root), noise], axis=1).T, mode="r").T

        def reflect(roots: jax.Array, matrix: jax.Array = matrix, noise: jax.Array = noise) -> jax.Array:
            return batched_roots.triangular_root(batched_roots.product(matrix[:, :, None], roots), noise[:, :, None])

        def multiplied(covariance: jax.Array, matrix: jax.Array = matrix, noise: jax.Array = noise) -> jax.Array:
            return multiply(matrix, covariance, matrix.T) + noise

        many = jnp.repeat(noise[:, :, None], lanes, axis=2)
        root, side_by_side = in_turn(_walk(factorise, noise), _walk(reflect, many, lanes))
        covariance, _ = in_turn(_walk(multiplied, noise), _walk(factorise, noise))
        times = [f"{seconds / LENGTH * 1e9:.0f}" for seconds in (root, side_by_side, covariance)]
        rows.append([str(size), times[0], f"{times[1]} ({lanes} lanes)", times[2], ratio(root, side_by_side)])
    header = ["D", "QR of (F L, Q½)ᵀ", "in lanes", "F P Fᵀ + Q", "lanes over QR"]
    return table("The next root or covariance, D x D, inside a scan, nanoseconds a step", header, rows)


def _walk(step: Callable[[jax.Array], jax.Array], start: jax.Array, lanes: int = 1) -> Callable[[], jax.Array]:
    """So many steps that all lanes together walk `LENGTH`."""
    run = jax.jit(lambda start: jax.lax.scan(lambda now, _: (step(now), None), start, None, LENGTH // lanes)[0])
    return lambda: run(start)
