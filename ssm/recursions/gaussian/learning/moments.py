"""What a linear-Gaussian model learns from: three regressions, of the first state, of the next state, of what is seen.

The E-step is the gradient of the evidence (`adjoint/recursion.py`), with the second moments of the smoothed states.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp

from ssm.numeric.linalg import add_up, multiply
from ssm.numeric.trees import select, times
from ssm.recursions.gaussian.adjoint import recursion as adjoint
from ssm.recursions.gaussian.adjoint.recursion import Sensitivities
from ssm.recursions.gaussian.regression.regression import Regression
from ssm.shapes import Array, Flag, Float
from ssm.steps import Step


class Moments(NamedTuple):
    """Expected sufficient statistics of a linear-Gaussian model: sums over time of fixed size.

    `initial`: x_1 on 1. `transition`: x_t on (x_{t-1}, u_t, 1), over all t that a state moved into. `emission`: y_t on
    (x_t, u_t, 1), over all t when something was observed, with what is missing of such y_t integrated out. Of the
    regressors those are there whose coefficients the model has, constant in time; None where the covariance of the
    noise varies in time.
    """

    initial: Regression
    transition: Regression | None
    emission: Regression | None


class States(NamedTuple):
    """Smoothed states at M times, and how much each time counts."""

    before: Float[Array, "M D"]  # mean one time earlier
    now: Float[Array, "M D"]
    moved: Float[Array, "M"]  # where the state moved on
    seen: Float[Array, "M"]  # where something was observed
    covariance_before: Float[Array, "D D"]  # summed, weighed by `moved`
    covariance_now: Float[Array, "D D"]  # summed, weighed by `seen`
    begun: Float[Array, ""]  # how many sequences began
    first: "First | None"  # of those; None where the slopes of the evidence say it


class First(NamedTuple):
    """Smoothed first states, less the mean that they were expected to have: their sum, and that of their squares."""

    residual: Float[Array, "D"]
    squares: Float[Array, "D D"]
    by_slopes: Flag  # whether the slopes of the evidence say the same, to rounding

    @classmethod
    def of(
        cls, residual: Float[Array, "B D"], covariance: Float[Array, "*B D D"], often: Float[Array, "B"], exact: Array
    ) -> "First":
        """Of B of them, counted as often as it says, with one covariance or B."""
        weighed = often[:, None] * residual
        spread = jnp.broadcast_to(covariance, (len(often), *covariance.shape[-2:]))
        squares = multiply(weighed.T, residual) + add_up(times(spread, often))
        return cls(jnp.sum(weighed, axis=0), squares, jnp.all(exact | (often == 0)))


def states(
    steps: Step, size: int, mean: Float[Array, "T D"], covariance: Float[Array, "T D D"], initial: Any, exact: Any
) -> States:
    """Those of one sequence, from smoothed means and covariances.

    `initial`: the mean expected of the first, or None for what the slopes of the evidence know, as where they are
    `exact` (T,).
    """
    begun, moved, read = adjoint.happened(steps, size)
    seen = jnp.any(read, axis=1)
    weigh = lambda flags, array: add_up(jnp.where(flags[:, None, None], array, 0))
    return States(
        adjoint.before(mean),
        mean,
        moved.astype(mean.dtype),
        seen.astype(mean.dtype),
        weigh(moved, adjoint.before(covariance)),
        weigh(seen, covariance),
        jnp.sum(begun).astype(mean.dtype),
        None if initial is None else First.of(mean - initial, covariance, begun.astype(mean.dtype), exact),
    )


class Part(NamedTuple):
    """One regression of a model: what is constant in time of its coefficients, and the root of its noise."""

    blocks: dict[str, Float[Array, "N J"]]  # by name; a bias is one column
    root: Float[Array, "N N"]

    @property
    def coefficients(self) -> Float[Array, "N J"]:
        """The blocks beside each other."""
        return _beside(self.blocks.values(), self.root)


def _beside(columns: Iterable[Array], like: Float[Array, "M K"]) -> Float[Array, "M J"]:
    """All columns, of which there may be none."""
    return jnp.concatenate([like[:, :0], *columns], axis=1)


def parts(model: Any) -> dict[str, Part]:
    """The regressions of a model by name, without those whose noise varies in time."""
    found = {"initial": Part({"initial_mean": model.initial_mean[:, None]}, model.initial_root)}
    for part in ("transition", "emission"):
        root = getattr(model, f"_{part}_covariance").lower
        names = (f"{part}_matrix", 2), (f"{part}_input", 2), (f"{part}_bias", 1)
        arrays = {name: (getattr(model, name), rank) for name, rank in names}
        constant = {name: array for name, (array, rank) in arrays.items() if array is not None and array.ndim == rank}
        if root.ndim == 2:
            found[part] = Part({name: a if a.ndim == 2 else a[:, None] for name, a in constant.items()}, root)
    return found


def moments(model: Any, us: Float[Array, "M U"] | None, slopes: Sensitivities, states: States) -> Moments:
    """The three regressions, from the slopes of the evidence and the smoothed states of M times with inputs `us`."""
    there, count = parts(model), states.begun
    first, moved, seen = there["initial"], there.get("transition"), there.get("emission")
    begin = slopes.initial_mean[:, None], slopes.initial_covariance
    move = slopes.transition, slopes.transition_offset, slopes.transition_covariance
    see = slopes.emission, slopes.emission_offset, slopes.emission_covariance
    before, now = (
        (states.before, states.moved, states.covariance_before),
        (states.now, states.seen, states.covariance_now),
    )
    return Moments(
        _first(first, states, Regression.of(count, count[None, None], first.coefficients, first.root, *begin)),
        moved and _regression(moved, us, move, before),
        seen and _regression(seen, us, see, now),
    )


def _first(part: Part, states: States, by_slopes: Regression) -> Regression:
    """That of the first states: their slopes are all rounding where data know far more of them than was expected."""
    first = states.first
    if first is None:
        return by_slopes
    seen = Regression.seen(states.begun, part.coefficients, part.root, first.residual[:, None], first.squares)
    return select(first.by_slopes, by_slopes, seen)


def _regression(
    part: Part,
    us: Any,
    slopes: tuple[Float[Array, "*M N D"], Float[Array, "M N"], Float[Array, "N N"]],
    states: tuple[Float[Array, "M D"], Float[Array, "M"], Float[Array, "D D"]],
) -> Regression:
    """From the slopes in matrix, offset and noise, and (mean, weight, Σ covariance) of the states that it acts on."""
    (in_matrix, in_offset, in_noise), (mean, weight, covariance) = slopes, states

    def term(name: str) -> tuple[Float[Array, "M J"], Float[Array, "N J"]]:
        """What a block of the coefficients acts on, and the slope in it."""
        if name.endswith("matrix"):
            return mean, in_matrix
        if name.endswith("input"):
            return us, multiply(in_offset.T, us)
        return jnp.ones_like(mean[:, :1]), add_up(in_offset)[:, None]

    terms = [term(name) for name in part.blocks]
    rows = _beside((acted for acted, _ in terms), mean)
    products = multiply((weight[:, None] * rows).T, rows)
    if any(name.endswith("matrix") for name in part.blocks):  # the first of the blocks
        products = products + jnp.pad(covariance, (0, rows.shape[1] - len(covariance)))
    slope = _beside((slope for _, slope in terms), part.root)
    return Regression.of(jnp.sum(weight), products, part.coefficients, part.root, slope, in_noise)


def total(statistics: Moments, counted: Float[Array, "B"] | None = None) -> Moments:
    """Those of sequences (B, ...) together, each as often as `counted` says."""
    return _each(lambda sums, name: sums.total(counted), statistics)


def around(model: Any, statistics: Moments) -> Moments:
    """The same sums, known to be around the prediction of `model`."""
    there = parts(model)
    return _each(lambda sums, name: sums.at(there[name].coefficients, there[name].root), statistics)


def _each(function: Callable[[Regression, str], Regression], statistics: Moments) -> Moments:
    initial, *others = (sums and function(sums, name) for name, sums in statistics._asdict().items())
    return Moments(initial, *others)
