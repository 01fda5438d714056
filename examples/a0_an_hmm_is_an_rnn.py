"""A hidden Markov model is a recurrent network whose hidden state is a probability.

The dishonest casino (Durbin et al. 1998, section 3.2) swaps a fair die for a loaded one now and then. The forward
algorithm of its HMM, written as a cell and a head of a recurrent network, gives the numbers of `ssm.HMM`.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import ssm
from ssm.cells import AbstractCell
from ssm.distributions import categorical
from ssm.heads import AbstractHead

INITIAL, TRANSITION = jnp.array([0.5, 0.5]), jnp.array([[0.95, 0.05], [0.10, 0.90]])  # fair die, loaded die
EMISSION = jnp.array([[1 / 6] * 6, [0.1] * 5 + [0.5]])  # faces 1 to 6 of each die


class State(NamedTuple):
    """p(die | rolls so far), and of the die for the next roll."""

    filtered: jax.Array
    predicted: jax.Array


class ForwardCell(AbstractCell):
    """One step of the forward algorithm: reweigh by the likelihood of the roll, normalise, move on."""

    initial_probs: jax.Array  # (K,)
    transition: jax.Array  # (K, K)
    emission: jax.Array  # (K, C)
    input_size = property(lambda self: self.emission.shape[1])
    output_size = property(lambda self: self.emission.shape[0])

    def initial(self) -> State:
        return State(self.initial_probs, self.initial_probs)

    def project(self, x: jax.Array) -> jax.Array:
        return self.emission @ x  # p(roll | die), for all rolls at once before the scan

    def advance(self, state: State, projected: jax.Array) -> State:
        filtered = state.predicted * projected / jnp.sum(state.predicted * projected)
        return State(filtered, filtered @ self.transition)

    def output(self, state: State) -> jax.Array:
        return state.predicted


class MixtureHead(AbstractHead):
    """p(next roll) = Σ_k predicted_k emission_k."""

    emission: jax.Array  # (K, C)
    event_shape, event_kind = (), "symbol"
    input_size = property(lambda self: self.emission.shape[0])
    encoded_size = num_classes = property(lambda self: self.emission.shape[1])

    def distribution(self, features: jax.Array) -> Any:
        return categorical(features @ self.emission)

    def encode(self, y: jax.Array) -> jax.Array:
        return jax.nn.one_hot(y, self.encoded_size, dtype=self.emission.dtype)


def main(out: str | Path = "figures") -> dict[str, float]:
    """The evidence of each, and the largest difference of their beliefs."""
    hmm = ssm.HMM(INITIAL, TRANSITION, ssm.emissions.Categorical(EMISSION))
    rnn = ssm.RNN(ForwardCell(INITIAL, TRANSITION, EMISSION), MixtureHead(EMISSION))
    dice, rolls = ssm.simulate(hmm, jax.random.key(1), 200)
    of_hmm, of_rnn = ssm.filter(hmm, rolls), ssm.filter(rnn, rolls)
    beliefs = of_hmm.filtered.probs, of_rnn.filtered.state.filtered
    apart = float(jnp.abs(beliefs[0] - beliefs[1]).max())
    print(f"log p(rolls): HMM {of_hmm.log_prob:.4f}, RNN {of_rnn.log_prob:.4f} nats; beliefs differ by {apart:.1e}")
    draw(dice == 1, beliefs[0][:, 1], beliefs[1][:, 1], Path(out) / "a0_an_hmm_is_an_rnn.png")
    return {"hmm": float(of_hmm.log_prob), "rnn": float(of_rnn.log_prob), "difference": apart}


def draw(loaded: jax.Array, of_hmm: jax.Array, of_rnn: jax.Array, path: Path) -> None:
    """P(loaded) after each roll, by both."""
    import matplotlib.pyplot as plt

    time = range(1, len(loaded) + 1)
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    axes.fill_between(time, 0, 1, where=loaded, step="mid", color="0.88", label="truth: the loaded die")
    axes.plot(time, of_hmm, color="#0072B2", linewidth=2, label="HMM: filtered probability")
    axes.plot(time[::3], of_rnn[::3], "o", markersize=4, color="#D55E00", label="RNN: hidden state, every third")
    axes.set(xlabel="roll", ylabel="P(die is loaded | rolls so far)", xlim=(0, len(loaded) + 1), ylim=(-0.02, 1.02))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="figures", help="folder for the figure")
    main(parser.parse_args().out)
