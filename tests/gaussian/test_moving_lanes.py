"""Missing data and varying matrices in lanes: the same answers as step by step, and step by step where none forgets."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_answers import beliefs, close, holds, moments, slopes

import ssm
from ssm.numeric import batched_roots
from ssm.recursions.gaussian.varying import blocks as varying_blocks
from ssm.recursions.gaussian.varying.forward import VaryingKalman
from ssm.schedules import Sequential, SideBySide

pytestmark = pytest.mark.usefixtures("float64")
LANES = SideBySide(lanes=3)
TOTAL = 150


def model_of(size: int, seen: int, varying: bool = False, total: int = TOTAL) -> ssm.LinearGaussian:
    """States that turn and shrink, noises of both with correlated components."""
    random = np.random.default_rng(size)
    turning = 0.8 * np.linalg.qr(random.normal(size=(size, size)))[0]
    view = random.normal(size=(seen, size))
    spread = lambda n: (lambda root: root @ root.T / n + 0.1 * np.eye(n))(random.normal(size=(n, n)))
    if varying:
        turning = turning * random.uniform(0.8, 1, size=(total, 1, 1))
        view = view * random.uniform(0.5, 1.5, size=(total, 1, 1))
    return ssm.LinearGaussian(random.normal(size=size), spread(size), turning, spread(size), view, spread(seen))


def observed(kind: str, lead: tuple[int, ...], seen: int) -> dict[str, Any]:
    random = np.random.default_rng(2)
    if kind == "steps missing":
        return {"mask": random.random(lead) > 0.2}
    if kind == "components missing":
        return {"mask": random.random((*lead, seen)) > 0.3}
    if kind == "ragged":
        return {"mask": random.random(lead) > 0.2, "lengths": np.array([TOTAL, 31, 2, 77])}
    return {}


# float64; borders agree to 64 epsilons, and numbers here are of size 1 to 100.
@pytest.mark.parametrize(
    ("question", "kind", "lead", "seen"),
    [
        (beliefs, "components missing", (TOTAL,), 2),
        (slopes, "ragged", (4, TOTAL), 1),
        pytest.param(beliefs, "varying", (4, TOTAL), 1, marks=pytest.mark.slow),
        pytest.param(beliefs, "steps missing", (TOTAL,), 2, marks=pytest.mark.slow),
        pytest.param(slopes, "components missing", (TOTAL,), 2, marks=pytest.mark.slow),
        pytest.param(slopes, "varying", (4, TOTAL), 2, marks=pytest.mark.slow),
        pytest.param(moments, "steps missing", (TOTAL,), 1, marks=pytest.mark.slow),
        pytest.param(moments, "ragged", (4, TOTAL), 2, marks=pytest.mark.slow),
    ],
)
def test_every_answer_is_that_of_walking_in_order(question: Any, kind: str, lead: tuple, seen: int) -> None:
    model, more = model_of(2, seen, kind == "varying"), observed(kind, lead, seen)
    ys = jnp.asarray(np.random.default_rng(1).normal(size=(*lead, seen)))
    run = eqx.filter_jit(question)
    close(*(run(model, ys, None, schedule, **more) for schedule in (LANES, Sequential())), tolerance=1e-11)
    assert holds(model, ys, LANES, **more)


@pytest.mark.parametrize(("rho", "sweeps", "agree"), [(0.5, 2, True), (0.999, 2, False), (0.999, 3, True)])
def test_sweeps_end_when_borders_agree(rho: float, sweeps: int, agree: bool) -> None:
    """A state that its noise hardly moves: every sweep knows one more block of three."""
    one = np.eye(1)
    model = ssm.LinearGaussian(np.zeros(1), one, rho * one, 1e-8 * one, one, one)
    ys = np.random.default_rng(0).normal(size=(TOTAL, 1)) + 3
    mask = np.arange(TOTAL) % 7 > 0
    schedule = SideBySide(lanes=3, max_sweeps=sweeps)
    assert holds(model, ys, schedule, mask=mask) == agree
    found, truth = (ssm.log_prob(model, ys, mask=mask, schedule=how) for how in (schedule, "sequential"))
    np.testing.assert_allclose(found, truth, rtol=1e-12)


def test_a_certain_observation_is_left_to_walking_in_order() -> None:
    zero = np.zeros((1, 1))
    model = ssm.LinearGaussian(np.zeros(1), zero, np.eye(1), zero, np.eye(1), zero)
    ys, mask = np.zeros((12, 1)), np.arange(12) != 4
    assert not holds(model, ys, LANES, mask=mask)
    found, truth = (ssm.log_prob(model, ys, mask=mask, schedule=how) for how in (LANES, "sequential"))
    np.testing.assert_array_equal(found, truth)


@pytest.mark.slow
def test_many_sequences_are_taken_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varying_blocks, "LANES", 8)
    model, ys = model_of(2, 1), np.random.default_rng(1).normal(size=(19, 5, 1))
    mask = np.random.default_rng(2).random((19, 5)) > 0.3
    found, truth = (ssm.log_prob(model, ys, mask=mask, schedule=how) for how in (SideBySide(), "sequential"))
    # As a group of eight, eight, and three that are filled up; the same sums in the same order.
    np.testing.assert_allclose(found, truth, rtol=1e-12)
    assert holds(model, ys, SideBySide(lanes=1), mask=mask)


@pytest.mark.parametrize(
    ("shape", "size", "pays"),
    [
        ((4096,), 3, True),
        ((4095,), 3, False),
        ((4096,), 2, False),
        ((10_000,), 12, True),
        ((10_000,), 13, False),
        ((4, 2000), 3, True),
    ],
)
def test_it_is_the_default_where_it_pays(shape: tuple[int, ...], size: int, pays: bool) -> None:
    model = model_of(size, 1)
    ys, mask = jnp.zeros((*shape, 1)), jnp.ones(shape, bool)
    steps = ssm.data.observe(model, ys, mask=mask).steps
    schedule = ssm.schedules.resolve("auto", model, shape)
    assert isinstance(schedule, SideBySide) and VaryingKalman.takes(model, steps, schedule) == pays


def lower(*lead: int) -> np.ndarray:
    return np.tril(np.random.default_rng(len(lead)).normal(size=lead)) + 2 * np.eye(lead[-1])


@pytest.mark.parametrize("empty", [False, True])
def test_triangular_roots(empty: bool) -> None:
    matrix, root = np.random.default_rng(0).normal(size=(7, 4, 3)), lower(7, 4, 4)
    if empty:  # the second row is twice the first one, and the last is nothing
        matrix[:, 1], root[:] = 2 * matrix[:, 0], 0
        matrix[:, 3] = 0
    lanes = (jnp.moveaxis(jnp.asarray(array), 0, -1) for array in (matrix, root))
    found = np.moveaxis(np.asarray(jax.jit(batched_roots.triangular_root)(*lanes)), -1, 0)
    square = lambda array: array @ np.swapaxes(array, 1, 2)
    np.testing.assert_allclose(square(found), square(matrix) + square(root), atol=1e-12)
    assert not np.triu(found, 1).any() and (np.diagonal(found, axis1=1, axis2=2) >= 0).all()
    if empty:
        assert not found[:, :, [1, 3]].any()  # no pivot, no column


@pytest.mark.parametrize("noise", ["full", "of one component", "none"])
def test_conditioning_is_that_of_covariances(noise: str) -> None:
    random = np.random.default_rng(0)
    matrix, root, blur = random.normal(size=(2, 3)), lower(5, 3, 3), lower(2, 2)
    blur = {"full": blur, "of one component": blur * [1, 0], "none": 0 * blur}[noise]
    residual = random.normal(size=(5, 2))
    to_lanes = lambda array: jnp.moveaxis(jnp.asarray(array), 0, -1)
    seeing, left = jax.jit(batched_roots.condition)(to_lanes(matrix @ root), to_lanes(root), to_lanes(blur[None]))
    shift, log_density = seeing.correct(to_lanes(residual))
    for i in range(5):
        covariance = root[i] @ root[i].T
        innovation = matrix @ covariance @ matrix.T + blur @ blur.T
        gain = covariance @ matrix.T @ np.linalg.inv(innovation)
        kept = covariance - gain @ matrix @ covariance
        # Numbers of size 10, condition numbers below 1e3: 1e-11 leaves four digits unused.
        np.testing.assert_allclose(left[..., i] @ left[..., i].T, kept, atol=1e-11)
        np.testing.assert_allclose(shift[:, i], gain @ residual[i], atol=1e-11)
        truth = -0.5 * (residual[i] @ np.linalg.solve(innovation, residual[i]) + np.linalg.slogdet(innovation)[1])
        np.testing.assert_allclose(log_density[i], truth - np.log(2 * np.pi), atol=1e-11)


@pytest.mark.slow
def test_float32_keeps_to_float64() -> None:
    """T = 10⁵, a tenth missing, a vague start: rounding of 1e5 terms of size 1, which add up at random."""
    model, ys = model_of(4, 2), np.random.default_rng(1).normal(size=(100_000, 2)) * 2
    mask = np.random.default_rng(2).random(len(ys)) > 0.1
    exact = float(ssm.log_prob(model, ys, mask=mask))
    with jax.enable_x64(False):
        single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
        found = float(ssm.log_prob(single, ys.astype(np.float32), mask=mask))
    assert (
        abs(found - exact) < 0.5
    )  # of 4e5: half of a tenth of what one number of float32 there is rounded by, 2⁻⁵ · 16
