"""Derivatives of beliefs and forecasts against the joint normal, and functions that keep a derivative of their own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import System, condition_all

import ssm
from ssm.numeric.derivatives import CustomDerivative

pytestmark = pytest.mark.usefixtures("float64")

AHEAD = 2


class Setting:
    """A model whose matrices move with two numbers, and what is known of it."""

    def __init__(self, size: int, seen: int, driven: int, exact: int = 0, missing: bool = False):
        """`driven` of the states have noise of their own; `exact` components show one state each, without noise."""
        random = np.random.default_rng(0)
        chaos = random.normal(size=(size, size))
        noise = np.tril(0.3 * random.normal(size=(size, size))) + 0.5 * np.eye(size)
        noise = noise * (np.arange(size) < driven)
        blurred = np.arange(seen) >= exact
        view = np.where(blurred[:, None], random.normal(size=(seen, size)), np.eye(seen, size))
        self.matrices = 0.9 * chaos / np.abs(np.linalg.eigvals(chaos)).max(), view
        self.moves = [random.normal(size=(2, *matrix.shape)) for matrix in self.matrices]
        start = np.zeros((size, size)) if driven < size else np.eye(size)
        self.start = random.normal(size=size), start
        self.noises = noise @ noise.T, np.diag(0.3 * blurred)
        self.ys: Any = random.normal(size=(3, seen))
        self.mask: Any = np.ones((3, seen), bool)
        self.mask[1] = not missing
        weights = random.normal(size=size)
        self.weights = weights, np.outer(weights, weights) + np.eye(size), random.normal(size=seen)

    def arrays(self, move: Any) -> tuple[Any, ...]:
        """Of the model at these two numbers."""
        transition, emission = (
            matrix + move[0] * moves[0] + move[1] * moves[1]
            for matrix, moves in zip(self.matrices, self.moves, strict=True)
        )
        return *self.start, transition, self.noises[0], emission, self.noises[1]

    def weighed(self, mean: Any, covariance: Any) -> Any:
        """One number of a belief."""
        return jnp.sum(self.weights[0] * mean) + jnp.sum(self.weights[1] * covariance)

    def filtered(self, move: Any) -> Any:
        """Of the last filtered belief, and of the last forecast."""
        model = ssm.LinearGaussian(*self.arrays(move))
        last = ssm.filter(model, self.ys, schedule="sequential").filtered
        forecast = ssm.forecast(model, self.ys, AHEAD)
        return self.weighed(last.mean[-1], last.covariance[-1]) + jnp.sum(self.weights[2] * forecast.mean[-1])

    def smoothed(self, move: Any) -> Any:
        """Of all smoothed beliefs."""
        found = ssm.smooth(
            ssm.LinearGaussian(*self.arrays(move)), self.ys, mask=self.mask, schedule="sequential"
        ).smoothed
        return jnp.stack([self.weighed(*each) for each in zip(found.mean, found.covariance, strict=True)])

    def truth(self, move: np.ndarray) -> tuple[float, np.ndarray]:
        """Both, from the joint normal of all states and observations, of those to come, too."""
        total, size, seen = len(self.ys) + AHEAD, len(self.weights[0]), len(self.weights[2])
        *start, transition, driving, emission, noise = self.arrays(move)
        always = lambda array: np.broadcast_to(array, (total, *array.shape))
        system = System(
            *start,
            *(always(array) for array in (transition, np.zeros(size), driving, emission, np.zeros(seen), noise)),
        )
        ahead = np.zeros((AHEAD, seen))
        mean, covariance = condition_all(system, np.append(self.ys, ahead, 0), np.append(self.mask, ahead > 0, 0))
        at = [slice(t * size, (t + 1) * size) for t in range(len(self.ys))]
        smoothed = np.array([self.weighed(mean[here], covariance[here, here]) for here in at])
        return float(smoothed[-1] + self.weights[2] @ mean[-seen:]), smoothed


def slope(function: Callable[[np.ndarray], Any], step: float) -> np.ndarray:
    """Central differences at zero."""
    moves = step * np.eye(2)
    return np.stack([(function(move) - function(-move)) / (2 * step) for move in moves], axis=-1)


def extrapolated(differences: Callable[[float], np.ndarray], step: float = 2e-3) -> np.ndarray:
    """Without the error of order step² (Richardson 1911)."""
    return (4 * differences(step / 2) - differences(step)) / 3


# Differences err by step⁴ times derivatives of fifth and sixth order, and by rounding over step²: 1e-8 and 1e-10 times
# numbers of up to a thousand.
CLOSE: Any = {"rtol": 1e-5, "atol": 1e-5}

# JAX 0.10 lost derivatives of roots inside scans, where covariances become singular.
SINGULAR: dict[str, Any] = {
    "one seen without noise": {"size": 2, "seen": 1, "driven": 2, "exact": 1},
    "one of many": {"size": 2, "seen": 5, "driven": 2, "exact": 1},
}
LARGE: dict[str, Any] = {
    "many seen": {"size": 4, "seen": 5, "driven": 2},
    "many states": {"size": 10, "seen": 1, "driven": 5},
}


@pytest.mark.parametrize("name", [*SINGULAR, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_second_derivatives_of_the_filter_and_of_forecasts(name: str) -> None:
    setting = Setting(**{**SINGULAR, **LARGE}[name])
    along = jnp.array([1.0, 0.5])
    ours = jax.jit(lambda at: jax.jvp(jax.grad(setting.filtered), (at,), (along,))[1])(jnp.zeros(2))
    gradient = lambda step: lambda move: slope(lambda each: setting.truth(move + each)[0], step)
    curvature = extrapolated(lambda step: slope(gradient(step), step))
    np.testing.assert_allclose(ours, curvature @ along, **CLOSE)


@pytest.mark.parametrize("missing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_first_derivatives_of_the_smoother(missing: bool) -> None:
    setting = Setting(size=3, seen=2, driven=1, missing=missing)
    ours = jax.jit(jax.jacrev(setting.smoothed))(jnp.zeros(2))
    np.testing.assert_allclose(
        ours, extrapolated(lambda step: slope(lambda move: setting.truth(move)[1], step)), **CLOSE
    )


@CustomDerivative
def marked(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """With a derivative that is not that of the code: 3 times the value, by x."""
    return jnp.sin(x), x * y


@marked.defjvp
def marked_slope(primals: tuple, tangents: tuple) -> tuple:
    (x, y), (change, other) = primals, tangents
    first, second = marked(x, y)
    return (first, second), (3 * first * change, change * y + x * other)


WAYS: dict[str, Callable] = {
    "plainly": lambda x: marked(x, x)[0],
    "in a scan": lambda x: jax.lax.scan(lambda carry, _: (marked(carry, carry)[0], None), x, None, length=1)[0],
    "many in a scan": lambda x: WAYS["in a scan"](jnp.stack([x, x]))[0],
    "a scan of each": lambda x: jax.vmap(WAYS["in a scan"])(jnp.stack([x, x]))[0],
    "checkpointed": lambda x: jax.lax.map(jax.checkpoint(lambda each: marked(each, each)[0]), x[None])[0],
}


@pytest.mark.parametrize("way", WAYS)
def test_own_derivatives_are_kept_to_any_order(way: str) -> None:
    gradient = jax.grad(WAYS[way])

    @jax.jit
    def all_orders(x: jax.Array) -> tuple[jax.Array, ...]:
        by_reverse = jax.grad(gradient)(x)
        second, third = jax.jvp(lambda x: jax.jvp(gradient, (x,), (1.0,))[1], (x,), (1.0,))
        return gradient(x), by_reverse, second, third

    value = np.sin(0.7)
    np.testing.assert_allclose(all_orders(jnp.asarray(0.7)), value * np.array([3, 9, 9, 27]), rtol=1e-14)


def test_own_derivatives_are_mapped_along_any_axis() -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(4, 2)
    inner = jax.vmap(marked, in_axes=(1, None))  # over the columns of x
    found = jax.jit(jax.vmap(inner, in_axes=(None, 0)))(x, y)  # over the rows of y
    np.testing.assert_allclose(found[0], np.broadcast_to(np.sin(x.T), (4, 3, 2)), rtol=1e-15)
    np.testing.assert_array_equal(found[1], x.T[None] * y[:, None])
    change = lambda matrix: jax.jvp(jax.vmap(inner, in_axes=(None, 0)), (matrix, y), (np.ones_like(x), 0 * y))[1][0]
    np.testing.assert_allclose(change(x), 3 * found[0], rtol=1e-15)
