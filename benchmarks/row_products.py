"""How should a row times a matrix be written inside a scan?"""

import jax
import jax.numpy as jnp

from benchmarks.timing import in_turn, ratio, table

LENGTH = 10_000


def main() -> str:
    """Nanoseconds a step of p ← normalised p A, as a broadcast sum and as a matrix product."""
    rows = []
    for size in (2, 4, 8, 12, 16, 32, 64):
        matrix = jax.random.dirichlet(jax.random.key(0), jnp.ones(size), (size,))
        forms = [lambda p, a: jnp.sum(a.T * p, axis=1), lambda p, a: jnp.matmul(p, a, precision="highest")]
        programs = [jax.jit(lambda a, form=form: _walk(form, a)) for form in forms]
        summed, multiplied = in_turn(*(lambda f=f: f(matrix) for f in programs))
        rows.append(
            [str(size), f"{summed / LENGTH * 1e9:.0f}", f"{multiplied / LENGTH * 1e9:.0f}", ratio(multiplied, summed)]
        )
    return table(
        "A row times a matrix inside a scan, nanoseconds a step",
        ["K", "sum(A.T * p, 1)", "p @ A", "product / sum"],
        rows,
    )


def _walk(form, matrix):
    def body(row, _):
        moved = form(row, matrix)
        return moved / jnp.sum(moved), None

    return jax.lax.scan(body, jnp.full(len(matrix), 1 / len(matrix)), None, LENGTH)[0]
