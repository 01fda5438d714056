"""What a linear-Gaussian model is told at one time, and what it does with square roots."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ssm.maps.gaussian import GaussianMap
from ssm.numeric import checks
from ssm.numeric.conditioning import condition
from ssm.numeric.linalg import multiply
from ssm.numeric.roots import empty_pivots, solve_lower, solve_lower_transposed, triangular_root
from ssm.parameters import AbstractCovariance, Covariance
from ssm.parameters.stable import Stable
from ssm.parameters.tied import Tied
from ssm.shapes import Array, Bool, Float, PyTree


class Dynamics(NamedTuple):
    """x_t = matrix x_{t-1} + offset + root ε,  or  y_t = matrix x_t + offset + root ε,  with ε ~ N(0, I)."""

    matrix: Any  # (N, D)
    offset: Any  # (N,)
    root: Any  # (N, N)


class Varying(NamedTuple):
    """Which matrices vary in time."""

    transition: bool
    transition_covariance: bool
    emission: bool
    emission_covariance: bool


class Known(NamedTuple):
    """What varies in time, in the place of u; None in a `Dynamics` where the model's constant holds."""

    transition: Dynamics
    emission: Dynamics


class Measurement(NamedTuple):
    """A partly missing observation: its own emission, in which a missing component is unit noise that reads zero."""

    y: Float[Array, "N"]
    emission: Dynamics
    num_missing: Float[Array, ""]


def reversed_kernel(matrix: Array, root: Array, noise: Array) -> tuple[Array, Array]:
    """Gain and root of the Rauch-Tung-Striebel kernel p(x_t | x_{t+1}, y_{<=t}), from the filtered root at t."""
    ahead, cross, rest = condition(matrix, root, noise)
    return solve_lower_transposed(ahead, cross.T).T, rest


def conditioned(transition: Dynamics, emission: Dynamics, y: Float[Array, "N"]) -> GaussianMap:
    """p(x_t | x_{t-1}, y_t) and p(y_t | x_{t-1}) in square-root form (Yaghoobi et al. 2022, eqs. 8-10)."""
    matrix, offset, noise = transition
    seeing, shift, blur = emission
    innovation, gain, root = condition(seeing, noise, blur)
    # A noise-free view of a noise-free state fixes the past exactly, which this form cannot hold.
    innovation = jnp.where(jnp.any(empty_pivots(innovation)), jnp.nan, innovation)
    whitened = solve_lower(innovation, multiply(seeing, matrix))  # (N, D)
    residual = solve_lower(innovation, y - multiply(seeing, offset) - shift)
    return GaussianMap(
        matrix=matrix - multiply(gain, whitened),
        offset=offset + multiply(gain, residual),
        noise=root,
        information=multiply(whitened.T, residual),
        precision=triangular_root(whitened.T),
    )


def measure(y: Float[Array, "N"], emission: Dynamics, observed: Bool[Array, "N"]) -> Measurement:
    """A partly missing observation as a measurement of its own."""
    own = jnp.diag(jnp.where(observed, 0, 1).astype(y.dtype))
    kept = jnp.where(observed[:, None], emission.root, 0)
    root = triangular_root(jnp.concatenate([kept, own], axis=1))
    matrix = jnp.where(observed[:, None], emission.matrix, 0)
    offset = jnp.where(observed, emission.offset, 0)
    return Measurement(jnp.where(observed, y, 0), Dynamics(matrix, offset, root), jnp.sum(own))


def filled(varying: Dynamics, constant: Dynamics) -> Dynamics:
    """What varies in time where there is such, the constant elsewhere."""
    return Dynamics(*(c if v is None else v for v, c in zip(varying, constant, strict=True)))


def at_times(parameter: Array, t: Array, rank: int) -> Array | None:
    """A time-varying parameter at times t (T,), NaN beyond the last one it has; None for a constant one."""
    if parameter.ndim == rank:
        return None
    return jnp.take(parameter, t, axis=0, mode="fill", fill_value=jnp.nan)


def offsets(bias: Array | None, matrix: Array | None, t: Array, u: PyTree) -> Float[Array, "T D"] | None:
    """bias_t + matrix_t u_t for all times; None for a constant bias without inputs."""
    varying = None if bias is None else at_times(bias, t, 1)
    if matrix is None:
        return varying
    matrices = at_times(matrix, t, 2)
    if matrices is None:
        effect = multiply(u, matrix.T)
    else:
        effect = jnp.einsum("tij,tj->ti", matrices, u, precision="highest")
    return effect if bias is None else effect + (bias if varying is None else varying)


def in_time(name: str, array: Any, axes: tuple) -> Any:
    """A parameter with or without a leading axis T."""
    if array is None:
        return None
    return checks.real(name, array, axes if np.ndim(array) != len(axes) + 1 else ("T", *axes))


def coefficients(name: str, array: Any, axes: tuple) -> Any:
    """As `in_time`, or constant with tied entries."""
    if isinstance(array, Tied):
        checks.shape(name, array.entries, axes)
        return array
    return in_time(name, array, axes)


def covariance_of(name: str, array: Any, axes: tuple) -> AbstractCovariance:
    """A covariance with or without a leading axis T, or one with structure; the initial one has no such axis."""
    if isinstance(array, AbstractCovariance):
        timed = array.lower.ndim == 3 and name != "initial_covariance"
        checks.shape(name, array.lower, ("T", *axes) if timed else axes)
        return array
    timed = np.ndim(array) == 3 and name != "initial_covariance"
    return Covariance.of(checks.covariance(name, array, ("T", *axes) if timed else axes))


def stable_matrix(matrix: Tied | Float[Array, "*T D D"]) -> Stable:
    """A transition matrix that stays stable; ValueError for one that varies in time, has ties or is not."""
    if isinstance(matrix, Tied):
        raise ValueError("stable: a transition_matrix with tied entries cannot be kept stable; leave out one of them")
    if matrix.ndim != 2:
        raise ValueError("stable: a transition_matrix that varies in time cannot be kept stable")
    if checks.is_concrete(matrix):
        radius = np.abs(np.linalg.eigvals(np.asarray(matrix))).max()
        if radius >= 1:
            raise ValueError(
                f"stable: expected all eigenvalues of transition_matrix inside the unit circle, got "
                f"one of {radius:.6g}; start from a smaller matrix"
            )
    return Stable.of(matrix)


def time_axis(parameters: list[tuple[str, Array | None, int]]) -> int | None:
    """T of the parameters (name, array, rank when constant) that vary in time, or None; ValueError if T differs."""
    sizes = {name: array.shape[0] for name, array, rank in parameters if array is not None and array.ndim > rank}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"time-varying parameters must share their leading axis T, got {sizes}")
    return next(iter(sizes.values()), None)


def states(name: str, flags: Any, count: int) -> tuple[bool, ...] | None:
    """Flags of D states, which decide what is compiled; None if there are none."""
    if flags is None:
        return None
    given = np.asarray(flags)
    if given.shape != (count,) or given.dtype != bool:
        raise ValueError(f"{name}: expected ({count},) bools, one for each state, got {given.dtype} {given.shape}")
    return tuple(given.tolist()) if given.any() else None
