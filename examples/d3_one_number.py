"""An autoregression, a Kalman filter and a recurrent network give one number, because they are one recursion.

y_t = c + w_1 y_{t-1} + ... + w_p y_{t-p} + N(0, s²) of the yearly sunspots (Yule 1927; p = 9 here), given the first p:
by least squares; as a linear-Gaussian model whose state is the last p values, seen without noise; and as a recurrent
network with a linear cell. The Kalman filter of an ARMA(1, 1) becomes such a network as its gain settles.
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from common import command_line

import ssm
from ssm import datasets, plotting

LAGS, YEARS, (BLUE, ORANGE, *_) = 9, np.arange(2009, 2039), plotting.COLOURS


class Linear(ssm.cells.base.AbstractCell):
    """h_t = A h_{t-1} + b x_t, for one number x_t."""

    recurrent: jax.Array
    column: jax.Array
    input_size, output_size = 1, property(lambda self: len(self.column))

    def initial(self) -> jax.Array:
        return jnp.zeros_like(self.column)

    def advance(self, state: jax.Array, projected: jax.Array) -> jax.Array:
        return self.recurrent @ state + self.column * projected


def network(recurrent, column, weights, bias: float, scale: float) -> ssm.RNN:
    """y_t ~ N(weights h_t + bias, scale²) with the linear cell."""
    rnn = ssm.RNN(Linear(*map(jnp.array, (recurrent, column))), ssm.heads.Normal(len(column), 1, key=jax.random.key(0)))
    numbers = jnp.array([weights, [0.0] * len(column)]), jnp.array([bias, np.log(scale)])
    return eqx.tree_at(lambda rnn: (rnn.head.linear.weight, rnn.head.linear.bias), rnn, numbers)


def three_ways(ys: np.ndarray) -> tuple[float, np.ndarray, dict]:
    """log p(y_p+1 .. y_T | y_1 .. y_p) of the regression, its forecast, and two models that are the same."""
    rows = np.column_stack([np.ones(len(ys) - LAGS), *(ys[LAGS - lag : -lag] for lag in range(1, LAGS + 1))])
    (bias, *weights), (squares,), *_ = np.linalg.lstsq(rows, ys[LAGS:], rcond=None)
    variance, path = squares / len(rows), list(ys)
    for _ in range(len(YEARS)):
        path.append(bias + weights @ np.array(path[: -LAGS - 1 : -1]))
    (first, *_), shift, start = np.eye(LAGS), np.eye(LAGS, k=-1), (np.zeros(LAGS), 1e4 * np.eye(LAGS))
    system = shift + np.outer(first, weights), variance * np.outer(first, first), first[None], np.zeros((1, 1))
    kalman = ssm.LinearGaussian(*start, *system, transition_bias=bias * first)
    models = {"Kalman filter": kalman, "network": network(shift, first, weights, bias, np.sqrt(variance))}
    return -len(rows) / 2 * (np.log(2 * np.pi * variance) + 1), np.array(path[len(ys) :]), models


def settling(ys: np.ndarray, a: float = 0.8, b: float = 0.6) -> np.ndarray:
    """How far an ARMA(1, 1), with state (y_t, b noise_t), is from h_t = a h_{t-1} + (a + b)(y_{t-1} - h_{t-1})."""
    arma = ssm.LinearGaussian([0, 0], 3 * np.eye(2), [[a, 1], [0, 0]], [[1, b], [b, b * b]], np.eye(1, 2), [[0.0]])
    both = [ssm.filter(m, ys[:, None]).log_evidence for m in (arma, network([[-b]], [a + b], [1.0], 0.0, 1.0))]
    return np.abs(np.subtract(*both))


def main(out: str | Path | None = "figures") -> dict:
    """Print the numbers, draw the figure (none if `out` is None), return what a test can check."""
    ys, totals, forecasts = datasets.sunspots(), {}, {}
    with jax.enable_x64(True):
        totals["regression"], path, models = three_ways(ys)
        for name, model in models.items():
            totals[name] = float(ssm.filter(model, ys[:, None], schedule="sequential").log_evidence[LAGS:].sum())
            ahead = ssm.forecast(model, ys[:, None], len(YEARS), num_samples=4000, key=jax.random.key(1))
            forecasts[name] = [np.asarray(each)[:, 0] for each in (ahead.mean, ahead.stddev, *ahead.interval(0.9))]
        settled = settling((ys[:40] - ys.mean()) / ys.std())
    print("\n".join(f"{name:<14} log p(y_10 .. y_309 | y_1 .. y_9) = {total:.9f}" for name, total in totals.items()))
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        draw(ys, path, forecasts, settled).savefig(Path(out) / "d3_one_number.png")
    return {"totals": totals, "path": path, "forecasts": forecasts, "settled": settled}


def draw(ys, path, forecasts, settled):
    """Three forecasts, and how far the Kalman filter of an ARMA(1, 1) is from the network."""
    figure, ((ahead, apart),) = plotting.figure(1, 2, width=12.0, height=3.6)
    mean, _, *band = forecasts["Kalman filter"]
    ahead.plot(np.arange(1960, 2009), ys[-49:], color="#777777", lw=1, label="observed")
    ahead.fill_between(YEARS, *band, color=BLUE, alpha=0.25, lw=0, label="Kalman filter, 90 %")
    ahead.plot(YEARS, mean, color=BLUE, lw=3, label="Kalman filter, mean")
    ahead.plot(YEARS, path, color=ORANGE, lw=1.5, ls="--", label="regression, continued")
    ahead.plot(YEARS, forecasts["network"][0], ".", color="black", label="network, mean of 4000 draws")
    ahead.set(xlabel="year", ylabel="sunspots", ylim=(-60, 290))
    apart.semilogy(settled, color=BLUE, lw=2, label="Kalman filter of an ARMA(1, 1) and linear network")
    apart.semilogy(0.6 ** np.arange(40), color="black", lw=0.8, ls="--", label="$b^t$")
    apart.set(xlabel="step", ylabel="difference of log p(y$_t$ | y$_{<t}$)")
    for ax in (ahead, apart):
        ax.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    return figure


if __name__ == "__main__":
    command_line(main, __doc__)
