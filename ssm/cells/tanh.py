"""The simple recurrent network."""

from typing import final

import jax
import jax.numpy as jnp

from ssm.cells.base import AbstractCell
from ssm.numeric.checks import positive_int
from ssm.shapes import Array, Float, Key


@final
class Tanh(AbstractCell):
    """h_t = tanh(W h_{t-1} + B x_t + b) (Elman 1990, with the nonlinearity of Goodfellow et al. 2016, eq. 10.8-10.9).

    Shapes: `recurrent` W (H, H), `input` B (H, I), `bias` b (H,). All drawn uniformly from ±1/√H. Raises
    TypeError or ValueError for sizes that are not positive integers.
    """

    recurrent: Float[Array, "H H"]
    input: Float[Array, "H I"]
    bias: Float[Array, "H"]

    def __init__(self, input_size: int, hidden_size: int, *, key: Key):
        size = positive_int("hidden_size", hidden_size)
        shapes = (size, size), (size, positive_int("input_size", input_size)), (size,)
        bound = size**-0.5
        draws = [
            jax.random.uniform(each, shape, minval=-bound, maxval=bound)
            for each, shape in zip(jax.random.split(key, 3), shapes, strict=True)
        ]
        self.recurrent, self.input, self.bias = draws

    @property
    def input_size(self) -> int:
        """I."""
        return self.input.shape[1]

    @property
    def output_size(self) -> int:
        """H."""
        return self.input.shape[0]

    def initial(self) -> Float[Array, "H"]:
        """Zeros."""
        return jnp.zeros_like(self.bias)

    def project(self, x: Float[Array, "I"]) -> Float[Array, "H"]:
        """B x + b."""
        return self.input @ x + self.bias

    def advance(self, state: Float[Array, "H"], projected: Float[Array, "H"]) -> Float[Array, "H"]:
        """tanh(W h + the rest)."""
        return jnp.tanh(self.recurrent @ state + projected)
