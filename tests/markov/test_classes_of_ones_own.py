"""Transitions, emissions, cells and heads that a user writes: what follows from little, and what is said of nothing."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.cells import AbstractCell
from ssm.emissions.common.base import AbstractEmission
from ssm.heads.base import AbstractHead
from ssm.passes.expectation import AbstractExpectation
from ssm.recursion import AbstractRecursion, AbstractReversibleRecursion
from ssm.transitions import AbstractTransition, Driven, Homogeneous, TimeVarying

pytestmark = pytest.mark.usefixtures("float64")

STATES, TOTAL, INPUTS = 3, 7, 2
CLOSE = {"rtol": 1e-10, "atol": 1e-10}  # float64, the same sums in another order


class Own(AbstractTransition):
    """A softmax of numbers, and nothing else."""

    logits: jax.Array

    @property
    def num_states(self) -> int:
        return STATES

    def matrix(self, u: Any = None) -> Any:
        return jax.nn.softmax(self.logits, axis=-1)


class OwnDriven(Own):
    """Moved by inputs through an activation that is a leaf of the tree, as those of `eqx.nn.MLP` are."""

    weights: jax.Array
    activation: Callable = lambda x: x

    @property
    def num_inputs(self) -> int:
        return INPUTS

    def matrix(self, u: Any = None) -> Any:
        return jax.nn.softmax(self.logits + self.activation(self.weights @ u), axis=-1)


class OwnInTime(Own):
    """Another matrix at every time."""

    def prepare(self, us: Any, times: Any) -> Any:
        return times

    def matrix(self, u: Any = None) -> Any:
        return jax.nn.softmax(self.logits[u], axis=-1)


def pairs() -> dict[str, tuple[AbstractTransition, AbstractTransition]]:
    """A transition of which only the matrix is written, and one of the library that is the same."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(TOTAL, STATES, STATES)))
    weights = jnp.asarray(rng.normal(size=(STATES, STATES, INPUTS)))
    probs = jax.nn.softmax(logits, axis=-1)
    return {
        "constant": (Own(logits[0]), Homogeneous(probs[0])),
        "driven": (OwnDriven(logits[0], weights), Driven(probs[0], weights)),
        "in time": (OwnInTime(logits), TimeVarying(probs)),
    }


@pytest.mark.parametrize(
    "kind",
    [pytest.param("constant", marks=pytest.mark.slow), "driven", pytest.param("in time", marks=pytest.mark.slow)],
)
def test_all_that_inference_asks_for_follows_from_the_matrix(kind: str) -> None:
    rng = np.random.default_rng(1)
    emission = ssm.emissions.Normal([-1.0, 0.0, 1.5], [1.0, 0.5, 1.0])
    models = [ssm.HMM([0.5, 0.3, 0.2], transition, emission) for transition in pairs()[kind]]
    us = jnp.asarray(rng.normal(size=(TOTAL, INPUTS))) if kind == "driven" else None
    ys, key = jnp.asarray(rng.normal(size=TOTAL)), jax.random.key(2)

    @eqx.filter_jit
    def answers(model: ssm.HMM) -> tuple:
        filtered, path = ssm.filter(model, ys, us), ssm.decode(model, ys, us)
        smoothed = [ssm.smooth(model, ys, us, schedule=each).smoothed.probs for each in ("auto", "associative")]
        loc = jax.grad(lambda loc: ssm.log_prob(model.replace(**{"emission.loc": loc}), ys, us))(emission.loc)
        statistics = ssm.expected_statistics(model, ys, us)
        drawn = ssm.posterior_sample(model, key, ys, 3, us), ssm.simulate(model, key, TOTAL, us)
        return filtered, path, smoothed, loc, statistics.states, ssm.Q(model, statistics, ys, us), drawn

    own, known = map(answers, models)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), own, known)
    if kind == "constant":
        counts = [ssm.expected_statistics(model, ys).transitions for model in models]
        np.testing.assert_allclose(*counts, **CLOSE)
        started = [ssm.HMM("stationary", transition, emission).initial for transition in pairs()[kind]]
        np.testing.assert_allclose(*started, **CLOSE)


@pytest.mark.parametrize("kind", ["constant", "driven"])
def test_one_step_of_a_fit_goes_up(kind: str) -> None:
    rng = np.random.default_rng(3)
    model = ssm.HMM([0.5, 0.3, 0.2], pairs()[kind][0], ssm.emissions.Normal([-1.0, 0.0, 1.5], [1.0, 0.5, 1.0]))
    ys, us = rng.normal(size=(2, TOTAL)), rng.normal(size=(2, TOTAL, INPUTS)) if kind == "driven" else None
    climbed = ssm.fit(model, ys, ssm.LBFGS(max_iters=2), us, progress=False)
    assert climbed.log_probs[-1] > climbed.start_log_prob
    assert not np.array_equal(climbed.model.dynamics.logits, model.dynamics.logits)
    fitted = ssm.fit(model, ys, ssm.EM(max_iters=2), us, progress=False, frozen=["transition"])
    assert fitted.log_probs[-1] > fitted.start_log_prob
    with pytest.raises(NotImplementedError, match=r"\.maximise: not written.*such as ssm\.SGD"):
        ssm.fit(model, ys, ssm.EM(max_iters=2), us, progress=False)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.full((3, 3), 0.5), "rows? .*sums? to 1.5|sums to 1.5"),
        (np.full((3, 4), 0.25), r"expected shape \(3, 3\)"),
        (np.array([[1.5, -0.5, 0.0]] * 3), "must not be negative"),
    ],
)
def test_a_matrix_that_holds_no_probabilities_is_refused(matrix: np.ndarray, said: str) -> None:
    class Wrong(Own):
        def matrix(self, u: Any = None) -> Any:
            return jnp.asarray(matrix)

    with pytest.raises(ValueError, match=f"transition: .*{said}"):
        ssm.HMM(np.ones(3) / 3, Wrong(jnp.zeros(3)), ssm.emissions.Normal([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]))


class OwnEmission(AbstractEmission):
    """Three states of scalars, without a density."""

    @property
    def num_states(self) -> int:
        return 3

    @property
    def event_shape(self) -> tuple[int, ...]:
        return ()


@pytest.mark.parametrize(
    ("base", "use", "said"),
    [
        (AbstractTransition, lambda own: own.num_states, "num_states: not written; an AbstractTransition needs a prop"),
        (AbstractTransition, lambda own: own.push(jnp.ones(3), None), r"matrix: .* a method, def matrix\(self, u\): A"),
        (AbstractTransition, lambda own: own.restart(jax.random.key(0)), r"restart: .*def restart\(self, key\)"),
        (
            OwnEmission,
            lambda own: ssm.log_prob(chain(own), np.zeros(4)),
            r"log_likelihoods: .*\(self, ys, us, obs",
        ),
        (OwnEmission, lambda own: own.given(jnp.asarray(0), None), r"given: .*\(self, state, u\)"),
        (
            AbstractHead,
            lambda own: own.distribution(jnp.ones(3)),
            r"distribution: .* def distribution\(self, f",
        ),
    ],
)
def test_what_is_not_written_is_named_with_its_class(base: type, use: Callable[[Any], Any], said: str) -> None:
    class Mine(base):
        pass

    with pytest.raises(NotImplementedError, match=rf"^Mine\.{said}"):
        use(Mine())


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (AbstractCell, r"advance: an AbstractCell needs a method, def advance\(self, state, projected\): h_t from .*"),
        (AbstractCell, r".*output_size: an AbstractCell needs a property, def output_size\(self\): Size of"),
        (AbstractRecursion, r".*event_shape: an AbstractModel needs a property, def event_shape\(self\): Shape"),
        (AbstractRecursion, r".*init: an AbstractScan needs a method, def init\(self, u, \*, key\): p\(x_1\)"),
        (AbstractReversibleRecursion, ".*reverse: an AbstractReversibleScan needs"),
        (AbstractExpectation, ".*maximise: an AbstractExpectation needs"),
    ],
)
def test_a_member_that_says_too_little_fails_when_its_class_is_made(base: type, said: str) -> None:
    with pytest.raises(TypeError, match=f"^Mine: not written: {said}"):
        type("Mine", (base,), {})
    type("AbstractMine", (base,), {})  # others complete it


def chain(emission: Any) -> ssm.HMM:
    return ssm.HMM(np.ones(3) / 3, np.eye(3), emission)


def test_no_error_is_empty() -> None:
    files = [*Path(ssm.__file__).parent.rglob("*.py")]
    bare = [
        f"{file.name}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id != "error"
    ]
    assert files
    assert not bare
