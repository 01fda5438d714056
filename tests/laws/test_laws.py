"""Laws × members × schedules: what must hold for every member of zoo.py, in float64.

What compiles for long runs on one member of each family, on the others with `pytest --slow` (zoo.CORE).
Property tests draw the parameters, the data, the masks, lengths and starts. Lengths come from a few sizes, so
that programs are compiled once and run often.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
import oracles
import pytest
import zoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zoo import Member

import ssm
from ssm.beliefs import handed_out
from ssm.data import observe
from ssm.parameters import constrain
from ssm.recursions.markov.in_order import QuickChain
from ssm.recursions.markov.viterbi_in_blocks import MaxChain

pytestmark = pytest.mark.usefixtures("float64")

few = settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
whatever = st.data()

LONGEST = 7  # steps; 3**7 paths are enumerated in a blink
# All laws compare two float64 computations of the same numbers, of order one and at most seven steps long:
# 1e-9 is a million roundings of 1e-16, and far below what a wrong index or a forgotten term changes.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@dataclass
class Case:
    """A model, data of its kind and optional arguments."""

    model: Any
    ys: np.ndarray
    us: np.ndarray | None
    mask: np.ndarray
    key: jax.Array

    @property
    def observed(self) -> np.ndarray:
        """One flag per entry of ys."""
        mask = self.mask
        return np.broadcast_to(mask.reshape(mask.shape + (1,) * (self.ys.ndim - mask.ndim)), self.ys.shape)

    @property
    def drawing(self) -> dict[str, jax.Array]:
        """The key, for recursions that draw."""
        return {"key": self.key} if self.model.is_stochastic else {}


def draw_case(data: st.DataObject, member: Member, total: int, *lead: int, components: bool = True) -> Case:
    """A case of `total` steps; whole steps or, if `components`, single components are missing, where any may be."""
    seed = data.draw(st.integers(0, 99), label="seed")
    rng = np.random.default_rng(seed)
    model = member.model(seed)
    ys = zoo.observations(model, rng, *lead, total)
    if not member.gaps:
        seen = np.ones((*lead, total), bool)
        return Case(model, ys, zoo.inputs(model, rng, *lead, total), seen, jax.random.key(seed))
    shape = ys.shape if components and data.draw(st.booleans(), label="components") else (*lead, total)
    mask = data.draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))), label="mask")
    return Case(model, ys, zoo.inputs(model, rng, *lead, total), np.array(mask).reshape(shape), jax.random.key(seed))


def readable(belief: Any) -> Any:
    """Numbers that do not depend on how a belief is stored: a square root has more than one form."""
    return (belief.mean, belief.covariance) if hasattr(belief, "covariance") else handed_out(belief)


def assert_close(actual: Any, expected: Any, **tolerance: float) -> None:
    """Every leaf agrees."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected) > 0
    for a, b in zip(actual, expected, strict=True):
        if jax.numpy.issubdtype(getattr(a, "dtype", float), jax.dtypes.prng_key):
            continue
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), **(CLOSE | tolerance))


def cut(tree: Any, *where: Any) -> Any:
    """Every leaf, indexed."""
    return jax.tree.map(lambda leaf: leaf[where], tree)


def filtered(case: Case, **options: Any) -> Any:
    """The whole answer of ssm.filter, in a form that can be compared."""
    answer = ssm.filter(case.model, case.ys, case.us, **case.drawing, **options)
    return readable(answer.predicted), readable(answer.filtered), answer.log_evidence


DRAWN = {"ParticleFilter", "VRNN"}  # their draws belong to a time in the record, packed or not

# Past `prepare`, where emissions become a table, these are HMM-categorical again: no law of what comes after it
# can tell them apart, and compiling is what these tests cost.
ALIKE = {"HMM-normal-vector", "HMM-multivariate-normal"}

distinct = lambda member: member.name not in ALIKE

SCHEDULED = [
    pytest.param(member, schedule, id=f"{member.name}-{schedule}".replace(" ", ""), marks=zoo.marks(member))
    for member in zoo.MEMBERS
    if member.name not in ALIKE
    for schedule in member.schedules
]


@pytest.mark.parametrize("member, schedule", SCHEDULED)
@given(data=whatever)
@few
def test_1_schedules_agree(member: Member, schedule: Any, data: st.DataObject) -> None:
    total = 4  # composed twice over; each level of composition is compiled on its own
    case = draw_case(data, member, total, components=False)
    starts = np.array(data.draw(st.lists(st.booleans(), min_size=total, max_size=total), label="starts"))
    options = {"mask": case.mask, "starts": starts, **case.drawing}
    verb = ssm.smooth if member.reversible else ssm.filter
    answers = []
    for each in (ssm.schedules.Sequential(), schedule):
        answer = verb(case.model, case.ys, case.us, schedule=each, **options)
        answers.append((readable(answer.smoothed if member.reversible else answer.filtered), answer.log_prob))
    assert_close(answers[1], answers[0])


@pytest.mark.parametrize("member", zoo.dear(lambda member: member.scores))
@given(data=whatever)
@few
def test_2_evidence_is_the_density_that_emit_predicts(member: Member, data: st.DataObject) -> None:
    case = draw_case(data, member, LONGEST)
    steps = observe(case.model, case.ys, case.us).steps
    model = constrain(case.model)

    update, emit = updated_and_emitted(model, steps, ssm.filter(case.model, case.ys, case.us, **case.drawing).predicted)
    assert_close(update, emit)


@eqx.filter_jit
def updated_and_emitted(model: Any, steps: Any, predicted: Any) -> tuple[jax.Array, jax.Array]:
    """log p(y_t | y_<t) by `update` and by `emit`, at every step."""
    known = model.prepare(steps)
    update = jax.vmap(lambda prior, u, y: model.update(prior, u, y)[1])(predicted, known.u, known.y)
    emit = jax.vmap(lambda prior, u, y: model.emit(prior, u).log_prob(y))(predicted, known.u, steps.y)
    return update, emit


@pytest.mark.parametrize("member", zoo.dear(distinct))
@given(data=whatever)
@few
def test_3_a_stream_gives_the_beliefs_of_the_whole(member: Member, data: st.DataObject) -> None:
    case = draw_case(data, member, LONGEST, components=False)
    whole = ssm.filter(case.model, case.ys, case.us, mask=case.mask, **case.drawing)
    state, increments, beliefs = ssm.init(case.model, **case.drawing), [], []
    for t in range(LONGEST):
        y = case.ys[t] if case.mask[t] else None
        state, increment = ssm.step(case.model, state, y, None if case.us is None else case.us[t], **case.drawing)
        increments.append(increment)
        beliefs.append(readable(state.belief))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *beliefs)
    assert_close((np.stack(increments), stacked), (whole.log_evidence, readable(whole.filtered)))


def verbs(member: Member) -> dict[str, Callable]:
    """Every verb that a member supports: answer(case, ys, us, size, options), cut to its first `size` steps."""

    def smooth(case, ys, us, size, options):
        answer = ssm.smooth(case.model, ys, us, **case.drawing, **options)
        return cut(readable(answer.smoothed), slice(size)), answer.log_prob

    def filter(case, ys, us, size, options):
        answer = ssm.filter(case.model, ys, us, **case.drawing, **options)
        beliefs = readable(answer.predicted), readable(answer.filtered), answer.log_evidence
        return cut(beliefs, slice(size)), answer.log_prob

    def forecast(case, ys, us, size, options):
        ahead = None if us is None else case.us[:3]
        answer = ssm.forecast(case.model, ys, 3, us, ahead, key=case.key, num_samples=5, **options)
        return answer.probs if case.model.event_kind == "symbol" else (answer.mean, answer.stddev)

    def expected_statistics(case, ys, us, size, options):
        answer = ssm.expected_statistics(case.model, ys, us, **options)
        return answer.initial, answer.transitions, answer.states[:size]

    def decode(case, ys, us, size, options):
        path, log_prob = ssm.decode(case.model, ys, us, **options)
        return path[:size], log_prob

    def posterior_sample(case, ys, us, size, options):
        return cut(ssm.posterior_sample(case.model, case.key, ys, 4, us, **options), slice(None), slice(size))

    def log_prob(case, ys, us, size, options):
        return ssm.log_prob(case.model, ys, us, **case.drawing, **options)

    known = {"log_prob": log_prob, "filter": filter, "forecast": forecast}
    if member.reversible:
        known |= {"smooth": smooth, "posterior_sample": posterior_sample}
    if member.name in ALIKE:
        return {"log_prob": log_prob, "filter": filter, "expected_statistics": expected_statistics}
    if member.is_markov:
        known |= {"expected_statistics": expected_statistics, "decode": decode}
    return known


def waits(member: Member, verb: str) -> list[pytest.MarkDecorator]:
    """Slow, unless it is the verb that does most, or the member that compiles soonest."""
    always = member.name == "HMM-categorical" or verb == ("smooth" if member.reversible else "filter")
    return [] if always else [pytest.mark.slow]


@pytest.mark.parametrize(
    "member, verb",
    [
        pytest.param(member, verb, id=f"{member.name}-{verb}", marks=zoo.marks(member) or waits(member, verb))
        for member in zoo.MEMBERS
        for verb in verbs(member)
    ],
)
@given(data=whatever)
@few
def test_4_padding_changes_nothing(member: Member, verb: str, data: st.DataObject) -> None:
    case = draw_case(data, member, LONGEST + 2, components=False)
    # Every length of the unpadded run is a program of its own: the one that other laws use, and one for single steps.
    size = data.draw(st.sampled_from([LONGEST, 1] if verb == "log_prob" else [LONGEST]), label="length")
    answer = verbs(member)[verb]
    padded = answer(case, case.ys, case.us, size, {"mask": case.mask, "lengths": size})
    us = None if case.us is None else case.us[:size]
    plain = answer(case, case.ys[:size], us, size, {"mask": case.mask[:size]})
    assert_close(padded, plain)


@pytest.mark.parametrize(
    "member", zoo.dear(lambda member: "in-time" not in member.name and member.name not in DRAWN | ALIKE)
)
@given(data=whatever)
@few
def test_5_packed_is_separate(member: Member, data: st.DataObject) -> None:
    case = draw_case(data, member, LONGEST, components=False)
    split = data.draw(st.integers(1, LONGEST - 1), label="split")
    verb = ssm.smooth if member.reversible else ssm.filter
    read = lambda answer: readable(answer.smoothed if member.reversible else answer.filtered)
    packed = verb(case.model, case.ys, case.us, mask=case.mask, starts=np.arange(LONGEST) == split)
    parts = []
    for size, order in ((split, slice(None)), (LONGEST - split, np.roll(np.arange(LONGEST), -split))):
        us = None if case.us is None else case.us[order]
        parts.append(verb(case.model, case.ys[order], us, mask=case.mask[order], lengths=np.array(size)))
    sizes = (split, LONGEST - split)
    beliefs = [cut(read(part), slice(size)) for part, size in zip(parts, sizes, strict=True)]
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *beliefs)
    assert_close((packed.log_prob, read(packed)), (parts[0].log_prob + parts[1].log_prob, joined))


@pytest.mark.parametrize("member", zoo.dear(distinct))
@given(data=whatever)
@few
def test_6_a_batch_is_a_loop(member: Member, data: st.DataObject) -> None:
    case = draw_case(data, member, LONGEST, 2)
    batch = filtered(case, mask=case.mask)
    for b in range(2):
        one = Case(
            case.model,
            case.ys[b],
            None if case.us is None else case.us[b],
            case.mask[b],
            jax.random.fold_in(case.key, b),
        )
        assert_close(cut(batch, b), filtered(one, mask=one.mask))


@pytest.mark.parametrize("member", zoo.dear(distinct))
def test_6_jax_vmap_is_a_batch(member: Member) -> None:
    model, rng = member.model(), np.random.default_rng(0)
    ys, us = zoo.observations(model, rng, 2, 4), zoo.inputs(model, rng, 2, 4)
    keys = jax.vmap(lambda b: jax.random.fold_in(jax.random.key(0), b))(np.arange(2))
    drawing = model.is_stochastic
    one = lambda ys, us, key: ssm.log_prob(model, ys, us, key=key if drawing else None)
    batch = ssm.log_prob(model, ys, us, key=jax.random.key(0) if drawing else None)
    assert_close(jax.vmap(one)(ys, us, keys), batch)


@pytest.mark.parametrize("member", zoo.dear(lambda member: member.is_markov, also={"HMM-banded"}))
@given(data=whatever)
@few
def test_8_enumerating_all_paths(member: Member, data: st.DataObject) -> None:
    case = draw_case(data, member, LONGEST)
    model, options = case.model, {"mask": case.mask}
    table = member.table(model.emission, case.ys, case.observed)
    truth = oracles.enumerate_paths(np.asarray(model.initial), np.asarray(model.transition), table)
    answer = ssm.filter(model, case.ys, **options)
    statistics = ssm.expected_statistics(model, case.ys, **options)
    path, path_log_prob = ssm.decode(model, case.ys, **options)
    assert_close(
        (answer.predicted.probs, answer.filtered.probs, answer.log_evidence, answer.log_prob),
        (truth.predicted, truth.filtered, truth.log_evidence, truth.log_evidence.sum()),
    )
    assert_close(ssm.smooth(model, case.ys, **options).smoothed.probs, truth.smoothed)
    assert_close(
        (statistics.initial, statistics.transitions, statistics.states),
        (truth.smoothed[0], truth.transitions, truth.smoothed),
    )
    assert_close(path_log_prob, truth.path_log_prob)
    if case.mask.all():  # elsewhere two paths may be equally good
        np.testing.assert_array_equal(path, truth.path)


@pytest.mark.parametrize(
    "member",
    zoo.dear(
        lambda member: member.is_gaussian and member.name != "LinearGaussian-plain", also={"LinearGaussian-in-time"}
    ),
)
@given(data=whatever)
@few
def test_8_conditioning_the_joint_gaussian(member: Member, data: st.DataObject) -> None:
    case = draw_case(data, member, LONGEST)
    system = jax.tree.map(np.asarray, oracles.system_of(case.model, case.us, LONGEST))
    truth = oracles.condition_joint(system, case.ys, case.observed)
    answer = ssm.filter(case.model, case.ys, case.us, mask=case.mask)
    smoothed = ssm.smooth(case.model, case.ys, case.us, mask=case.mask)
    assert_close(
        (readable(answer.predicted), readable(answer.filtered), answer.log_evidence, readable(smoothed.smoothed)),
        (truth.predicted, truth.filtered, truth.log_evidence, truth.smoothed),
        atol=1e-8,  # the oracle inverts the whole joint covariance, of condition up to 1e6
    )


@pytest.mark.parametrize("member", zoo.dear(lambda member: member.reversible and distinct(member)))
@given(data=whatever)
@few
def test_10_the_last_smoothed_belief_is_the_filtered_one(member: Member, data: st.DataObject) -> None:
    case = draw_case(data, member, LONGEST, components=False)
    smoothed = ssm.smooth(case.model, case.ys, case.us, mask=case.mask, **case.drawing)
    last = ssm.filter(case.model, case.ys, case.us, mask=case.mask, **case.drawing)
    assert_close(cut(readable(smoothed.smoothed), -1), cut(readable(last.filtered), -1))
    assert_close(smoothed.log_prob, last.log_prob)


@pytest.mark.parametrize("member", zoo.dear(lambda member: member.draws))
def test_11_draws_repeat_and_do_not_depend_on_the_length(member: Member) -> None:
    model, key = member.model(), jax.random.key(3)
    us = zoo.inputs(model, np.random.default_rng(0), LONGEST)
    longer = ssm.simulate(model, key, LONGEST, us)
    shorter = ssm.simulate(model, key, 4, None if us is None else us[:4])
    assert_close(cut(longer, slice(4)), shorter, rtol=0, atol=0)
    assert_close(ssm.simulate(model, key, LONGEST, us), longer, rtol=0, atol=0)
    other = ssm.simulate(model, jax.random.key(4), LONGEST, us)
    assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(longer), strict=True))


@pytest.mark.parametrize("member", zoo.dear(distinct))
def test_11_nothing_looks_ahead(member: Member) -> None:
    model, rng = member.model(), np.random.default_rng(0)
    ys, us = zoo.observations(model, rng, LONGEST), zoo.inputs(model, rng, LONGEST)
    changed = ys.copy()
    changed[4:] = zoo.observations(model, rng, LONGEST - 4)
    key = jax.random.key(0) if model.is_stochastic else None
    before, after = (ssm.filter(model, values, us, key=key) for values in (ys, changed))
    assert_close(cut(readable(after.filtered), slice(4)), cut(readable(before.filtered), slice(4)), rtol=0, atol=0)
    assert_close(cut(readable(after.predicted), slice(5)), cut(readable(before.predicted), slice(5)), rtol=0, atol=0)


@pytest.mark.parametrize(
    "member, verb",
    [
        pytest.param(member, verb, id=f"{member.name}-{verb}", marks=waits(member, verb))
        for member in zoo.MEMBERS
        if member.name in {"HMM-categorical", "LinearGaussian-inputs", "RNN-categorical", "ParticleFilter"}
        for verb in verbs(member)
    ],
)
def test_13_one_trace_per_verb(member: Member, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    total, traces, first = 11, [], 0  # a length that no other test uses: nothing is compiled yet
    model, other, rng = member.model(0), member.model(1), np.random.default_rng(0)

    def count(family: type, method: str) -> None:
        original = getattr(family, method)

        def counting(self, *arguments, **options):
            traces.append(verb)
            return original(self, *arguments, **options)

        monkeypatch.setattr(family, method, counting)

    count(type(model), "prepare")
    count(QuickChain, "init")  # which prepares without the model
    count(MaxChain, "best")  # and this one, too
    us = zoo.inputs(model, rng, total)
    for each in (model, model, other):
        case = Case(each, zoo.observations(model, rng, total), us, np.ones(total, bool), jax.random.key(len(traces)))
        verbs(member)[verb](case, case.ys, case.us, total, {})
        first = first or len(traces)  # all run while a program is traced, and only then
        assert len(traces) == first > 0


@pytest.mark.parametrize("member", zoo.dear())
def test_14_misuse_names_the_schedules_that_would_do(member: Member) -> None:
    model = member.model()
    rng = np.random.default_rng(0)
    ys, us = zoo.observations(model, rng, 3), zoo.inputs(model, rng, 3)
    supported = ["sequential", *dict.fromkeys(named(schedule) for schedule in member.schedules)]
    unsupported = {"associative", "blocked", "fixed_point"} - set(supported)
    assert unsupported
    for name in unsupported:
        with pytest.raises(TypeError, match=f"does not support .*; it supports {', '.join(supported)}"):
            ssm.log_prob(model, ys, us, schedule=name, key=jax.random.key(0))


def named(schedule: Any) -> str:
    """The public name of a schedule's class."""
    return {"FixedPoint": "fixed_point"}.get(type(schedule).__name__, type(schedule).__name__.lower())
