"""In how many directions the numbers of a part move what it says, for almost all values of those that are free."""

from typing import Any

import numpy as np

from ssm.shapes import Bool, Float

# Values of the free numbers at which ranks are found: any that are not special.
SEED = 0


def shared_levels(free: Bool[np.ndarray, "..."], possible: Any = True, axis: int = -1) -> int:
    """Redundant logits where a constant added along `axis` has no effect: one wherever all possible ones are free."""
    possible = np.broadcast_to(np.asarray(possible), free.shape)
    return int((np.where(possible, free, True).all(axis=axis) & possible.any(axis=axis)).sum())


def shared_constants(free: list[Bool[np.ndarray, "_ *event"]]) -> int:
    """Redundant numbers where tables add up: constants move between those whose numbers are all free."""
    whole = np.sum([each.all(axis=0) for each in free], axis=0)
    return int(np.maximum(whole - 1, 0).sum())


def rank_of_factors(
    factors: Float[np.ndarray, "N R"], free: Bool[np.ndarray, "N R"], free_scale: Bool[np.ndarray, "N"]
) -> int:
    """The rank of what moves Λ Λᵀ + diag(scale²).

    With all numbers free N R + N less the rotations, R (R - 1) / 2, and at most N (N + 1) / 2 (Drton, Sturmfels &
    Sullivant 2007, theorem 2); with some held, that of the derivatives.
    """
    size, width = factors.shape
    most = size * (size + 1) // 2
    if free.all() and free_scale.all():
        width = min(width, size)
        return min(size * width + size - width * (width - 1) // 2, most)
    drawn = np.where(free, np.random.default_rng(SEED).normal(size=factors.shape), factors)
    rows, columns = np.triu_indices(size)
    moves = [np.zeros((0, len(rows)))]
    for n, r in np.argwhere(free):
        change = np.zeros((size, size))
        change[n] += drawn[:, r]
        change[:, n] += drawn[:, r]
        moves.append(change[rows, columns][None])
    moves.extend(((rows == n) & (columns == n)).astype(float)[None] for n in np.flatnonzero(free_scale))
    return int(np.linalg.matrix_rank(np.concatenate(moves)))


def rank_of_product(
    leave: Float[np.ndarray, "K R"],
    enter: Float[np.ndarray, "R K"],
    free_leave: Bool[np.ndarray, "K R"],
    free_enter: Bool[np.ndarray, "R K"],
) -> int:
    """The rank of what moves leave @ enter, rows that sum to one, by logits of which the likeliest are held.

    With all outcomes possible and free: matrices of rank R whose rows sum to one, the classes in any basis. With hard
    zeros or numbers held, that of the derivatives.
    """
    size, width = leave.shape
    if free_leave.sum() == size * (width - 1) and free_enter.sum() == width * (size - 1):
        width = min(width, size)
        return 2 * size * width - size - width - width * (width - 1)
    rng = np.random.default_rng(SEED)
    leave, enter = (_drawn(rng, *each) for each in ((leave, free_leave), (enter, free_enter)))
    moves = [np.zeros((0, size * size))]
    for i, r in np.argwhere(free_leave):
        change = np.zeros((size, size))
        change[i] = leave[i, r] * (enter[r] - leave[i] @ enter)
        moves.append(change.reshape(1, -1))
    for r, j in np.argwhere(free_enter):
        change = np.outer(leave[:, r], enter[r, j] * ((np.arange(size) == j) - enter[r]))
        moves.append(change.reshape(1, -1))
    return int(np.linalg.matrix_rank(np.concatenate(moves)))


def _drawn(rng: np.random.Generator, probs: Float[np.ndarray, "M C"], free: Bool[np.ndarray, "M C"]) -> np.ndarray:
    """Rows with other odds of the outcomes that are free against the likeliest one."""
    odds = np.where(free, np.exp(rng.normal(size=probs.shape)), probs / probs.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
