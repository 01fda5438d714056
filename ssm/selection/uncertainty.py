"""How well the data fix the parameters: errors from the curvature of the evidence at its maximum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.data import Sequences, check_recursion, observe
from ssm.fitting.checks import count_observations
from ssm.numeric.compiling import compiled
from ssm.numeric.trees import float_dtype
from ssm.parameters import VANISHED, AbstractCovariance, AbstractParameter, constrain, plain
from ssm.parameters.freezing import Frozen, free_entries, frozen_names, leaf_names
from ssm.passes.evidence import evidence_of
from ssm.recursion import AbstractRecursion
from ssm.schedules import AbstractSchedule, resolve, under_vmap
from ssm.shapes import Array, Float, PyTree

# What a Newton step may still gain, in nats, for a point to count as a maximum: a third of a standard error.
NEAR = 0.05


class CovarianceErrors(eqx.Module):
    """In the place of a covariance: standard errors of its entries."""

    matrix: Float[Array, "*batch D D"]


def standard_errors(
    model: AbstractRecursion,
    ys: Array,
    inputs: PyTree = None,
    *,
    of: Callable[[Any], PyTree] | None = None,
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    frozen: Frozen = (),
    schedule: str | AbstractSchedule = "auto",
) -> Any:
    """Standard errors of a fitted model's parameters, or of what the function `of` makes of the model.

    Without `of`: the model's tree with a standard error in the place of every constrained parameter, so
    `errors.transition`, `errors.emission.scale`; zero for hard zeros and for what `frozen` (as in `ssm.fit`) covers.
    Probabilities, rates and variances that a fit drove to zero (within rounding, which the evidence does not feel) lie
    on the border, where this says nothing: zero, the others beside them.
    A property that is worked out from several parameters needs `of`; the distribution of a stationary start is
    written out. With it: a tree like `of(model)`, such as `of=lambda model: model.transition[0, 1]`, where `model` has
    plain arrays. Infinite where the data do not say what the number is (a state that was never visited).

    The inverse of the observed information, minus the second derivatives of log-evidence plus log-prior with respect
    to coordinates that are free (logits of possible outcomes relative to the likeliest one's), and the delta method
    (Efron & Hinkley 1978; Lystig & Hughes 2002 for hidden Markov models). float64 (jax_enable_x64) is advised.
    Other arguments as in `ssm.filter`. Raises TypeError for models without an exact evidence, and ValueError where
    the model is not at a maximum of it: fit it further, `ssm.fit(model, ys, ssm.LBFGS(), ...)`.
    """
    boundary = {"mask": mask, "lengths": lengths, "starts": starts}
    values, slopes, inverse = _read(model, ys, inputs, boundary, _parameters if of is None else of, frozen, schedule)
    leaves, structure = jax.tree.flatten(values)
    errors = [
        np.sqrt(_covariance([slope], [leaf], inverse, diagonal=True))
        for slope, leaf in zip(slopes, leaves, strict=True)
    ]
    shaped = [jnp.asarray(error.reshape(v.shape), v.dtype) for error, v in zip(errors, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)


def parameter_covariance(
    model: AbstractRecursion,
    ys: Array,
    inputs: PyTree = None,
    *,
    of: Callable[[Any], PyTree],
    mask: Array | None = None,
    lengths: Array | None = None,
    starts: Array | None = None,
    frozen: Frozen = (),
    schedule: str | AbstractSchedule = "auto",
) -> Float[Array, "M M"]:
    """Covariance matrix of what the function `of` makes of a fitted model: how errors of its M numbers go together.

    The numbers are those of `jax.tree.leaves(of(model))`, each leaf flattened, one after the other: with
    `of=lambda model: (model.emission.loc, model.emission.scale)` first all means, then all standard deviations. The
    square roots of the diagonal are the `standard_errors`. Where the data do not say what a number is, its variance is
    infinite and its covariances are NaN. Formula, source, other arguments and errors as in `ssm.standard_errors`.
    """
    boundary = {"mask": mask, "lengths": lengths, "starts": starts}
    values, slopes, inverse = _read(model, ys, inputs, boundary, of, frozen, schedule)
    return jnp.asarray(_covariance(slopes, jax.tree.leaves(values), inverse), float_dtype(model))


def _read(
    model: AbstractRecursion,
    ys: Array,
    inputs: PyTree,
    boundary: dict[str, Any],
    of: Callable[[Any], PyTree],
    frozen: Frozen,
    schedule: str | AbstractSchedule,
) -> tuple[PyTree, list[np.ndarray], "Inverse"]:
    """What is read out, the derivatives (numbers of a leaf, P) of each of its leaves, and the inverse information."""
    check_recursion(model)
    if model.is_stochastic:
        raise TypeError(f"model: the evidence of a {type(model).__name__} is drawn, and its curvature is not exact")
    sequences = observe(model, ys, inputs, **boundary)
    count_observations(sequences)
    schedule = resolve(schedule, model)
    model = _settled(model, sequences, schedule)
    entries = jax.tree.map(np.logical_and, free_entries(model, frozen_names(model, frozen)), _inside(model))
    names = leaf_names(model)
    size = sum(int(mask.sum()) for mask in jax.tree.leaves(entries))
    centre = jnp.zeros(size, float_dtype(model))
    where = Places(tuple(tuple(np.flatnonzero(mask).tolist()) for mask in jax.tree.leaves(entries)))
    gradient, curvature = _derivatives(centre, model, sequences, where, schedule)
    labels = [name for name, places in zip(names, where.indices, strict=True) for _ in places]
    inverse = _invert(np.asarray(gradient, float), np.asarray(curvature, float), labels, float_dtype(model))
    values, slopes = _slopes(centre, model, where, of)
    both = zip(jax.tree.leaves(slopes), jax.tree.leaves(values), strict=True)
    return values, [np.asarray(slope, float).reshape(np.size(value), size) for slope, value in both], inverse


def _inside(model: Any) -> PyTree:
    """The model's tree with a boolean array at each leaf: False at the numbers that stand for values on a border."""
    has_borders = lambda node: isinstance(node, AbstractParameter) and node.has_borders
    everywhere = lambda leaf: np.ones(np.shape(leaf), bool)
    inside = lambda node: jax.tree.map(lambda leaf: np.abs(np.asarray(leaf)) < -VANISHED / 2, node)
    return jax.tree.map(lambda n: (inside if has_borders(n) else everywhere)(n), model, is_leaf=has_borders)


def _settled(model: Any, sequences: Sequences, schedule: AbstractSchedule) -> Any:
    """The model with what a fit drove to the border put there, as far as the evidence does not feel it.

    Derivatives of log p at a p of 1e-170 are not finite, and what is left of its curvature is rounding.
    """
    is_parameter = lambda node: isinstance(node, AbstractParameter)
    parts, structure = jax.tree.flatten(model, is_leaf=is_parameter)
    before = None
    for i, part in enumerate(parts):
        settled = part.settled() if is_parameter(part) else part
        if settled is part or eqx.tree_equal(settled, part):
            continue
        before = _objective(model, sequences, schedule) if before is None else before
        moved = jax.tree.unflatten(structure, [*parts[:i], settled, *parts[i + 1 :]])
        if abs(float(_objective(moved, sequences, schedule)) - float(before)) < NEAR:
            parts[i], model = settled, moved
    return model


class Places(NamedTuple):
    """Where in each leaf, flattened, the free numbers stand."""

    indices: tuple[tuple[int, ...], ...]


def _moved(model: Any, change: Float[Array, "P"], where: Places) -> Any:
    """The model with its free numbers moved."""
    leaves, begin = [], 0
    for leaf, indices in zip(jax.tree.leaves(model), where.indices, strict=True):
        if indices:
            part = change[begin : begin + len(indices)].astype(leaf.dtype)
            begin += len(indices)
            leaf = leaf.reshape(-1).at[np.array(indices)].add(part).reshape(leaf.shape)
        leaves.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(model), leaves)


@compiled
def _objective(model: Any, sequences: Sequences, schedule: AbstractSchedule) -> Array:
    """Log-evidence plus log-prior."""
    plain = constrain(model)
    total = jnp.sum(evidence_of(plain, sequences.steps, under_vmap(schedule, sequences.steps.t.shape)))
    return total + plain.log_prior().astype(total.dtype)


@compiled
def _derivatives(
    centre: Float[Array, "P"], model: Any, sequences: Sequences, where: Places, schedule: AbstractSchedule
) -> tuple[Float[Array, "P"], Float[Array, "P P"]]:
    """First and second derivatives of log-evidence plus log-prior."""

    slope = jax.grad(lambda change: _objective(_moved(model, change, where), sequences, schedule))
    return slope(centre), jax.jacfwd(slope)(centre)


@compiled
def _slopes(centre: Float[Array, "P"], model: Any, where: Places, read_out: Callable) -> tuple[PyTree, PyTree]:
    """What is read out, and its derivatives (..., P)."""
    function = lambda change: read_out(plain(_moved(model, change, where)))
    return function(centre), jax.jacfwd(function)(centre)


def _parameters(model: Any) -> Any:
    """The constrained parameters: matrices instead of roots, and a stationary start written out."""
    initial = getattr(model, "_initial", model)
    if initial is None:
        model = eqx.tree_at(lambda m: m._initial, model, model.initial, is_leaf=lambda node: node is None)
    is_root = lambda node: isinstance(node, AbstractCovariance)
    written = jax.tree.map(lambda n: CovarianceErrors(n.matrix) if is_root(n) else n, model, is_leaf=is_root)
    return eqx.filter(written, eqx.is_inexact_array)


class Inverse(NamedTuple):
    """The inverse of the information as the square of `root` (P, R), and directions (P, F) of which it says nothing."""

    root: np.ndarray
    flat: np.ndarray
    rounding: float
    epsilon: float


def _invert(gradient: np.ndarray, curvature: np.ndarray, names: list[str], dtype: Any) -> Inverse:
    information = -(curvature + curvature.T) / 2
    if not np.isfinite(information).all():
        wrong = [name for name, row in zip(names, information, strict=True) if not np.isfinite(row).all()]
        single = dtype == np.float32
        raise FloatingPointError(
            f"the second derivatives of the log-evidence by {', '.join(dict.fromkeys(wrong))} are not finite; "
            + ("use float64 (jax_enable_x64), or " * single)
            + "hold what lies on a border by frozen="
        )
    rounding = float(np.sqrt(np.finfo(dtype).eps))
    # In units in which every parameter alone has information one, so that units do not count.
    own = np.abs(np.diagonal(information))
    units = np.sqrt(np.where(own > np.finfo(dtype).eps * np.max(own, initial=0), own, 1))
    values, vectors = np.linalg.eigh(information / np.outer(units, units))
    worst = lambda i: names[int(np.argmax(np.abs(vectors[:, i])))]
    advice = "fit further first, ssm.fit(model, ys, ssm.LBFGS(tol=1e-10)), or name it in frozen="
    if len(values) and values[0] < -rounding:
        raise ValueError(
            f"model: not at a maximum of the evidence, which curves upwards in {worst(0)} (eigenvalue "
            f"{values[0]:.3g} of the scaled information); {advice}"
        )
    known = values > rounding
    slopes = vectors.T @ (gradient / units)
    gains = np.where(known, slopes**2 / (2 * np.where(known, values, 1)), 0)
    if gains.sum() > NEAR:
        step = vectors @ np.where(known, slopes / np.where(known, values, 1), 0)
        steepest = names[int(np.argmax(step * gradient / units))]  # what each parameter adds to the gain
        raise ValueError(
            f"model: not at a maximum of the evidence, a step in {steepest} would gain {gains.sum():.3g} nats; {advice}"
        )
    directions = vectors / units[:, None]
    return Inverse(
        directions[:, known] / np.sqrt(values[known]), directions[:, ~known], rounding, float(np.finfo(dtype).eps)
    )


def _covariance(slopes: list[np.ndarray], values: list[Array], inverse: Inverse, diagonal: bool = False) -> np.ndarray:
    """slopes information⁻¹ slopesᵀ, or its diagonal; infinite for what moves in a direction without information.

    What moves by less than rounding of the numbers beside it, as what lies on a border does, does not move.
    """
    still = [
        np.full(len(slope), inverse.epsilon * np.abs(v).max(initial=0)) for slope, v in zip(slopes, values, strict=True)
    ]
    along, limit = np.concatenate(slopes), np.concatenate(still)[:, None]
    known, unknown = along @ inverse.root, along @ inverse.flat
    size = np.abs(along) @ np.abs(inverse.flat)
    unfixed = ((np.abs(unknown) > 10 * inverse.rounding * size) & (size > limit)).any(axis=1)
    if diagonal:
        return np.where(unfixed, np.inf, (known**2).sum(axis=1))
    unknown_pair = np.where(np.eye(len(along), dtype=bool), np.inf, np.nan)
    return np.where(np.logical_or.outer(unfixed, unfixed), unknown_pair, known @ known.T)
