"""The gated recurrent unit."""

from typing import Self, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.cells.base import AbstractCell
from ssm.numeric.checks import positive_int
from ssm.shapes import Array, Float, Key


@final
class GRU(AbstractCell):
    """The gated recurrent unit of Cho et al. 2014, with the reset gate behind the matrix product (PyTorch, cuDNN).

        r = σ(W_r h + B_r x + b_r)
        z = σ(W_z h + B_z x + b_z)
        n = tanh(r ∘ (W_n h + c) + B_n x + b_n)
        h' = (1 - z) ∘ n + z ∘ h

    The parameters are those of `eqx.nn.GRUCell`: `weight_ih` (3H, I), `weight_hh` (3H, H), `bias` (3H,) in the
    order r, z, n, and `bias_n` (H,), which is c.
    """

    cell: eqx.nn.GRUCell

    def __init__(self, input_size: int, hidden_size: int, *, key: Key):
        self.cell = eqx.nn.GRUCell(
            positive_int("input_size", input_size), positive_int("hidden_size", hidden_size), key=key
        )

    @classmethod
    def of(cls, cell: eqx.nn.GRUCell) -> Self:
        """The same cell with the parameters of an Equinox one."""
        new = cls(cell.input_size, cell.hidden_size, key=jax.random.key(0))
        return eqx.tree_at(lambda gru: gru.cell, new, cell)

    @property
    def input_size(self) -> int:
        """I."""
        return self.cell.input_size

    @property
    def output_size(self) -> int:
        """H."""
        return self.cell.hidden_size

    def initial(self) -> Float[Array, "H"]:
        """Zeros."""
        return jnp.zeros(self.cell.hidden_size, self.cell.weight_hh.dtype)

    def project(self, x: Float[Array, "I"]) -> Float[Array, "G"]:
        """B x + b of both gates and the candidate."""
        projected = self.cell.weight_ih @ x
        return projected if self.cell.bias is None else projected + self.cell.bias

    def advance(self, state: Float[Array, "H"], projected: Float[Array, "G"]) -> Float[Array, "H"]:
        """Reset, propose, and keep the share z of the old state."""
        reset, keep, candidate = jnp.split(projected, 3)
        from_reset, from_keep, from_candidate = jnp.split(self.cell.weight_hh @ state, 3)
        if self.cell.bias_n is not None:
            from_candidate = from_candidate + self.cell.bias_n
        proposal = jnp.tanh(candidate + jax.nn.sigmoid(reset + from_reset) * from_candidate)
        return proposal + jax.nn.sigmoid(keep + from_keep) * (state - proposal)
