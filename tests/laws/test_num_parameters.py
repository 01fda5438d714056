"""How many numbers of a model are free: the rank of what moving all of them does to log p(y_t | y_<t)."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import zoo
from emission_families import FAMILIES, STATES
from jax.flatten_util import ravel_pytree

import ssm
from ssm.parameters.freezing import combine, frozen_names, partition
from ssm.transitions import Driven, LowRank, Recent, Sparse, TimeVarying

pytestmark = pytest.mark.usefixtures("float64")

SEQUENCES, TOTAL = 24, 9


def rank(model: Any, frozen: Any = (), seed: int = 0) -> int:
    """Of the Jacobian over random sequences, all stored numbers that a fit may move (N of them) being moved."""
    rng = np.random.default_rng(seed)
    us = rng.normal(size=(SEQUENCES, TOTAL, model.num_inputs)) if model.num_inputs else None
    ys = observations(model, us, rng)
    names = frozen_names(model, frozen)
    free, held = partition(model, names)
    flat, unravel = ravel_pytree(free)
    # `combine` puts back the entries that are held, whatever was done to them.
    evidence = lambda vector: ssm.filter(combine(unravel(vector), held), ys, us).log_evidence.reshape(-1)
    # Forward mode: a step's evidence is a derivative away from few numbers, and there are many steps.
    slopes = np.asarray(jax.jit(jax.jacfwd(evidence))(flat))
    found = slopes[:, np.abs(slopes).max(axis=0) > 0]
    scaled = found / np.linalg.norm(found, axis=0)  # parameters in units of their own
    values = np.linalg.svd(scaled, compute_uv=False)
    count = int((values > 1e-8 * values[0]).sum())
    # The gap: float64 leaves 1e-13 of what has no effect; what has one is far above.
    assert values[count - 1] > 1e-6 * values[0] and (values[count:] < 1e-11 * values[0]).all(), values
    return count


def observations(model: Any, us: Any, rng: np.random.Generator) -> np.ndarray:
    """Random sequences that the model can emit."""
    if not isinstance(model, ssm.HMM):
        return zoo.observations(model, rng, SEQUENCES, TOTAL)
    keys = jax.random.split(jax.random.key(int(rng.integers(99))), SEQUENCES)
    draw = lambda key, us: ssm.simulate(model, key, TOTAL, us)[1]
    return np.asarray(jax.jit(jax.vmap(draw, (0, None if us is None else 0)))(keys, us))


def rows(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1])


def normals(size: int) -> ssm.emissions.Normal:
    return ssm.emissions.Normal(np.linspace(-1, 1, size), np.linspace(0.5, 1.5, size))


def chain(transition: Any, size: int = 2, emission: Any = None, initial: Any = "rows") -> ssm.HMM:
    start = rows(size, seed=9) if isinstance(initial, str) and initial == "rows" else initial
    return ssm.HMM(start, transition, normals(size) if emission is None else emission)


def draw(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def banded() -> np.ndarray:
    band = np.abs(np.subtract.outer(np.arange(3), np.arange(3))) < 2
    table = band * (1.0 + np.arange(9).reshape(3, 3) / 9)
    return table / table.sum(1, keepdims=True)


def loaded(size: int, width: int) -> ssm.HMM:
    scale = np.exp(draw(2, size, seed=3) / 3)
    return chain(rows(2, 2), emission=ssm.emissions.FactorNormal(draw(2, size), draw(2, size, width, seed=2), scale))


def regression(classes: int = 3) -> ssm.HMM:
    return chain(rows(2, 2), emission=ssm.emissions.CategoricalRegression(draw(2, classes, 1), draw(2, classes)))


def additive(*sizes: int) -> ssm.HMM:
    tables = [draw(size, 1, seed=size + 7 * i) for i, size in enumerate(sizes)]
    emission = ssm.emissions.AdditiveNormal(tables, np.array([0.7]))
    starts, moves = [rows(n, seed=i) for i, n in enumerate(sizes)], [rows(n, n, seed=i) for i, n in enumerate(sizes)]
    return ssm.FactorialHMM(starts, moves, emission)


def low_rank(states: int, classes: int) -> ssm.HMM:
    return chain(LowRank(rows(states, classes), rows(classes, states, seed=1)), states)


# The count as it should be, by hand.
REPORTED: dict[str, tuple[Callable[[], Any], int]] = {
    "driven": (lambda: chain(Driven(rows(2, 2), draw(2, 2, 1))), 9),
    "banded": (lambda: chain(Driven(banded(), draw(3, 3, 1)), 3), 16),
    "symbols": (regression, 11),
    "additive": (lambda: additive(2, 2), 10),
    "factors": (lambda: loaded(4, 2), 31),
    "low-rank": (lambda: low_rank(2, 2), 7),
}


@pytest.mark.parametrize("name", REPORTED)
def test_what_has_no_effect_does_not_count(name: str) -> None:
    make, expected = REPORTED[name]
    assert ssm.num_parameters(make()) == rank(make()) == expected


OTHERS: dict[str, Callable[[], Any]] = {
    "driven-two": lambda: chain(Driven(rows(3, 3), draw(3, 3, 2)), 3),
    "in-time": lambda: chain(TimeVarying(rows(TOTAL, 2, 2))),
    "recent": lambda: chain(Recent(rows(2, 2), 2), 4, initial="stationary"),
    "sparse": lambda: chain(Sparse(np.array([[0, 1], [1, 2], [0, 2]]), rows(3, 2)), 3),
    "stationary": lambda: chain(rows(3, 3), 3, initial="stationary"),
    "additive-three": lambda: additive(2, 3, 2),
    "factors-one": lambda: loaded(4, 1),
    "factors-many": lambda: loaded(3, 3),
    "factors-more": lambda: loaded(2, 4),
    "low-rank-three": lambda: low_rank(4, 3),
    "low-rank-more": lambda: low_rank(2, 3),
    "low-rank-zeros": lambda: chain(LowRank([[0.4, 0.6], [1, 0], [0.5, 0.5]], [[0, 0.3, 0.7], [0.2, 0.2, 0.6]]), 3),
    "semi-markov": lambda: ssm.HSMM(rows(2), rows(2, 2), ssm.durations.Categorical(rows(2, 3)), normals(2)),
    "poisson": lambda: ssm.HSMM(rows(2), rows(2, 2), ssm.durations.Poisson([1.0, 2.0], 4), normals(2)),
    "geometric": lambda: ssm.HSMM(rows(2), np.eye(2)[::-1], ssm.durations.Geometric([0.3, 0.6], 4), normals(2)),
    "linear": lambda: chain(
        rows(2, 2), emission=ssm.emissions.LinearRegression(draw(2, 2), draw(2), np.array([0.5, 1.0]))
    ),
    "logistic": lambda: chain(rows(2, 2), emission=ssm.emissions.LogisticRegression(draw(2, 2), draw(2))),
}
FEW = {"in-time", "driven-two"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FEW else pytest.mark.slow) for name in OTHERS])
def test_the_count_is_the_rank_for_every_structure(name: str) -> None:
    model = OTHERS[name]()
    assert ssm.num_parameters(model) == rank(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_count_is_the_rank_for_every_emission(name: str) -> None:
    emission, _ = FAMILIES[name].make(np.random.default_rng(3))
    model = chain(rows(STATES, STATES), STATES, emission)
    assert ssm.num_parameters(model) == rank(model)


CHAINS_AND_NETWORKS = zoo.members(lambda m: m.is_markov or m.name.startswith(("RNN", "Semi", "Coupled", "Auto")))


@pytest.mark.slow
@pytest.mark.parametrize("member", CHAINS_AND_NETWORKS)
def test_the_count_is_the_rank_for_every_member(member: zoo.Member) -> None:
    model = member.model(1)
    biases = 9 if member.name == "RNN-categorical" else 0  # which one-hot columns could carry
    assert ssm.num_parameters(model) == rank(model) + biases


def test_a_basis_of_states_is_counted_unless_something_fixes_it() -> None:
    """As the docstring says: D² numbers of a LinearGaussian have no effect, and count.

    So do (D - N) (D - N + 1) / 2: noise that a state has in directions v that are not seen, s v vᵀ at all times.
    """
    model = zoo.linear_gaussian()(jax.random.key(2))
    held = ["emission_matrix", "transition_covariance"]
    assert ssm.num_parameters(model) == rank(model) + 9 + 1
    assert ssm.num_parameters(model, held) == rank(model, held)


@pytest.mark.parametrize(
    ("make", "frozen"),
    [
        (regression, {"emission.bias": np.eye(2, 3, dtype=bool)}),  # of one symbol in each state, which fixes the level
        (regression, ["emission.weights"]),
        (lambda: loaded(4, 2), {"emission.factors": np.broadcast_to(np.eye(4, 2, k=1, dtype=bool), (2, 4, 2))}),
        (lambda: loaded(3, 2), ["emission.scale"]),
        (lambda: additive(2, 3), ["emission.loc.0"]),
        (lambda: low_rank(3, 2), ["transition.leave"]),
        (lambda: chain(Driven(rows(2, 2), draw(2, 2, 1))), {"transition.weights": np.eye(2, dtype=bool)[..., None]}),
    ],
)  # fmt: skip
def test_what_is_held_fixes_what_had_no_effect(make: Callable, frozen: Any) -> None:
    model = make()
    assert ssm.num_parameters(model, frozen) == rank(model, frozen)
