"""EM and gradient descent are two uses of one computation: the expected statistics of the data.

Fisher's identity says that the gradient of the log-evidence is the gradient of Q, the expected complete-data
log-likelihood, at the parameters that its statistics came from. EM jumps to the maximum of Q, a gradient method
takes a step up the same slope.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ssm


def data(key: jax.Array) -> jax.Array:
    """1,000 steps of three states whose observations overlap."""
    transition = jnp.array([[0.95, 0.04, 0.01], [0.05, 0.9, 0.05], [0.01, 0.04, 0.95]])
    truth = ssm.HMM(jnp.full(3, 1 / 3), transition, ssm.emissions.Normal([-1.5, 0.0, 2.0], [0.7, 0.5, 1.0]))
    return ssm.simulate(truth, key, 1_000)[1]


def largest_difference(model: ssm.HMM, ys: jax.Array) -> float:
    """Largest entry of ∇ log p(y) - ∇ Q, over all parameters, relative to the largest entry of the gradient."""
    statistics = ssm.expected_statistics(model, ys)
    slope = jax.grad(ssm.log_prob)(model, ys)
    expected = jax.grad(ssm.Q)(model, statistics, ys)
    difference = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), slope, expected)
    size = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(slope))
    return max(float(leaf) for leaf in jax.tree.leaves(difference)) / size


def main(out: str | Path | None = "figures") -> dict[str, float]:
    """Check the identity, fit both ways from one start, draw the figure (none if `out` is None)."""
    ys = data(jax.random.key(0))
    start = ssm.HMM(
        jnp.full(3, 1 / 3), jnp.full((3, 3), 1 / 3), ssm.emissions.Normal.from_data(jax.random.key(1), 3, ys)
    )
    difference = largest_difference(start, ys)
    print(f"gradient of the evidence against gradient of Q: largest relative difference {difference:.1e}")
    methods = {
        "EM": ssm.EM(max_iters=200, tol=0.0),
        "Adam, rate 0.1": ssm.SGD(optax.adam(0.1), num_epochs=200),
        "gradient ascent, rate 0.5": ssm.SGD(optax.sgd(0.5), num_epochs=200),
    }
    fits = {name: ssm.fit(start, ys, method, progress=False) for name, method in methods.items()}
    for name, fit in fits.items():
        print(f"{name:<26} {fit.log_probs[-1] / len(ys):.5f} nats per observation after {fit.num_iters} iterations")
    if out is not None:
        draw(Path(out), {name: np.append(fit.start_log_prob, fit.log_probs) / len(ys) for name, fit in fits.items()})
    return {"difference": difference, **{name: float(fit.log_probs[-1]) / len(ys) for name, fit in fits.items()}}


def draw(out: Path, curves: dict[str, np.ndarray]) -> None:
    """How far each method is from the best evidence that any of them reached, iteration by iteration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    best = max(curve.max() for curve in curves.values())
    for (name, curve), colour, style in zip(
        curves.items(), ("#0072B2", "#D55E00", "#009E73"), ("-", "--", "-."), strict=True
    ):
        ax.semilogy(np.maximum(best - curve, 1e-7), style, color=colour, label=name)
    ax.set_xlabel("iteration (one forward and one backward pass each)")
    ax.set_ylabel("nats per observation below the best")
    ax.set_title("Three ways to use the same expected statistics", fontsize="medium", loc="left")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "b2_em_and_gradient.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="figures", help="folder of the figure")
    main(parser.parse_args().out)
