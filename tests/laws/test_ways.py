"""Where it holds, a way through the data answers as walking in order does: every way of every member of the zoo."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import ssm
from ssm.beliefs import handed_out
from ssm.data import observe
from ssm.numeric.protocols import offers
from ssm.parameters import constrain
from ssm.passes.capabilities import AbstractDecodable
from ssm.passes.door import all_ways, answered, in_order
from ssm.passes.expectation import AbstractDifferentiable, AbstractExpectation
from ssm.schedules import Sequential, SideBySide

pytestmark = pytest.mark.usefixtures("float64")

TOTAL = 15  # of which the members that vary in time know every step
SCHEDULE = SideBySide(lanes=3, max_sweeps=20)
LEADS = {"one": (), "batch": (3,)}


def questions(model: Any) -> dict[str, Callable]:
    """What may be asked of a way through a member."""
    moving = jax.tree.map(eqx.is_inexact_array, model)
    known: dict[str, Callable] = {
        "evidence": lambda way, _: way.beliefs()._replace(found=way.log_evidence),
        "beliefs": lambda way, _: way.beliefs(),
        "last": lambda way, _: way.last(),
        "smoothed": lambda way, _: way.smoothed(),
        "lagged": lambda way, _: way.lagged(2),
        "drawn": lambda way, keys: way.drawn(keys, 2),
    }
    if offers(model, AbstractDifferentiable):
        counted = lambda way: (
            1.0 + jnp.arange(float(np.prod(way.log_evidence.shape[:-1]))).reshape(way.log_evidence.shape[:-1])
        )
        known["slope"] = lambda way, _: way.slope((moving, jax.tree.map(lambda _: False, way.steps)), counted(way))
    if offers(model, AbstractExpectation):
        known["statistics"] = lambda way, _: way.statistics()
        known["maximised"] = lambda way, _: way.maximised(frozenset())
    return known


CASES = [
    pytest.param(member, way, lead, id=f"{member.name}-{way.__name__}-{lead}", marks=zoo.marks(member))
    for member in zoo.MEMBERS
    for way in all_ways(member.model())[:-1]
    for lead in LEADS
]


@pytest.mark.parametrize("gaps", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("member, way, lead", CASES)
def test_a_way_answers_as_walking_in_order(member: zoo.Member, way: type, lead: str, gaps: bool) -> None:
    rng, shape = np.random.default_rng(0), (*LEADS[lead], TOTAL)
    model = member.model()
    ys, us = zoo.observations(model, rng, *shape), zoo.inputs(model, rng, *shape)
    mask = rng.uniform(size=shape) < 0.8 if gaps and member.gaps else None
    lengths = np.array([TOTAL, 9, 12]) if lead == "batch" else None
    steps, plain = observe(model, ys, us, mask=mask, lengths=lengths).steps, constrain(model)
    schedule = SCHEDULE if SCHEDULE.supports(plain) else Sequential()
    if not way.takes(plain, steps, schedule):
        pytest.skip("it refuses these steps")
    keys = jax.random.split(jax.random.key(1), shape[0]) if lead == "batch" else jax.random.key(1)

    @eqx.filter_jit
    def asked(plain: Any, steps: Any, keys: Any) -> Any:
        walked, truth = {}, {}
        for name, question in questions(plain).items():
            walked[name] = question(way.of(plain, steps, schedule), keys)
            truth[name] = answered(question, [in_order(plain)], Sequential(), (plain, steps, None, (keys,)))
        return walked, truth

    walked, truth = asked(plain, steps, keys)
    for name, (holds, found) in walked.items():
        if holds is not None and not holds:
            assert "banded" in member.name or name not in ("evidence", "beliefs"), f"{name}: these members forget"
            continue
        # Sums in another order, of numbers of size 1 to 30.
        same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8, err_msg=name)
        jax.tree.map(same, handed_out(found), handed_out(truth[name]))


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("member", zoo.dear(lambda member: offers(member.model(), AbstractDecodable)))
def test_best_paths_are_those_in_order(member: zoo.Member, lead: str) -> None:
    model, rng = member.model(), np.random.default_rng(0)
    ys, us = zoo.observations(model, rng, *LEADS[lead], TOTAL), zoo.inputs(model, rng, *LEADS[lead], TOTAL)
    schedule = "side_by_side" if SCHEDULE.supports(constrain(model).best()) else "blocked"
    (path, log_prob), (best, truth) = (ssm.decode(model, ys, us, schedule=each) for each in (schedule, "sequential"))
    np.testing.assert_array_equal(path, best)
    np.testing.assert_allclose(log_prob, truth, rtol=1e-10)
