"""Square roots without LAPACK, and walks in blocks of steps, against dense covariances and walks as a whole."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.numeric.conditioning import condition
from ssm.numeric.roots import FEW, SMALL_ROOT, triangular_root
from ssm.parameters import constrain
from ssm.recursions.gaussian.adjoint.in_order import KalmanInOrder
from ssm.scan import scan
from ssm.schedules import AbstractSchedule, Sequential
from ssm.schedules.sequential import walk_in_order
from ssm.steps import Step


def joints() -> dict[str, tuple[Any, Any, Any]]:
    """(matrix, root, noise): square roots that a model may meet."""
    random = np.random.default_rng(0)
    lower = lambda size: np.tril(random.normal(size=(size, size)), -1) + np.diag(random.uniform(0.5, 2, size))
    view = lambda seen, size: random.normal(size=(seen, size))
    zeroed = lower(3) * np.array([1, 0, 1])  # a state that the one before it determines
    exact = lower(2) * np.array([1, 0])  # noise of the second component is that of the first
    twice = np.vstack([view(1, 3)] * 2)
    return {
        "one": (view(1, 3), lower(3), lower(1)),
        "correlated": (view(2, 3), lower(3), lower(2)),
        "more seen than states": (view(FEW, 2), lower(2), lower(FEW)),
        "many": (view(FEW + 1, 2), lower(2), lower(FEW + 1)),
        "singular state": (view(2, 3), zeroed, lower(2)),
        "singular noise": (view(2, 3), lower(3), exact),
        "no noise": (view(2, 3), lower(3), np.zeros((2, 2))),
        "seen twice without noise": (twice, lower(3), np.zeros((2, 2))),
        "nothing left": (view(3, 2), lower(2), np.zeros((3, 3))),
        "nothing seen": (np.zeros((2, 3)), lower(3), np.diag([1.0, 0.0])),
    }


@pytest.mark.parametrize("case", joints())
def test_conditioning_is_that_of_covariances(float64: None, case: str) -> None:
    matrix, root, noise = joints()[case]
    innovation, cross, rest = (np.asarray(part) for part in jax.jit(condition)(matrix, root, noise))
    covariance, across = root @ root.T, root @ root.T @ matrix.T
    seen = matrix @ across + noise @ noise.T
    left = covariance - across @ np.linalg.pinv(seen, rcond=1e-12, hermitian=True) @ across.T
    for lower in (innovation, rest):
        assert not np.triu(lower, 1).any() and (np.diagonal(lower) >= 0).all()
        assert not lower[:, np.diagonal(lower) == 0].any()  # every pivot is on the diagonal
    # Numbers of size 10, condition numbers below 1e3: 1e-11 leaves four digits of float64 unused.
    np.testing.assert_allclose(innovation @ innovation.T, seen, atol=1e-11)
    np.testing.assert_allclose(cross @ innovation.T, across, atol=1e-11)
    np.testing.assert_allclose(rest @ rest.T, left, atol=1e-11)


def test_roots_keep_what_covariances_lose_in_float32() -> None:
    # Rows of unit length that differ by 3e-4: their covariance, rounded to 6e-8, knows the small pivot, whose square
    # is 1e-7, not at all; a root knows it to 6e-8 / 3e-4.
    small = 3e-4
    for size in (3, SMALL_ROOT + 1):
        matrix = np.tril(np.ones((size, size))) * np.where(np.arange(size) == 0, 1, small)
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(size, size)))[0]
        spread = (matrix @ turn).astype(np.float32)
        exact = np.asarray(np.linalg.qr(np.asarray(spread, float).T, mode="r")).T
        exact = exact * np.where(np.diagonal(exact) < 0, -1, 1)
        error = np.asarray(jax.jit(triangular_root)(spread)) - exact
        # A few roundings for each of the rows, of numbers of size 1: of a pivot, that is one part in five hundred.
        assert np.abs(error).max() < 4 * size * 6e-8


def test_precise_components_do_not_drown_in_shared_noise() -> None:
    """Two sensors, one of them ten thousand times as precise as the noise that it shares with the other."""
    blur = np.array([[1e-4, 0], [1, 1]]) @ np.array([[1e-4, 1], [0, 1]])
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    exact = [np.zeros(2), np.diag([1, 1e-6]), 0.99 * turn, np.diag([0.1, 1e-6]), np.eye(2)[::-1], blur]
    arrays: Any = [np.asarray(array, np.float32) for array in exact]
    ys: Any = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    ys[3], ys[5, 0] = np.nan, np.nan
    increments = ssm.filter(ssm.LinearGaussian(*arrays), ys, schedule="sequential").log_evidence
    with jax.enable_x64(True):
        double = ssm.LinearGaussian(*(array.astype(float) for array in arrays))
        truth = ssm.filter(double, ys.astype(float), schedule="sequential").log_evidence
    # y_1 misses by 1e4 standard deviations: rounding of that, squared twice over, is what is left. Taking the shared
    # noise out of the second component beforehand would lose 1e4 roundings more.
    np.testing.assert_allclose(increments, truth, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("own", [0.3, 0.0])
def test_second_derivatives_are_those_of_covariances(float64: None, own: float) -> None:
    matrix, root = jnp.array([[1.0, 0.2], [0.5, -1], [0.3, 2]]), jnp.array([[1.0, 0], [0.4, 0.7]])
    noise = jnp.array([[0.5, 0, 0], [0.1, own, 0], [0, 0.2, 0.6]])
    weights = jnp.array([[1.0, 0.3], [0.3, 2]])

    def by_root(matrix: Any, root: Any) -> Any:
        _, _, rest = condition(matrix, root, noise)
        return jnp.sum(weights * (rest @ rest.T))

    def by_covariance(matrix: Any, root: Any) -> Any:
        across = root @ root.T @ matrix.T
        gain = jnp.linalg.solve(matrix @ across + noise @ noise.T, across.T)
        return jnp.sum(weights * (root @ root.T - across @ gain))

    curvature = lambda function: jax.jit(jax.hessian(function, argnums=(0, 1)))(matrix, root)
    for ours, theirs in zip(
        jax.tree.leaves(curvature(by_root)), jax.tree.leaves(curvature(by_covariance)), strict=True
    ):
        lower = np.tril(np.ones((2, 2))) if ours.shape[-2:] == (2, 2) else np.ones(ours.shape[-2:])
        ours, theirs = (np.asarray(each) * lower for each in (ours, theirs))
        np.testing.assert_allclose(ours[..., 0, 0], theirs[..., 0, 0], atol=1e-9)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


class Whole(AbstractSchedule):
    """One scan over all steps."""

    def run(self, walk: Any, belief: Any, steps: Step) -> tuple[Any, Any]:
        return walk_in_order(walk, belief, steps)

    def run_backward(self, walk: Any, belief: Any, steps: Step) -> tuple[Any, Any]:
        return walk_in_order(walk, belief, steps, reverse=True)


@pytest.mark.parametrize("total", [256, 263])
def test_blocks_of_steps_are_the_walk(total: int) -> None:
    """Where blocks divide T, and where they do not, then with gradients and backward, too."""
    arrays: Any = [0.0, 0], np.eye(2), [[1, 0.1], [0, 0.9]], 0.1 * np.eye(2), [[1, 0]], [[0.5]]
    model = ssm.LinearGaussian(*arrays)
    assert KalmanInOrder.order(model, Sequential()).in_small_blocks
    plain, ys = constrain(model), jax.random.normal(jax.random.key(0), (total, 1))
    steps = plain.prepare(Step(t=jnp.arange(total), y=ys, observed=jnp.arange(total) % 7 > 0))
    for backward in (False, True) if total % 2 else (False,):

        def walked(schedule: AbstractSchedule, ys: Any, backward: bool = backward) -> Any:
            these = Step(t=steps.t, u=steps.u, y=ys, observed=steps.observed)
            last, saved = scan(plain, these, schedule=schedule, backward=backward)
            return jnp.sum(saved.log_evidence), (last, saved)

        value = lambda schedule: lambda ys: walked(schedule, ys)
        sloped = lambda schedule: value(schedule) if total == 256 else jax.value_and_grad(value(schedule), has_aux=True)
        run = lambda schedule: jax.jit(sloped(schedule))(ys)
        whole, blocks = run(Whole()), run(Sequential(in_small_blocks=True))
        # The same operations, compiled once more: roundings of numbers of size 1 (the sum: 300).
        for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(blocks), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)
