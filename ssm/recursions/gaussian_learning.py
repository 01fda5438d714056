"""What a linear-Gaussian model learns from: three regressions, of the first state, of the next state, of what is seen.

The E-step is the gradient of the evidence (`ssm.recursions.costate`), with the second moments of the smoothed states;
the M-step is least squares (Shumway & Stoffer 1982; Ghahramani & Hinton 1996).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.emissions.scatter import moments_of
from ssm.freezing import held_part, is_held
from ssm.linalg import add_up, multiply
from ssm.logspace import ratio
from ssm.parameters import numbered
from ssm.recursions import costate
from ssm.recursions.costate import Sensitivities
from ssm.recursions.regression import Regression
from ssm.roots import empty_pivots
from ssm.shapes import Array, Bool, Float, Int, Key, Scalar
from ssm.stability import Stable, is_stable
from ssm.steps import Step, flatten_steps, seen_steps
from ssm.tying import Tied


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


def states(steps: Step, size: int, mean: Float[Array, "T D"], covariance: Float[Array, "T D D"]) -> States:
    """Those of one sequence, from smoothed means and covariances."""
    begun, moved, read = costate.happened(steps, size)
    seen = jnp.any(read, axis=1)
    weigh = lambda flags, array: add_up(jnp.where(flags[:, None, None], array, 0))
    return States(
        costate.before(mean),
        mean,
        moved.astype(mean.dtype),
        seen.astype(mean.dtype),
        weigh(moved, costate.before(covariance)),
        weigh(seen, covariance),
        jnp.sum(begun).astype(mean.dtype),
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
        Regression.of(count, count[None, None], first.coefficients, first.root, *begin),
        moved and _regression(moved, us, move, before),
        seen and _regression(seen, us, see, now),
    )


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


def expected_log_prob(model: Any, statistics: Moments) -> Scalar:
    """Q: the expected complete-data log-likelihood."""
    if model.num_steps is not None:
        raise TypeError(
            "Q: the statistics of a LinearGaussian are sums over time, which say nothing of parameters that vary in "
            "time; its log_prob, and the gradient of that, do"
        )
    each = [getattr(statistics, name).log_prob(part.coefficients, part.root) for name, part in parts(model).items()]
    return jnp.sum(jnp.stack(each))


def log_prior(model: Any) -> Scalar:
    """That of all regressions that have a prior."""
    each = [
        beforehand.log_prob(part.coefficients, part.root)
        for name, part in parts(model).items()
        if (beforehand := _beforehand(model, name, part.coefficients.shape[1])) is not None
    ]
    return jnp.sum(jnp.stack(each)) if each else jnp.zeros(())


def _beforehand(model: Any, name: str, num_columns: int) -> Regression | None:
    """The observations that the prior of a regression stands for."""
    prior = getattr(model, f"{name}_prior")
    return prior and prior.moments(getattr(model, f"_{name}_covariance"), num_columns)


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


def maximise(model: Any, statistics: Moments, frozen: frozenset[str]) -> Any:
    """The model with every parameter that is constant in time, and not frozen, where it maximises Q."""
    found = {}
    for name, part in parts(model).items():
        widths = [block.shape[1] for block in part.blocks.values()]
        free, numbers = _entries(model, part, frozen)
        covariance = getattr(model, f"_{name}_covariance")
        sums = getattr(statistics, name).total()
        beforehand = _beforehand(model, name, free.shape[1])
        sums = sums if beforehand is None else sums.plus(beforehand)
        bound = model.stable and name == "transition"
        inside = (lambda coefficients: is_stable(coefficients[:, : len(coefficients)])) if bound else None
        keep = is_held(covariance, f"{name}_covariance", frozen)
        coefficients, root = sums.maximise(free, keep, inside, numbers)
        ends = np.cumsum(widths)
        for block, end, width in zip(part.blocks, ends, widths, strict=True):
            found[block] = coefficients[:, end - width : end].reshape(getattr(model, block).shape)
        if name == "initial" and model.diffuse is not None:  # what is not read stays as it is
            found["initial_mean"] = jnp.where(model.known, found["initial_mean"], model.initial_mean)
            root = jnp.where(model.known[:, None], root, covariance.lower)
        found[f"_{name}_covariance"] = covariance.fitted(root)
    return _replaced(model, found)


def _entries(model: Any, part: Part, frozen: frozenset[str]) -> tuple[Bool[np.ndarray, "N J"], Int[np.ndarray, "N J"]]:
    """Which entries of the coefficients of a regression are free, and which parameter of it each of them is."""
    shape, count = (len(part.root), 0), 0
    free: list[Any] = [np.zeros(shape, bool)]
    numbers: list[Any] = [np.zeros(shape, int)]
    for name, block in part.blocks.items():
        stored, entries = _stored(model, name), getattr(model, name)
        own = stored.named_entries(stored.numbers) if isinstance(stored, Tied) else numbered(entries)
        free.append(~held_part(name, entries.shape, frozen).reshape(block.shape))
        numbers.append(count + own.reshape(block.shape))
        count += block.size
    return np.concatenate(free, axis=1), np.concatenate(numbers, axis=1)


def _stored(model: Any, name: str) -> Any:
    """A parameter as it is stored."""
    return getattr(model, f"_{name}", getattr(model, name))


def _replaced(model: Any, found: dict[str, Any]) -> Any:
    """The model with these parameters, each in its own form."""
    new: dict[str, Any] = {}
    for name, best in found.items():
        stored = _stored(model, name)
        if name == "transition_matrix" and model.stable:
            best = Stable.of(best)
        elif isinstance(stored, Tied):
            best = stored.fitted(best)
        new[f"_{name}" if hasattr(model, f"_{name}") else name] = best
    return eqx.tree_at(lambda model: [getattr(model, name) for name in new], model, list(new.values()))


def restart(model: Any, key: Key, steps: Step) -> Any:
    """A random stable model that explains the spread of the data: half by states of unit variance, half by noise.

    What varies in time stays as it is, and so do singular covariances.
    """
    flat = flatten_steps(steps, model.event_shape)
    seen = jnp.broadcast_to(seen_steps(flat)[:, None], flat.y.shape)
    if flat.observed is not None:
        seen = seen & flat.observed.reshape(len(seen), -1)
    sums = moments_of(jnp.ones((1, len(seen)), flat.y.dtype), flat.y, seen.astype(flat.y.dtype), flat.y[0])
    mean, spread = sums.mean[0], jnp.sqrt(ratio(sums.scatter, sums.count)[0] / 2)
    size, dtype = model.num_dims, mean.dtype
    for_memory, for_turn, for_emission = jax.random.split(key, 3)
    memory = jax.random.uniform(for_memory, (), dtype, 0.5, 0.98)
    turn = jnp.linalg.qr(jax.random.normal(for_turn, (size, size), dtype))[0]
    emission = spread[:, None] * jax.random.normal(for_emission, (len(mean), size), dtype) / math.sqrt(size)
    known = {name for part in parts(model).values() for name in part.blocks}
    drawn: dict[str, Any] = {
        "initial_mean": jnp.zeros(size, dtype) if "emission_bias" in known else jnp.linalg.lstsq(emission, mean)[0],
        "transition_matrix": memory * turn,
        "emission_matrix": emission,
        "emission_bias": mean,
    }
    drawn = {name: array for name, array in drawn.items() if name in known}
    if "transition_matrix" in drawn and isinstance(model._transition_matrix, Tied):
        # The mean of entries of a turn may be more than a turn.
        matrix = model._transition_matrix.fitted(drawn["transition_matrix"]).entries
        drawn["transition_matrix"] = matrix * (memory / jnp.maximum(memory, jnp.linalg.norm(matrix, ord=2)))
    scales = {
        "_initial_covariance": jnp.ones(size, dtype),
        "_transition_covariance": jnp.sqrt(1 - memory**2) * jnp.ones(size, dtype),
        "_emission_covariance": spread,
    }
    for name, scale in scales.items():
        root = getattr(model, name).lower
        if root.ndim == 2:
            drawn[name] = getattr(model, name).fitted(jnp.where(jnp.any(empty_pivots(root)), root, jnp.diag(scale)))
    return _replaced(model, drawn)
