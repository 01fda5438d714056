"""From which sizes on is walking side by side faster than walking in order?"""

import jax
import jax.numpy as jnp

import ssm
from benchmarks.timing import in_turn, microseconds, ratio, table
from ssm.numeric.linalg import HIGHEST

SIZES, SHAPES = (2, 5, 12, 32, 64), ((1_000,), (2_000,), (10_000,), (4, 1_000), (8, 1_000), (100, 1_000))
LANES, DEPTH = 128, 1_000


def main(quick: bool = False) -> str:
    """Value and gradient of an HMM's evidence both ways, and the two products that lanes can be moved on with."""
    sizes = SIZES[1:2] if quick else SIZES
    header = ["K", "B × T", "in order", "side by side", "ratio"]
    whole = table("HMM, value and gradient", header, [row(size, shape) for size in sizes for shape in SHAPES])
    header = ["K", "broadcast and sum", "matrix product", "ratio"]
    return whole + "\n" + table(f"{DEPTH} steps of {LANES} lanes", header, [products(size) for size in (*sizes, 8, 16)])


def row(size: int, shape: tuple[int, ...]) -> list[str]:
    """One line of the first table."""
    slope = jax.jit(
        jax.value_and_grad(lambda model, ys, schedule: jnp.sum(ssm.log_prob(model, ys, schedule=schedule))),
        static_argnums=2,
    )
    model, ys = problem(size, shape)
    fast, slow = in_turn(lambda: slope(model, ys, "side_by_side"), lambda: slope(model, ys, "sequential"))
    jax.clear_caches()
    return [str(size), " × ".join(str(n) for n in shape), microseconds(slow), microseconds(fast), ratio(slow, fast)]


def products(size: int) -> list[str]:
    """One line of the second table."""
    matrix = jax.random.dirichlet(jax.random.key(0), jnp.ones(size), (size,))
    lanes = jnp.full((size, LANES), 1 / size)
    walk = lambda push: jax.jit(lambda m, x: jax.lax.fori_loop(0, DEPTH, lambda _, x: push(m, x), x))
    summed = walk(lambda m, x: jnp.sum(m[:, :, None] * x[:, None], axis=0))
    multiplied = walk(lambda m, x: jnp.matmul(m.T, x, precision=HIGHEST))
    times = in_turn(lambda: summed(matrix, lanes), lambda: multiplied(matrix, lanes))
    return [str(size), *(microseconds(each) for each in times), ratio(times[1], times[0])]


def problem(size: int, shape: tuple[int, ...]) -> tuple[ssm.HMM, jax.Array]:
    """Random probabilities over 30 symbols, and symbols."""
    rows = jax.random.dirichlet(jax.random.key(0), jnp.ones(size), (size,))
    model = ssm.HMM(rows[0], rows, ssm.emissions.Categorical.random(jax.random.key(1), size, 30))
    return model, jax.random.randint(jax.random.key(2), shape, 0, 30)
