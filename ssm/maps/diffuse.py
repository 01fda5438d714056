"""The way back through a time at which some states were diffuse."""

from typing import final

import jax.numpy as jnp

from ssm.beliefs.diffuse import Conditional, DiffuseGaussian
from ssm.maps.base import AbstractKernel
from ssm.numeric.linalg import multiply
from ssm.numeric.roots import solve_lower_transposed
from ssm.shapes import Array, Float, Key


@final
class DiffuseKernel(AbstractKernel[DiffuseGaussian]):
    """x' | x ~ matrix x + offset + noise ε + loading δ: a reversed kernel; δ is what no later time could see."""

    matrix: Float[Array, "D D"]
    offset: Float[Array, "D"]
    noise: Float[Array, "D D"]
    loading: Float[Array, "D d"]

    @classmethod
    def reversed(
        cls, filtered: DiffuseGaussian, predicted: DiffuseGaussian, matrix: Array, noise: Array
    ) -> "DiffuseKernel":
        """p(x_t | x_{t+1}, y_{<=t}) (Rauch, Tung & Striebel 1965), where x_{t+1} resolves what it sees of δ."""
        ahead = Conditional.of(filtered, matrix, noise, jnp.eye(len(matrix), dtype=matrix.dtype))
        rest = solve_lower_transposed(ahead.innovation, ahead.cross.T).T
        gain = ahead.shift + multiply(rest, ahead.residual)
        return cls(gain, filtered.mean - multiply(gain, predicted.mean), ahead.root, ahead.loading)

    def apply(self, belief: DiffuseGaussian) -> DiffuseGaussian:
        """As any kernel; δ takes the columns that the future has resolved."""
        moved = belief.moved(self.matrix, self.offset, self.noise)
        return DiffuseGaussian(moved.mean, moved.root, _beside(moved.loading, self.loading))

    def sample(self, key: Key, state: Float[Array, "D"]) -> Float[Array, "D"]:
        """One draw of x' given x; NaN where it is diffuse."""
        mean = multiply(self.matrix, state) + self.offset
        return DiffuseGaussian(mean, self.noise, self.loading).sample(key)


def _beside(one: Float[Array, "D d"], other: Float[Array, "D d"]) -> Float[Array, "D d"]:
    """The columns of both that are not zero: no more than d of them, since each is a direction of its own."""
    both = jnp.concatenate([one, other], axis=1)
    zero = jnp.all(both == 0, axis=0)
    both = both[:, jnp.argsort(zero, stable=True)]
    kept, dropped = jnp.split(both, 2, axis=1)
    return jnp.where(jnp.any(dropped != 0), jnp.nan, kept)
