"""Which way is taken through some steps, and what becomes of an answer that does not hold: the one place that asks."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax

from ssm.numeric import trial
from ssm.numeric.missing import choose, somewhere
from ssm.passes.base import AbstractWay, Answer
from ssm.passes.in_order import InOrder
from ssm.recursion import AbstractScan
from ssm.schedules import AbstractSchedule, Sequential, SideBySide
from ssm.shapes import Keys, PyTree
from ssm.steps import Step

Function = TypeVar("Function", bound=Callable[..., Any])
Way = type[AbstractWay]


def ask(
    question: Callable[..., Answer],
    model: AbstractScan,
    steps: Step,
    schedule: AbstractSchedule,
    key: Keys | None = None,
    *others: PyTree,
) -> Any:
    """What `question(way, *others)` finds of steps (T,) or (B, T) as observed, for a constrained model.

    The ways that are there agree on it, wherever each of them holds. `key` (B,) and `others` (B, ...) for a batch.
    """
    return answered(question, ways(model, steps, schedule), schedule, (model, steps, key, others))


def ways(model: AbstractScan, steps: Step, schedule: AbstractSchedule) -> list[Way]:
    """Those that walk these steps, best first; the last one always holds."""
    return [way for way in all_ways(model) if way.takes(model, steps, schedule)]


def all_ways(model: AbstractScan) -> Sequence[Way]:
    """Those of a member, the last of them in order: the scan, unless it says another."""
    known = model.ways()
    return known if known and issubclass(known[-1], InOrder) else (*known, InOrder)


def in_order(model: AbstractScan) -> type[InOrder]:
    """The last of them."""
    last = all_ways(model)[-1]
    assert issubclass(last, InOrder)  # by `all_ways`
    return last


def answered(
    question: Callable[..., Answer], ways: list[Way], schedule: AbstractSchedule, operands: tuple[Any, ...]
) -> Any:
    """The answer of the first way that holds."""
    way, *behind = ways[trial.turn(ways) :] if trial.on_trial() else ways

    def first(model: Any, steps: Step, key: Keys | None, others: tuple) -> Answer:
        return question(way.of(model, steps, schedule, key), *others)

    safe = functools.partial(_behind, question, behind, schedule) if behind else None
    return either(first, safe, operands, way.differentiable)


def _behind(question: Callable, ways: list[Way], schedule: AbstractSchedule, *operands: Any) -> Any:
    return answered(question, ways, schedule, operands)


def either(
    first: Callable[..., Answer], safe: Callable[..., PyTree] | None, operands: tuple[Any, ...], differentiable: bool
) -> Any:
    """What `first(*operands)` found if it says that this holds, else what `safe(*operands)` finds.

    If the first is not `differentiable`, derivatives are those of `safe`.
    """
    if safe is None:
        return first(*operands).found
    if trial.on_trial():
        holds, found = first(*operands)
        if holds is not None:
            trial.claim(holds)
        return found
    return _chosen(first, safe, operands) if differentiable else _fast(first, safe, operands)


def _chosen(first: Callable[..., Answer], safe: Callable[..., PyTree], operands: tuple[Any, ...]) -> Any:
    holds, found = first(*operands)
    if holds is None:
        return found
    # What only the safe way needs is computed inside the choice. Under `vmap` all take the one that holds for all.
    return jax.lax.cond(somewhere(~holds), lambda: safe(*operands), lambda: found)


@eqx.filter_custom_jvp
def _fast(first: Callable[..., Answer], safe: Callable[..., PyTree], operands: tuple[Any, ...]) -> Any:
    return _chosen(first, safe, operands)


@_fast.def_jvp
def _fast_jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    _, safe, operands = primals
    return _fast(*primals), eqx.filter_jvp(lambda operands: safe(*operands), (operands,), (tangents[2],))[1]


def where_missing(function: Function) -> Function:
    """A verb inside `jit`, of (model, sequences, ...): where flags are dear and only a precaution, without them.

    They are then looked at when the program runs, and cost nothing where all is there. What is missing is walked in
    order: blocks of it would be compiled for all who call without. (`mask=` asks for them.)
    """

    @functools.wraps(function)
    def call(model: Any, sequences: Any, *others: Any) -> Any:
        steps = sequences.steps
        dear = any(way.wants_no_flags for way in all_ways(model))
        if steps.observed is None or not sequences.unsure or not dear:
            return function(model, sequences, *others)
        flagged = dataclasses.replace(sequences, unsure=False)
        without = dataclasses.replace(flagged, steps=dataclasses.replace(steps, observed=None))
        in_turn = [Sequential() if isinstance(other, SideBySide) else other for other in others]
        with_flags, bare = lambda: function(model, flagged, *in_turn), lambda: function(model, without, *others)
        return choose(~steps.observed, with_flags, bare)

    return call  # pyright: ignore[reportReturnType]
