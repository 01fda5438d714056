"""Every member of the library, once: register it here and it inherits every law in test_laws.py."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import extending
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import ssm
from ssm.emissions import Categorical, MultivariateNormal, Normal
from ssm.schedules import AbstractSchedule, Associative, Blocked, FixedPoint

COVERED = 16  # time steps that the time-varying members know: more than any law asks for

COMPOSED = (Associative(), Blocked(3), Blocked(3, across=Associative()))
SWEPT = (Blocked(3), FixedPoint())
IN_ORDER = (Blocked(3),)


@dataclass(frozen=True)
class Member:
    """A name, a way to make the model, and what the laws may ask of it."""

    name: str
    make: Callable[[jax.Array], Any]
    schedules: tuple[AbstractSchedule, ...]  # besides Sequential
    reversible: bool = True  # smooth, posterior_sample
    draws: bool = True  # the model holds a generative story: simulate
    scores: bool = True  # the evidence of a step is the density that `emit` predicts, not a bound on it
    gaps: bool = True  # observations may be missing
    table: Callable[..., np.ndarray] = oracles.log_likelihood_table  # of a chain: what SciPy says of its emission

    def model(self, seed: int = 0) -> Any:
        """One model, its parameters drawn from `seed`."""
        return eqx.filter_jit(self.make)(jax.random.key(seed))  # one program instead of dozens of small ones

    def mask(self, total: int, *missing: int) -> np.ndarray:
        """All of `total` steps observed but the `missing` ones, if any may be missing."""
        return ~np.isin(np.arange(total), missing if self.gaps else ())

    @property
    def is_markov(self) -> bool:
        """Belongs to the HMM family."""
        return self.name.startswith("HMM")

    @property
    def is_symbolic(self) -> bool:
        """Its observations are symbols."""
        return self.name.endswith("categorical")

    @property
    def is_gaussian(self) -> bool:
        """Belongs to the linear-Gaussian family."""
        return self.name.startswith("LinearGaussian")


def observations(model: Any, rng: np.random.Generator, *lead: int) -> np.ndarray:
    """Observations of the model's kind, (*lead, *event): any values that it can emit."""
    if model.event_kind == "symbol":
        return rng.integers(0, model.num_classes, (*lead, *model.event_shape))
    return rng.normal(size=(*lead, *model.event_shape))


def inputs(model: Any, rng: np.random.Generator, *lead: int) -> np.ndarray | None:
    """Inputs (*lead, U), None for a model that reads none."""
    return rng.normal(size=(*lead, model.num_inputs)) if model.num_inputs else None


# -- recipes --------------------------------------------------------------------------------------------------


def hmm(emission: Callable[[jax.Array], Any], num_states: int = 3) -> Callable[[jax.Array], ssm.HMM]:
    """A chain with random probabilities and the given emission."""

    def make(key: jax.Array) -> ssm.HMM:
        for_initial, for_transition, for_emission = jax.random.split(key, 3)
        ones = jnp.ones(num_states)
        initial = jax.random.dirichlet(for_initial, ones)
        transition = jax.random.dirichlet(for_transition, ones, (num_states,))
        return ssm.HMM(initial, transition, emission(for_emission))

    return make


def banded_hmm(key: jax.Array) -> ssm.HMM:
    """A left-to-right chain that starts in its first state: hard zeros in initial and transition."""
    stay = jax.random.uniform(key, (3,), minval=0.2, maxval=0.8)
    transition = jnp.diag(stay) + jnp.roll(jnp.diag(1 - stay), 1, axis=1)
    return ssm.HMM(jnp.array([1.0, 0.0, 0.0]), transition, Normal(jnp.array([-1.0, 0.0, 1.0]), jnp.ones(3)))


def semi_markov(key: jax.Array) -> ssm.HMM:
    """Two modes that last up to three steps."""
    for_initial, for_jumps, for_loc = jax.random.split(key, 3)
    family = ssm.durations.NegativeBinomial([2.0, 3.0], [0.5, 1.0], 3)
    jumps = jax.random.dirichlet(for_jumps, jnp.ones(2), (2,))
    emission = Normal(jax.random.normal(for_loc, (2,)), jnp.ones(2))
    return ssm.HSMM(jax.random.dirichlet(for_initial, jnp.ones(2)), jumps, family, emission)


def factorial_hmm(key: jax.Array) -> ssm.HMM:
    """Chains of two and three states whose effects add up to two components."""
    keys = iter(jax.random.split(key, 6))
    rows = lambda size, *lead: jax.random.dirichlet(next(keys), jnp.ones(size), lead)
    loc = [jax.random.normal(next(keys), (size, 2)) for size in (2, 3)]
    emission = ssm.emissions.AdditiveNormal(loc, jnp.array([0.5, 1.0]))
    return ssm.FactorialHMM([rows(2), rows(3)], [rows(2, 2), rows(3, 3)], emission)


def coupled_hmm(key: jax.Array) -> ssm.HMM:
    """Chains of two and three states, each seeing where both were."""
    for_two, for_three, for_emission = jax.random.split(key, 3)
    tables = [jax.random.dirichlet(k, jnp.ones(n), (2, 3)) for k, n in ((for_two, 2), (for_three, 3))]
    transition = ssm.transitions.Coupled(tables, [jnp.ones(2) / 2, jnp.ones(3) / 3])
    return ssm.HMM(None, transition, Categorical.random(for_emission, 6, 4))


def scalar_normal(key: jax.Array) -> Normal:
    """Three normals on a line."""
    return Normal(jax.random.normal(key, (3,)), jnp.array([0.5, 1.0, 2.0]))


def vector_normal(key: jax.Array) -> Normal:
    """Three products of two normals."""
    loc, scale = jax.random.normal(key, (2, 3, 2))
    return Normal(loc, jnp.exp(scale / 2))


def correlated_normal(key: jax.Array) -> MultivariateNormal:
    """Three correlated normals in two dimensions."""
    for_loc, for_root = jax.random.split(key)
    return MultivariateNormal(jax.random.normal(for_loc, (3, 2)), covariance(for_root, 2, 3))


def covariance(key: jax.Array, size: int, *lead: int) -> jax.Array:
    """Random well-conditioned covariances (*lead, size, size)."""
    root = jax.random.normal(key, (*lead, size, size)) / 2
    return root @ jnp.swapaxes(root, -1, -2) + jnp.eye(size) / 4


def linear_gaussian(
    *lead: int, biases: bool = False, num_inputs: int = 0, singular: bool = False
) -> Callable[[jax.Array], ssm.LinearGaussian]:
    """D = 3 states seen through N = 2 observations; `lead` (T,) makes every parameter vary in time."""

    def make(key: jax.Array) -> ssm.LinearGaussian:
        keys = iter(jax.random.split(key, 16))
        draw = lambda *shape: jax.random.normal(next(keys), (*lead, *shape))
        noise = covariance(next(keys), 3, *lead)
        if singular:
            loading = draw(3, 1)
            noise = loading @ jnp.swapaxes(loading, -1, -2)
        return ssm.LinearGaussian(
            jax.random.normal(next(keys), (3,)),
            covariance(next(keys), 3),
            0.5 * draw(3, 3),
            noise,
            draw(2, 3),
            covariance(next(keys), 2, *lead),
            transition_bias=draw(3) if biases else None,
            emission_bias=draw(2) if biases else None,
            transition_input=draw(3, num_inputs) if num_inputs else None,
            emission_input=draw(2, num_inputs) if num_inputs else None,
        )

    return make


def categorical_rnn(key: jax.Array) -> ssm.RNN:
    """A GRU that reads the symbols it emits."""
    for_cell, for_head = jax.random.split(key)
    return ssm.RNN(ssm.cells.GRU(4, 3, key=for_cell), ssm.heads.Categorical(3, 4, key=for_head))


def driven_rnn(key: jax.Array) -> ssm.RNN:
    """A tanh network that reads inputs alone."""
    for_cell, for_head = jax.random.split(key)
    return ssm.RNN(ssm.cells.Tanh(2, 3, key=for_cell), ssm.heads.Normal(3, 2, key=for_head), reads="inputs")


def stacked_rnn(key: jax.Array) -> ssm.RNN:
    """A tanh network on an LSTM that reads inputs and its own past."""
    for_lower, for_upper, for_head = jax.random.split(key, 3)
    layers = ssm.cells.Stack([ssm.cells.LSTM(4, 3, key=for_lower), ssm.cells.Tanh(3, 2, key=for_upper)])
    return ssm.RNN(layers, ssm.heads.Normal(2, 2, key=for_head), reads="both")


def particle_filter(key: jax.Array) -> ssm.ParticleFilter:
    """Eight particles on a linear system with inputs."""
    return ssm.ParticleFilter(linear_gaussian(biases=True, num_inputs=2)(key), 8)


def variational_rnn(key: jax.Array) -> ssm.VRNN:
    """A GRU with a two-dimensional latent variable, over vectors of two."""
    for_cell, for_head, for_rest = jax.random.split(key, 3)
    cell, head = ssm.cells.GRU(4, 3, key=for_cell), ssm.heads.Normal(3, 2, key=for_head)
    return ssm.VRNN(cell, head, 2, key=for_rest)


def autoregressive_hmm(key: jax.Array) -> ssm.ARHMM:
    """Two states, vectors of two, two lags."""
    keys = iter(jax.random.split(key, 5))
    rows = lambda *lead: jax.random.dirichlet(next(keys), jnp.ones(2), lead)
    weights, bias = jax.random.normal(next(keys), (2, 2, 4)) / 4, jax.random.normal(next(keys), (2, 2))
    return ssm.ARHMM(rows(), rows(2), weights, bias, covariance(next(keys), 2, 2))


def change_point(key: jax.Array) -> ssm.ChangePoint:
    """Vectors of two components whose means and variances change, with a hazard that rises; few runs are kept."""
    segment = ssm.conjugate.NormalInverseGamma(jax.random.normal(key, (2,)), 0.5, 2.5, jnp.array([1.0, 2.0]))
    return ssm.ChangePoint(segment, jnp.array([0.2, 0.4]), 6)


MEMBERS = [
    Member("HMM-categorical", hmm(lambda key: Categorical.random(key, 3, 4)), COMPOSED),
    Member("HMM-normal-scalar", hmm(scalar_normal), COMPOSED),
    Member("HMM-normal-vector", hmm(vector_normal), COMPOSED),
    Member("HMM-multivariate-normal", hmm(correlated_normal), COMPOSED),
    Member("HMM-banded", banded_hmm, COMPOSED),
    Member("SemiMarkov-normal", semi_markov, COMPOSED),
    Member("Factorial-additive", factorial_hmm, COMPOSED),
    Member("Coupled-categorical", coupled_hmm, COMPOSED),
    Member("Autoregressive", autoregressive_hmm, IN_ORDER, gaps=False),
    Member("LinearGaussian-plain", linear_gaussian(), COMPOSED),
    Member("LinearGaussian-inputs", linear_gaussian(biases=True, num_inputs=2), COMPOSED),
    Member("LinearGaussian-in-time", linear_gaussian(COVERED, biases=True, num_inputs=2), COMPOSED),
    Member("LinearGaussian-singular", linear_gaussian(singular=True), COMPOSED),
    Member("RNN-categorical", categorical_rnn, SWEPT),
    Member("RNN-inputs", driven_rnn, SWEPT),
    Member("RNN-both-stacked", stacked_rnn, SWEPT),
    Member("ParticleFilter", particle_filter, IN_ORDER),
    Member("ChangePoint", change_point, IN_ORDER),
    Member("VRNN", variational_rnn, IN_ORDER, reversible=False, scores=False),
    Member("Own-member", extending.volatility, IN_ORDER, reversible=False),
    Member("HMM-own-emission", hmm(extending.laplace), COMPOSED, table=oracles.laplace_table),
    Member("HMM-own-transition-categorical", extending.sticky_hmm, COMPOSED),
    Member("RNN-own-cell", extending.slow_rnn, SWEPT),
]


# One member of each family: what compiles for long is asked of these in every run, of the others with --slow.
CORE = {
    "HMM-categorical",
    "HMM-multivariate-normal",
    "LinearGaussian-inputs",
    "RNN-categorical",
    "ParticleFilter",
    "VRNN",
}


def members(keep: Callable[[Member], bool] = lambda member: True) -> list[Any]:
    """The members that a law applies to, as pytest parameters."""
    return [pytest.param(member, id=member.name) for member in MEMBERS if keep(member)]


def dear(keep: Callable[[Member], bool] = lambda member: True, also: Collection[str] = ()) -> list[Any]:
    """As `members`, for a law that compiles for long; the members named in `also` are asked in every run, too."""
    marked = lambda member: [] if member.name in also else marks(member)
    return [pytest.param(member, id=member.name, marks=marked(member)) for member in MEMBERS if keep(member)]


def slow(names: Collection[str]) -> list[Any]:
    """The members named, with --slow only."""
    return [pytest.param(member, id=member.name, marks=pytest.mark.slow) for member in MEMBERS if member.name in names]


def marks(member: Member) -> list[pytest.MarkDecorator]:
    """Slow unless it stands for its family."""
    return [] if member.name in CORE else [pytest.mark.slow]
