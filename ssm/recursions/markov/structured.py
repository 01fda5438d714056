"""Hidden Markov models whose states have parts: a mode and a duration, or one state for each of several chains."""

from collections.abc import Sequence
from typing import Literal

from ssm.durations.base import AbstractDurations
from ssm.emissions.combined.tied import Tied
from ssm.emissions.common.base import AbstractEmission
from ssm.recursions.markov.hmm import HMM
from ssm.shapes import Array
from ssm.transitions.base import AbstractTransition
from ssm.transitions.durations import Durations
from ssm.transitions.factorial import Factorial


def HSMM(
    initial: Array | Literal["stationary"], transition: Array, durations: AbstractDurations, emission: AbstractEmission
) -> HMM:
    """A hidden semi-Markov model: modes that last as long as `durations` says, then jump by `transition`.

    Shapes: `initial` (M,), `transition` (M, M), `durations` a family of `ssm.durations` of M modes over 1 .. D,
    `emission` a family of `ssm.emissions` of M states. A sequence begins with a segment, or, where `initial` is
    "stationary", in the middle of one; its last segment may go on after its end.

    It is an `ssm.HMM` over the M D states (mode, steps left) with `ssm.transitions.Durations`, so all verbs work;
    `model.dynamics` reads their answers: `modes(probs)`, `mode(path)`, `remaining(path)`, `segments(path)`. A step
    costs O(M D + M²). Parameters to freeze are called transition.initial, transition.transition,
    transition.durations and emission. Source: Yu 2010.
    """
    if not isinstance(durations, AbstractDurations):
        raise TypeError(f"durations: expected a family of ssm.durations, got {type(durations).__name__}")
    tied = Tied(emission, durations.max_duration)
    if (modes := durations.probs.shape[0]) != emission.num_states:
        raise ValueError(f"durations: the emission has M = {emission.num_states} states, got those of {modes} modes")
    if isinstance(initial, str):
        return HMM(initial, Durations(transition, durations), tied)
    return HMM(None, Durations(transition, durations, initial), tied)


def FactorialHMM(
    initials: Sequence[Array], transitions: Sequence[Array | AbstractTransition], emission: AbstractEmission
) -> HMM:
    """Several independent chains that together make one series (Ghahramani & Jordan 1997), without approximation.

    Shapes: `initials` one (K_m,) for each chain; `transitions` one (K_m, K_m), or an `ssm.transitions` object, for
    each; `emission` a family over the K = K_1 .. K_M joint states, the last chain's state running fastest, such as
    `ssm.emissions.AdditiveNormal`. It is an `ssm.HMM` with `ssm.transitions.Factorial`: a step costs
    O(K (K_1 + .. + K_M)), not O(K²). `model.dynamics` reads answers: `marginals(probs)`, `chains(path)`.
    """
    return HMM(None, Factorial(transitions, initials), emission)
