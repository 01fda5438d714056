"""Long short-term memory."""

from typing import NamedTuple, Self, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.cells.base import AbstractCell
from ssm.numeric.checks import positive_int
from ssm.shapes import Array, Float, Key


class LSTMState(NamedTuple):
    """What the outside sees, and the memory behind it."""

    hidden: Float[Array, "*batch H"]
    memory: Float[Array, "*batch H"]


@final
class LSTM(AbstractCell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

        i, f, o = σ(W h + B x + b) of each gate,  g = tanh(W_g h + B_g x + b_g)
        c' = f ∘ c + i ∘ g
        h' = o ∘ tanh(c')

    The parameters are those of `eqx.nn.LSTMCell`: `weight_ih` (4H, I), `weight_hh` (4H, H), `bias` (4H,) in the
    order i, f, g, o. `forget_bias` is where b_f starts: at 1 the memory lasts long enough for a gradient to
    find out what to keep (Jozefowicz et al. 2015).
    """

    cell: eqx.nn.LSTMCell

    def __init__(self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0, key: Key):
        size = positive_int("hidden_size", hidden_size)
        cell = eqx.nn.LSTMCell(positive_int("input_size", input_size), size, key=key)
        open_gate = lambda bias: bias.at[size : 2 * size].set(forget_bias)
        self.cell = eqx.tree_at(lambda c: c.bias, cell, replace_fn=open_gate)

    @classmethod
    def of(cls, cell: eqx.nn.LSTMCell) -> Self:
        """The same cell with the parameters of an Equinox one, forget bias included."""
        new = cls(cell.input_size, cell.hidden_size, key=jax.random.key(0))
        return eqx.tree_at(lambda lstm: lstm.cell, new, cell)

    @property
    def input_size(self) -> int:
        """I."""
        return self.cell.input_size

    @property
    def output_size(self) -> int:
        """H."""
        return self.cell.hidden_size

    def initial(self) -> LSTMState:
        """Zeros."""
        zeros = jnp.zeros(self.cell.hidden_size, self.cell.weight_hh.dtype)
        return LSTMState(zeros, zeros)

    def project(self, x: Float[Array, "I"]) -> Float[Array, "G"]:
        """B x + b of all gates."""
        projected = self.cell.weight_ih @ x
        return projected if self.cell.bias is None else projected + self.cell.bias

    def advance(self, state: LSTMState, projected: Float[Array, "G"]) -> LSTMState:
        """Forget, write, show."""
        write, forget, value, show = jnp.split(projected + self.cell.weight_hh @ state.hidden, 4)
        kept = jax.nn.sigmoid(forget) * state.memory
        memory = kept + jax.nn.sigmoid(write) * jnp.tanh(value)
        return LSTMState(jax.nn.sigmoid(show) * jnp.tanh(memory), memory)

    def output(self, state: LSTMState) -> Float[Array, "H"]:
        """h, without the memory."""
        return state.hidden
