"""Entries of an array that are one parameter: stored once, so that every fit keeps them equal."""

from collections.abc import Sequence
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ssm.numeric import checks
from ssm.parameters.base import AbstractParameter, value
from ssm.shapes import Array, Float, Int


@final
class Tied(AbstractParameter):
    """An array in which entries of the same group are one parameter, shared by all of them, in every fit.

    In the place of a matrix, input or bias of `ssm.LinearGaussian` that is constant in time. `groups` has integers in
    the shape of `values`: entries with the same number of at least 1 are equal, 0 stands for an entry of its own. As
    many free numbers as there are groups and entries of their own::

        damped = ssm.Tied([[0.9, 0.1], [-0.1, 0.9]], [[1, 0], [0, 1]])  # one number on the diagonal
        model = ssm.LinearGaussian(mean, covariance, damped, noise, emission_matrix, emission_covariance)

    EM takes the least squares under these equations (Holmes 2013), and SGD and L-BFGS move what is stored. To freeze
    one of several tied entries freezes all of them. Not with `stable=True`, nor across several arrays. Raises
    ValueError for groups of another shape, or whose entries differ, TypeError for groups that are no integers.
    """

    is_entrywise: ClassVar[bool] = True

    numbers: Float[Array, "G"]
    places: tuple[int, ...] = eqx.field(static=True)  # which number each entry is, row by row
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, values: Array | Sequence, groups: Array | Sequence):
        array = checks.real("values", values, ("...",) * np.ndim(jnp.asarray(values)))
        flat = _group_numbers(groups, array.shape)
        # An entry of its own is a group of its own, numbered below all that were given.
        _, first, group = np.unique(
            np.where(flat == 0, -np.arange(flat.size), flat), return_index=True, return_inverse=True
        )
        stored, places = np.unique(first[group], return_inverse=True)
        self.places, self.shape = tuple(places.tolist()), array.shape
        if checks.is_concrete(array):
            _check_equal(np.asarray(array).ravel(), first[group], flat)
        else:
            entries = array.ravel()
            array = checks.where_valid(jnp.all(entries == entries[first[group]]), array)
        self.numbers = array.reshape(-1)[stored]

    def constrained(self) -> "Tied":
        """Itself: an M-step asks which entries are tied."""
        return self

    @property
    def entries(self) -> Float[Array, "..."]:
        """The array."""
        return self.numbers[np.array(self.places)].reshape(self.shape)

    def named_entries(self, leaf: Any) -> Int[np.ndarray, "..."]:
        """Which number each entry is."""
        return np.array(self.places).reshape(self.shape)

    def fitted(self, array: Float[Array, "..."]) -> "Tied":
        """The array of this form that is closest: the mean of each group."""
        sums = jnp.zeros_like(self.numbers).at[np.array(self.places)].add(array.reshape(-1))
        means = sums / np.bincount(self.places).astype(sums.dtype)
        return eqx.tree_at(lambda tied: tied.numbers, self, means)


def untied(parameter: Array | AbstractParameter | None) -> Any:
    """The constrained value of a parameter, with tied entries written out."""
    return parameter.entries if isinstance(parameter, Tied) else value(parameter)


def _group_numbers(groups: Any, shape: tuple[int, ...]) -> Int[np.ndarray, "M"]:
    if not checks.is_concrete(groups) or np.asarray(groups).dtype.kind not in "iu":
        raise TypeError(f"groups: expected integers that are known before compiling, got {groups!r}")
    numbers = np.asarray(groups).astype(int)
    if numbers.shape != shape:
        raise ValueError(f"groups: expected one integer for each of values, {shape}, got shape {numbers.shape}")
    if (numbers < 0).any():
        raise ValueError(f"groups: expected integers of at least 0, got {numbers.min()}")
    return numbers.ravel()


def _check_equal(values: np.ndarray, first: np.ndarray, groups: np.ndarray) -> None:
    """ValueError unless each value is that of the first entry of its group."""
    differs = np.flatnonzero(values != values[first])
    if len(differs):
        one, other = first[differs[0]], differs[0]
        raise ValueError(
            f"values: entries of one group must be equal, got {values[one]:.6g} and {values[other]:.6g} in group "
            f"{groups[other]}; give them one value, or groups of their own"
        )
