"""The parameters of a linear-Gaussian system: what it is made with, how they are stored, and what they are."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.model import AbstractModel
from ssm.numeric import checks
from ssm.parameters import AbstractCovariance, AbstractPartlyRead, AbstractRewritten
from ssm.parameters.stable import Stable
from ssm.parameters.tied import Tied, untied
from ssm.recursions.gaussian.regression.prior import RegressionPrior
from ssm.recursions.gaussian.system import correlated
from ssm.recursions.gaussian.system.correlated import CrossCovariance
from ssm.recursions.gaussian.system.dynamics import (
    coefficients,
    covariance_of,
    in_time,
    stable_matrix,
    states,
    time_axis,
)
from ssm.shapes import Array, Bool, Float
from ssm.steps import Step


class LinearParameters(AbstractModel, AbstractPartlyRead, AbstractRewritten):
    """What `ssm.LinearGaussian` is made of, before anything is inferred; see there."""

    initial_mean: Float[Array, "D"]
    _initial_covariance: AbstractCovariance
    _transition_matrix: Stable | Tied | Float[Array, "*T D D"]
    _transition_covariance: AbstractCovariance
    _emission_matrix: Tied | Float[Array, "*T N D"]
    _emission_covariance: AbstractCovariance  # beside a cross-covariance, of what is not shared with the state's noise
    _cross_covariance: CrossCovariance | None
    _transition_bias: Tied | Float[Array, "*T D"] | None
    _emission_bias: Tied | Float[Array, "*T N"] | None
    _transition_input: Tied | Float[Array, "*T D U"] | None
    _emission_input: Tied | Float[Array, "*T N U"] | None
    initial_prior: RegressionPrior | None
    transition_prior: RegressionPrior | None
    emission_prior: RegressionPrior | None
    diffuse: tuple[bool, ...] | None = eqx.field(static=True)
    stable: bool = eqx.field(static=True)

    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"_transition_matrix": ("transition_matrix", "stable")}

    def __init__(
        self,
        initial_mean: Array,
        initial_covariance: Array | AbstractCovariance,
        transition_matrix: Array | Tied,
        transition_covariance: Array | AbstractCovariance,
        emission_matrix: Array | Tied,
        emission_covariance: Array | AbstractCovariance,
        transition_bias: Array | Tied | None = None,
        emission_bias: Array | Tied | None = None,
        transition_input: Array | Tied | None = None,
        emission_input: Array | Tied | None = None,
        diffuse: Array | None = None,
        initial_prior: RegressionPrior | None = None,
        transition_prior: RegressionPrior | None = None,
        emission_prior: RegressionPrior | None = None,
        stable: bool = False,
        cross_covariance: Array | None = None,
    ):
        self.initial_mean = checks.real("initial_mean", initial_mean, ("D",))
        state = self.initial_mean.shape[0]
        self._initial_covariance = covariance_of("initial_covariance", initial_covariance, (state, state))
        matrix = coefficients("transition_matrix", transition_matrix, (state, state))
        self._transition_matrix, self.stable = stable_matrix(matrix) if stable else matrix, stable
        self._transition_covariance = covariance_of("transition_covariance", transition_covariance, (state, state))
        self._emission_matrix = coefficients("emission_matrix", emission_matrix, ("N", state))
        seen = self.emission_matrix.shape[-2]
        self._emission_covariance = covariance_of("emission_covariance", emission_covariance, (seen, seen))
        self._transition_bias = coefficients("transition_bias", transition_bias, (state,))
        self._emission_bias = coefficients("emission_bias", emission_bias, (seen,))
        self._transition_input = coefficients("transition_input", transition_input, (state, "U"))
        inputs = "U" if self.transition_input is None else self.transition_input.shape[-1]
        self._emission_input = coefficients("emission_input", emission_input, (seen, inputs))
        self._cross_covariance = None
        cross = in_time("cross_covariance", cross_covariance, (state, seen))
        time_axis([*self._timed(), ("cross_covariance", cross, 2)])
        if cross is not None:
            if any(prior is not None for prior in (initial_prior, transition_prior, emission_prior)):
                raise ValueError(
                    "cross_covariance: priors are of noises that share nothing; leave out the priors, or this"
                )
            noises = self._transition_covariance, self._emission_covariance
            self._cross_covariance, self._emission_covariance = correlated.split(cross, *noises)
        self.diffuse = states("diffuse", diffuse, state)
        if self.diffuse is not None:
            _check_start(self._initial_covariance, self.known, initial_prior)
        fits = lambda name, prior, *regression: None if prior is None else prior.check(name, *regression)
        start, moves = self._initial_covariance, self._transition_covariance
        self.initial_prior = fits("initial_prior", initial_prior, self.initial_mean[:, None], start)
        self.transition_prior = fits("transition_prior", transition_prior, self.transition_matrix, moves)
        self.emission_prior = fits("emission_prior", emission_prior, self.emission_matrix, self._emission_covariance)

    def _arguments(self) -> dict[str, Any]:
        """With structures and ties, which are arguments themselves."""
        given = super()._arguments()
        stored = {name: getattr(self, f"_{name}", None) for name in given}
        given |= {name: each for name, each in stored.items() if isinstance(each, AbstractCovariance | Tied)}
        if self._cross_covariance is not None:
            given["emission_covariance"] = self.emission_covariance
        return given

    def _sources(self, field: str) -> tuple[str, ...]:
        """With what decides how a parameter is stored."""
        if self._cross_covariance is not None and field in ("_cross_covariance", "_emission_covariance"):
            return "cross_covariance", "transition_covariance", "emission_covariance"
        return super()._sources(field)

    # -- parameters -------------------------------------------------------------------------------------------

    @property
    def known(self) -> Bool[np.ndarray, "D"]:
        """States of which something is known at the start: those that are not diffuse."""
        return ~np.array(self.diffuse or (False,) * self.num_dims)

    @property
    def initial_root(self) -> Float[Array, "D D"]:
        """Of the covariance of x_1: without the variance of diffuse states."""
        root = self._initial_covariance.lower
        return root if self.diffuse is None else jnp.where(self.known[:, None], root, 0)

    def entries_read(self, entries: Any) -> Any:
        """All but the initial ones of diffuse states."""
        start = lambda model: (model.initial_mean, model._initial_covariance)
        among = self._initial_covariance.entries_among(self.known)
        covariance = jax.tree.map(lambda entry, read: entry & read, entries._initial_covariance, among)
        return eqx.tree_at(start, entries, (entries.initial_mean & self.known, covariance))

    @property
    def initial_covariance(self) -> Float[Array, "D D"]:
        """Covariance of x_1."""
        return self._initial_covariance.matrix

    @property
    def transition_matrix(self) -> Float[Array, "*T D D"]:
        """F."""
        return untied(self._transition_matrix)

    @property
    def emission_matrix(self) -> Float[Array, "*T N D"]:
        """H."""
        return untied(self._emission_matrix)

    @property
    def transition_bias(self) -> Float[Array, "*T D"] | None:
        """What is added to the state."""
        return untied(self._transition_bias)

    @property
    def emission_bias(self) -> Float[Array, "*T N"] | None:
        """What is added to the observation."""
        return untied(self._emission_bias)

    @property
    def transition_input(self) -> Float[Array, "*T D U"] | None:
        """What u_t is multiplied by on its way into the state."""
        return untied(self._transition_input)

    @property
    def emission_input(self) -> Float[Array, "*T N U"] | None:
        """What u_t is multiplied by on its way into the observation."""
        return untied(self._emission_input)

    @property
    def transition_covariance(self) -> Float[Array, "*T D D"]:
        """Covariance of the state noise."""
        return self._transition_covariance.matrix

    @property
    def emission_covariance(self) -> Float[Array, "*T N N"]:
        """Covariance of the observation noise."""
        if self._cross_covariance is None:
            return self._emission_covariance.matrix
        return self._cross_covariance.emission(self._emission_covariance.lower)

    @property
    def cross_covariance(self) -> Float[Array, "*T D N"] | None:
        """Covariance of the state noise with the observation noise of the same time; None where they share nothing."""
        cross = self._cross_covariance
        return None if cross is None else cross.matrix(self._transition_covariance.lower)

    def rewritten(self) -> Any:
        """With the observation noise in the state, if it is correlated with the state noise."""
        return self if self._cross_covariance is None else correlated.augmented(self)

    @property
    def described(self) -> str:
        """With what EM cannot fit."""
        return super().described + ("" if self._cross_covariance is None else " with a cross_covariance")

    @property
    def num_dims(self) -> int:
        """D."""
        return self.initial_mean.shape[0]

    @property
    def num_inputs(self) -> int:
        """U; 0 if the model reads no inputs."""
        matrices = [m for m in (self.transition_input, self.emission_input) if m is not None]
        return matrices[0].shape[-1] if matrices else 0

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(N,)."""
        return (self.emission_matrix.shape[-2],)

    @property
    def num_steps(self) -> int | None:
        """T of the parameters that vary in time, or None."""
        return time_axis(self._timed())

    def _timed(self) -> list[tuple[str, Array | None, int]]:
        """(name, array, rank when constant) of every parameter that may vary in time."""
        return [
            ("transition_matrix", None if self.stable else self.transition_matrix, 2),
            ("transition_covariance", self._transition_covariance.root, 2),
            ("emission_matrix", self.emission_matrix, 2),
            ("emission_covariance", self._emission_covariance.root, 2),
            ("cross_covariance", None if self._cross_covariance is None else self._cross_covariance.loading, 2),
            ("transition_bias", self.transition_bias, 1),
            ("emission_bias", self.emission_bias, 1),
            ("transition_input", self.transition_input, 2),
            ("emission_input", self.emission_input, 2),
        ]

    def validate_steps(self, steps: Step) -> None:
        """The first noise of a packed sequence is not known to the state where its covariance varies in time."""
        varies = self._cross_covariance is not None and self._emission_covariance.lower.ndim == 3
        if varies and steps.first is not None:
            raise ValueError(
                "starts: beside a cross_covariance, noises that vary in time are those of sequences that begin at the "
                "first time; pass them as a batch, with lengths="
            )


def _check_start(covariance: AbstractCovariance, known: Bool[np.ndarray, "D"], prior: RegressionPrior | None) -> None:
    """ValueError where a number is of diffuse states and of others."""
    if prior is None and covariance.tells_apart(known):
        return
    raise ValueError(
        "diffuse: initial entries of diffuse states are not read, which an initial_prior and one variance for states "
        "of both kinds (ssm.Spherical) do not know; give the others' variances, ssm.Diagonal, without a prior"
    )
