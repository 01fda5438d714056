"""Blocks of one sequence side by side: the same answers as in order, and in order where the chain does not forget."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import ssm
from ssm.emissions import Categorical, Normal
from ssm.parameters import constrain
from ssm.recursions.markov import blocks
from ssm.recursions.markov.in_blocks import ChainInBlocks
from ssm.recursions.markov.viterbi import Viterbi
from ssm.schedules import Associative, Sequential, SideBySide, resolve

TOTAL = 50
PATIENT = SideBySide(4, max_sweeps=9)


def chain(name: str = "HMM-normal-vector") -> tuple[ssm.HMM, np.ndarray]:
    """A zoo member and observations of it."""
    model = next(member for member in zoo.MEMBERS if member.name == name).model()
    return model, zoo.observations(model, np.random.default_rng(0), TOTAL)


def close(answer: Any, truth: Any, tolerance: float = 1e-10) -> None:
    """Every array leaf, to the rounding of float64 sums in another order."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), answer, truth)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("name", "total", "count"),
    [
        pytest.param("HMM-categorical", 50, 7, marks=pytest.mark.slow),
        ("HMM-normal-vector", 50, 4),
        pytest.param("HMM-normal-vector", 7, 4, marks=pytest.mark.slow),
    ],
)
def test_both_ways_are_the_passes_in_order(name: str, total: int, count: int) -> None:
    model, ys = chain(name)
    mask = np.random.default_rng(1).uniform(size=total) < 0.7
    mask[:2] = True
    schedule = SideBySide(count, max_sweeps=9)
    for each in (Sequential(), schedule):
        assert resolve(each, model) is each
    run = lambda schedule: (
        ssm.filter(model, ys[:total], mask=mask, schedule=schedule),
        ssm.smooth(model, ys[:total], mask=mask, schedule=schedule),
        ssm.expected_statistics(model, ys[:total], mask=mask, schedule=schedule),
    )
    close(run(schedule), run(Sequential()))


def agreed(model: ssm.HMM, ys: Any, schedule: SideBySide = PATIENT) -> tuple[bool, bool]:
    """Whether the lanes found an answer of their own, there and back."""
    there, back = _agreed(model, ssm.data.observe(model, ys).steps, schedule)
    return bool(there), bool(back)


@eqx.filter_jit
def _agreed(model: ssm.HMM, steps: Any, schedule: SideBySide) -> tuple[jax.Array, jax.Array]:
    way = ChainInBlocks.of(constrain(model), steps, schedule)
    return way.holds, way.maximised(frozenset()).holds


def test_a_chain_that_forgets_needs_no_fallback_and_one_that_does_not_gets_it() -> None:
    model, ys = chain()
    assert agreed(model, ys) == (True, True)
    frozen = ssm.HMM([0.6, 0.3, 0.1], np.eye(3), Normal([0.0, 0.1, 0.2], np.ones(3)))
    assert agreed(frozen, ys[:, 0], SideBySide(4, max_sweeps=2)) == (False, False)
    banded = zoo.banded_hmm(jax.random.key(0))
    for stubborn in (frozen, banded):
        truth = ssm.smooth(stubborn, ys[:, 0], schedule="sequential")
        for schedule in (SideBySide(4, max_sweeps=2), SideBySide(4, max_sweeps=6)):
            close(ssm.smooth(stubborn, ys[:, 0], schedule=schedule), truth, 1e-5)  # float32


def test_what_leaves_the_range_is_walked_in_order() -> None:
    table = np.array([[0.0, 1.0], [1.0, 0.0]])
    likely = ssm.HMM([1.0, 0.0], [[0.5, 0.5], [0.5, 0.5]], Normal([0.0, 15.5], np.ones(2)))
    ys = np.full(8, 15.5)  # the state that must come first is 120 nats less likely there
    close(ssm.log_prob(likely, ys, schedule=PATIENT), ssm.log_prob(likely, ys, schedule="sequential"), 1e-6)
    assert agreed(likely, ys)[0] is False
    impossible = ssm.HMM([1.0, 0.0], np.eye(2), Categorical(table))
    found = ssm.filter(impossible, np.array([1, 1, 0, 1]), schedule=SideBySide(2))
    assert found.log_prob == -jnp.inf and found.first_impossible == 2
    poisoned = jax.jit(lambda ys: ssm.log_prob(likely, ys, missing=False, schedule=PATIENT))(jnp.full(8, jnp.nan))
    assert jnp.isnan(poisoned)


@pytest.mark.usefixtures("float64")
def test_derivatives_of_every_kind() -> None:
    model, ys = chain()
    ys = jnp.asarray(ys[:24])
    free, fixed = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(free)

    def evidence(vector: Any, schedule: Any) -> Any:
        return ssm.log_prob(eqx.combine(unravel(vector), fixed), ys, schedule=schedule)

    def last(vector: Any, schedule: Any) -> Any:
        found = ssm.smooth(eqx.combine(unravel(vector), fixed), ys, schedule=schedule)
        return jnp.sum(found.smoothed.probs[3] * jnp.arange(3.0)) + found.log_prob

    def derivatives(schedule: Any) -> Any:
        return (
            jax.grad(evidence)(flat, schedule),
            jax.jacrev(jax.grad(evidence))(flat, schedule),
            jax.grad(last)(flat, schedule),
            jax.jvp(lambda vector: last(vector, schedule), (flat,), (jnp.ones_like(flat),)),
        )

    close(jax.jit(lambda: derivatives(PATIENT))(), jax.jit(lambda: derivatives(Sequential()))(), 1e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["HMM-normal-vector", pytest.param("HMM-categorical", marks=pytest.mark.slow)])
def test_the_sequences_of_a_batch_are_lanes(name: str) -> None:
    model, _ = chain(name)
    rng = np.random.default_rng(2)
    ys, lengths, weights = zoo.observations(model, rng, 3, 9), np.array([9, 1, 5]), jnp.array([1.0, -0.5, 2.0])
    mask = rng.uniform(size=(3, 9)) < 0.7
    free, fixed = eqx.partition(model, eqx.is_inexact_array)

    def run(schedule: Any) -> Any:
        given = {"mask": mask, "lengths": lengths, "schedule": schedule}
        total = lambda free: jnp.sum(weights * ssm.log_prob(eqx.combine(free, fixed), ys, **given))
        flat, unravel = jax.flatten_util.ravel_pytree(free)
        hessian = jax.jacrev(jax.grad(lambda vector: total(unravel(vector))))(flat)
        filtered, smoothed = ssm.filter(model, ys, **given), ssm.smooth(model, ys, **given)
        return filtered, smoothed, ssm.log_prob(model, ys, **given), jax.grad(total)(free), hessian

    close(jax.jit(lambda: run(SideBySide()))(), jax.jit(lambda: run(Sequential()))(), 1e-9)


def test_a_batch_that_leaves_the_range_is_walked_in_order() -> None:
    likely = ssm.HMM([1.0, 0.0], [[0.5, 0.5], [0.5, 0.5]], Normal([0.0, 15.5], np.ones(2)))
    ys = np.stack([np.full(8, 15.5), np.zeros(8)])
    for verb in (lambda **s: ssm.log_prob(likely, ys, **s), lambda **s: ssm.smooth(likely, ys, **s)):
        close(verb(schedule=SideBySide()), verb(schedule="sequential"), 1e-5)
    gradient = lambda schedule: jax.grad(lambda model: jnp.sum(ssm.log_prob(model, ys, schedule=schedule)))(likely)
    close(gradient(SideBySide()), gradient(Sequential()), 1e-4)


def test_em_and_sgd_on_a_batch_take_the_steps_of_walking_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = chain()
    rng = np.random.default_rng(3)
    ys, lengths = zoo.observations(model, rng, 9, 6), rng.integers(1, 7, 9)
    for method in (ssm.EM(3, tol=0), ssm.SGD(num_epochs=3)):
        with_lanes = ssm.fit(model, ys, method, lengths=lengths)
        with monkeypatch.context() as patch:
            patch.setattr(ChainInBlocks, "pays", classmethod(lambda cls, model, shape: False))
            jax.clear_caches()
            in_order = ssm.fit(model, ys, method, lengths=lengths)
        jax.clear_caches()
        np.testing.assert_allclose(with_lanes.log_probs, in_order.log_probs, rtol=1e-5)
        close(with_lanes.model, in_order.model, 1e-4)


def test_what_it_is_not_for_is_walked_in_order_or_refused() -> None:
    model, ys = chain()
    starts = np.zeros(TOTAL, bool)
    starts[[0, 20]] = True
    for extra in ({"starts": starts}, {"lengths": 30}):
        close(ssm.log_prob(model, ys, schedule=PATIENT, **extra), ssm.log_prob(model, ys, **extra), 1e-6)
    particles = zoo.particle_filter(jax.random.key(0))
    with pytest.raises(TypeError, match="sequential, blocked"):
        ssm.log_prob(particles, ys, np.zeros((TOTAL, 2)), schedule="side_by_side", key=jax.random.key(0))
    with pytest.raises(ValueError, match="lanes"):
        SideBySide(0)
    with pytest.raises(ValueError, match="max_sweeps"):
        SideBySide(max_sweeps=0)


def test_auto_takes_it_for_long_sequences_and_for_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    model, _ = chain()
    for shape, best in (
        ((10_000,), SideBySide()),
        ((20, 50), SideBySide()),
        ((50,), Sequential()),
        (None, Sequential()),
    ):
        assert resolve("auto", model, shape) == best
    assert blocks.suggested_lanes(10_000, 5) > blocks.suggested_lanes(500, 5) > 1


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
@pytest.mark.parametrize("member", zoo.members())
def test_auto_takes_what_compiles_in_seconds_on_accelerators(
    member: zoo.Member, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    model = member.model()
    lanes_for = {"HMM", "LinearGaussian"}
    for shape in ((10_000,), (50,), (20, 5000), (1, 10_000), None):
        alone = shape == (10_000,) and member.name.split("-")[0] in lanes_for and SideBySide().supports(model)
        assert resolve("auto", model, shape) == (SideBySide() if alone else Sequential())
        if isinstance(model, ssm.HMM):
            assert not isinstance(resolve("auto", Viterbi(model), shape), Associative)


def test_float32_at_ten_thousand_steps() -> None:
    model, _ = chain()
    _, ys = ssm.simulate(model, jax.random.key(0), 10_000)
    with jax.enable_x64():
        double = ssm.HMM(
            np.asarray(model.initial, float),
            np.asarray(model.transition, float),
            Normal(np.asarray(model.emission.loc, float), np.asarray(model.emission.scale, float)),
        )
        counts = ssm.expected_statistics(double, np.asarray(ys, float), schedule="sequential")
        truth = ssm.log_prob(double, np.asarray(ys, float), schedule="sequential")
    # 1e4 increments, each off by some epsilons of its size; the sum of one sign adds up a few 1e-7 relative.
    np.testing.assert_allclose(ssm.log_prob(model, ys), truth, rtol=1e-6)
    expect = eqx.filter_jit(lambda model, steps: ChainInBlocks.of(constrain(model), steps, SideBySide()).statistics())
    agreed, found = expect(model, ssm.data.observe(model, ys).steps)
    assert agreed
    np.testing.assert_allclose(found.transitions, counts.transitions, rtol=1e-5)
    smoothed = ssm.smooth(model, ys, schedule="side_by_side").smoothed.probs
    np.testing.assert_allclose(smoothed, counts.states, atol=1e-5)
