"""Over sizes, lengths and batches: where are hidden Markov models ahead of other libraries, and where not?"""

import itertools
import sys
import time
import warnings
from typing import Any

import jax
import numpy as np

from benchmarks import hmm_peers
from benchmarks.hmm_peers import VERBS, Call, Problem
from benchmarks.timing import finished, microseconds, ratio, seconds, table, versions

SIZES, LENGTHS, BATCHES = (2, 5, 20, 64, 256), (1_000, 100_000), ((1, False), (100, False), (100, True))
# Multiplications T B K² of a forward pass beyond which a cell, or a peer in it, is left out.
WORK = {"cell": 5e8, "dynamax": 5e8, "hmmlearn": 5e8, "hmmlearn log": 5e7}
CUBED = 5e8  # T B K³, for cuthbert, which also keeps T B K² numbers
PATIENCE = 0.7  # seconds of repeats for each pair
# Agreement relative to the largest entry. A gradient is a sum of T B float32 terms that partly cancel: near a maximum
# what is left of ten million of them is a few hundred, and rounding of each library's own a few.
ROUNDING = 1e-6  # of each term
# Scores added up step by step in float32 drift by an epsilon of themselves times √T, and so do paths chosen by them.
DRIFT = float(np.finfo(np.float32).eps)
TOLERANCE = {"evidence": 1e-5, "smooth": 2e-3, "gradient": 5e-3, "EM": 2e-3, "Viterbi": 1e-5}


def main(quick: bool = False) -> str:
    """Every verb, in float32, symbols in and results out; hmmlearn in float64. About ten minutes; `quick`: one."""
    warnings.filterwarnings("ignore")
    grid = list(itertools.product(SIZES, LENGTHS, BATCHES))
    if quick:
        grid = [cell for cell in grid if cell[0] in (2, 20) and cell[1] == LENGTHS[0]]
    rows, behind, skipped = {verb: [] for verb in VERBS}, [], []
    for size, length, (count, ragged) in grid:
        name = f"K = {size}, T = {length}, B = {count}{', ragged' if ragged else ''}"
        if length * count * size**2 > WORK["cell"]:
            skipped.append(name)
            continue
        print(name, file=sys.stderr)
        for verb, entries, slower in cell(hmm_peers.draw(size, length, count, ragged)):
            rows[verb].append([name, *entries])
            behind += [[verb, name, *each] for each in slower]
        jax.clear_caches()
    return "\n".join([*(_table(verb, rows[verb]) for verb in VERBS), _behind(behind, rows), _skipped(skipped)])


def cell(problem: Problem) -> Any:
    """For each verb, what its row holds, and the peers that are faster."""
    ours, peers = hmm_peers.onescan(problem), _peers(problem)
    for verb in VERBS:
        run = ours[verb]
        first, result = _first(run)
        truth, entries, slower, warms, peer_first = run.read(result), [], [], [], "–"
        del result
        for peer, calls in peers.items():
            if verb not in calls:
                entries.append("–")
                continue
            once, result = _first(calls[verb])
            rounding = {
                "gradient": ROUNDING * problem.symbols.size,
                "Viterbi": DRIFT * np.sqrt(problem.symbols.shape[-1]) * np.max(np.abs(truth)),
            }
            flaw = _flaw(np.asarray(calls[verb].read(result)), np.asarray(truth), rounding.get(verb, 0.0), verb, peer)
            del result
            warm, theirs = _in_turn(run, calls[verb])
            warms.append(warm)
            entries.append(f"{microseconds(theirs)}, {ratio(theirs, warm)}{flaw}")
            if theirs < warm:
                slower.append([peer, microseconds(warm), microseconds(theirs), ratio(theirs, warm)])
            peer_first = f"{once:.2f} s" if peer == "dynamax" else peer_first
        yield verb, [microseconds(float(np.median(warms))), *entries, f"{first:.2f} s", peer_first], slower


def _peers(problem: Problem) -> dict[str, dict[str, Call]]:
    """All columns; a peer that is left out has no calls."""
    peers = {
        "dynamax": lambda: hmm_peers.dynamax(problem),
        "hmmlearn": lambda: hmm_peers.hmmlearn(problem, "scaling"),
        "hmmlearn log": lambda: hmm_peers.hmmlearn(problem, "log"),
    }
    calls = {name: make() if problem.work <= WORK[name] else {} for name, make in peers.items()}
    cubed = problem.work * len(problem.initial)
    return calls | {"cuthbert": hmm_peers.cuthbert(problem) if cubed <= CUBED else {}}


def _first(call: Call) -> tuple[float, Any]:
    began = time.perf_counter()
    result = finished(call.run)
    return time.perf_counter() - began, result


def _in_turn(ours: Call, theirs: Call) -> tuple[float, float]:
    """Medians of two to sixty calls each, taken alternately."""
    pairs = [(seconds(ours.run), seconds(theirs.run))]
    repeats = int(np.clip(PATIENCE / sum(pairs[0]), 1, 59))
    pairs += [(seconds(ours.run), seconds(theirs.run)) for _ in range(repeats)]
    return tuple(np.median(pairs, axis=0))


def _flaw(theirs: np.ndarray, ours: np.ndarray, rounding: float, verb: str, peer: str) -> str:
    """Results must agree; what of the peer's is NaN, where ours is a number, is written beside its time."""
    lost = np.isnan(theirs) & ~np.isnan(ours)
    tolerance = max(TOLERANCE[verb] * np.max(np.abs(ours)), rounding)
    np.testing.assert_allclose(theirs[~lost], ours[~lost], rtol=0, atol=tolerance, err_msg=f"{verb}, {peer}")
    return " (NaN)" if lost.any() else ""


def _table(verb: str, rows: list[list[str]]) -> str:
    title = {"gradient": "Value and gradient", "EM": "One EM iteration"}.get(verb, verb.capitalize())
    header = ["", "onescan", "dynamax", "hmmlearn (scaling)", "hmmlearn (log)", "cuthbert", "cold", "dynamax, cold"]
    used = versions("dynamax", "hmmlearn", "cuthbert")
    return table(f"{title}: time, and how many times faster onescan is ({used})", header, rows)


def _behind(behind: list[list[str]], rows: dict[str, list[list[str]]]) -> str:
    pairs = sum("×" in entry for verb in rows for row in rows[verb] for entry in row)
    if not behind:
        return f"Ahead in all of {pairs} comparisons.\n"
    header = ["verb", "", "peer", "onescan", "peer's", "ratio"]
    return table(f"Not ahead: {len(behind)} of {pairs} comparisons", header, behind)


def _skipped(names: list[str]) -> str:
    note = (
        "An empty entry (–): the peer has no such verb there, or its work is beyond the budget. (NaN): some of the "
        "peer's numbers are, where onescan's are numbers that the other peers agree with."
    )
    if not names:
        return f"{note}\n"
    return f"Left out, T B K² above {WORK['cell']:.0e}: {'; '.join(names)}. {note}\n"
