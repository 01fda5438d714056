"""What regressions share: η = W_k u + b_k for every state, component by component."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.components import by_component, flag_each, sum_components, weights_seen
from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.numeric.semidefinite import newton
from ssm.shapes import Array, Bool, Float, Key


class AbstractRegression(AbstractEmission):
    """A family with weights and a bias for every state, which say what its sizes are."""

    weights: eqx.AbstractVar[Float[Array, "K *event U"]]
    bias: eqx.AbstractVar[Float[Array, "K *event"]]

    @property
    def num_states(self) -> int:
        """K."""
        return self.bias.shape[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """() or (N,)."""
        return self.bias.shape[1:]

    @property
    def num_inputs(self) -> int:
        """U."""
        return self.weights.shape[-1]


def check_coefficients(weights: Any, bias: Any) -> tuple[Array, Array]:
    """Weights (K, U) with bias (K,), or (K, N, U) with (K, N), as floats of one dtype; ValueError otherwise."""
    scalar = np.ndim(weights) == 2
    weights = checks.real("weights", weights, ("K", "U") if scalar else ("K", "N", "U"))
    return weights, checks.real("bias", bias, weights.shape[:-1]).astype(weights.dtype)


def random_coefficients(
    key: Key, shape: tuple[int, ...], num_inputs: int
) -> tuple[Float[Array, "*shape U"], Float[Array, "*shape"]]:
    """Weights and biases from a standard normal."""
    for_weights, for_bias = jax.random.split(key)
    weights = jax.random.normal(for_weights, (*shape, checks.positive_int("num_inputs", num_inputs)))
    return weights, jax.random.normal(for_bias, shape)


def linear_predictor(
    weights: Float[Array, "*parts U"], bias: Float[Array, "*parts"], u: Float[Array, "U"]
) -> Float[Array, "*parts"]:
    """W u + b for one input."""
    return multiply(weights, u) + bias


def sum_of_densities(
    density: Callable[..., Float[Array, "T K"]],
    ys: Float[Array, "T *event"],
    us: Float[Array, "T U"],
    observed: Bool[Array, "T *parts"] | None,
    weights: Float[Array, "K *event U"],
    bias: Float[Array, "K *event"],
    *others: Float[Array, "K *event"],
) -> Float[Array, "T K"]:
    """Σ_n density(η_n (T, K), y_n (T, 1), others_n (K,)), without the components that are missing."""

    def component(
        y: Float[Array, "T 1"], slope: Float[Array, "K U"], offset: Float[Array, "K"], *rest: Float[Array, "K"]
    ) -> Float[Array, "T K"]:
        return density(multiply(us, slope.T) + offset, y, *rest)

    return sum_components(component, (ys,), by_component(observed, ys), weights, bias, *others)


def climb_canonical(
    cumulant: Callable[[Array], Array],
    shares: Float[Array, "M K"],
    ys: Float[Array, "M *event"],
    us: Float[Array, "M U"],
    observed: Bool[Array, "M *parts"] | None,
    weights: Float[Array, "K *event U"],
    bias: Float[Array, "K *event"],
    frozen: frozenset[str],
) -> tuple[Float[Array, "K *event U"], Float[Array, "K *event"]]:
    """Weights and bias that maximise Σ shares (y η - A(η)) for the cumulant A of a family with canonical link.

    Newton's method, which is iteratively reweighted least squares here (McCullagh & Nelder 1989, section 2.5);
    concave, one regression per state and component, and never lower than it began.
    """
    size, inputs = (ys.shape[1] if ys.ndim == 2 else 1), us.shape[1]
    design = jnp.concatenate([us, jnp.ones_like(us[:, :1])], axis=1)  # (M, U + 1)
    free = jnp.ones(inputs + 1, us.dtype)
    free = free.at[:inputs].set(0) if "weights" in frozen else free
    free = free.at[inputs].set(0) if "bias" in frozen else free
    slope, curvature = jax.vmap(jax.grad(cumulant)), jax.vmap(jax.grad(jax.grad(cumulant)))
    flags = jnp.ones(ys.shape, bool) if observed is None else flag_each(observed, ys)

    def one(share: Float[Array, "M"], y: Float[Array, "M"], start: Float[Array, "D"]) -> Float[Array, "D"]:
        def objective(coefficients: Float[Array, "D"]) -> Float[Array, ""]:
            natural = multiply(design, coefficients)
            return jnp.sum(jnp.where(share > 0, share * (y * natural - cumulant(natural)), 0))

        def slopes(coefficients: Float[Array, "D"]) -> tuple[Float[Array, "D"], Float[Array, "D D"]]:
            natural = multiply(design, coefficients)
            gradient = multiply(share * (y - slope(natural)), design)
            spread = multiply((share * curvature(natural))[:, None].T * design.T, design)
            return gradient * free, spread * free * free[:, None]

        return newton(objective, slopes, start)

    def component(parts: tuple) -> Float[Array, "K D"]:
        y, seen, start = parts
        return jax.vmap(one, (1, None, 0))(jnp.where(seen[:, None], shares, 0), y, start)

    start = jnp.concatenate([weights, bias[..., None]], axis=-1).reshape(bias.shape[0], size, inputs + 1)
    columns = (ys.reshape(-1, size).T, flags.reshape(-1, size).T, jnp.moveaxis(start, 1, 0))
    best = jnp.moveaxis(jax.lax.map(component, columns), 0, 1)  # (K, N, D)
    return best[..., :-1].reshape(weights.shape), best[..., -1].reshape(bias.shape)


def uneven_shares(
    key: Key, num_states: int, us: Float[Array, "M U"], observed: Bool[Array, "M"] | None
) -> Float[Array, "M K"]:
    """Random weights of M observations for K states, most of each state's on a few: a start for a fit."""
    shares = jax.random.exponential(key, (us.shape[0], num_states), us.dtype) ** 3
    return weights_seen(shares, observed)
