"""The particle filter: the recursion whose belief is a weighted sample."""

import dataclasses
import math
from numbers import Real
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.beliefs import Particles
from ssm.distributions import Distribution, WeightedMixture, is_known, marginal_log_prob
from ssm.maps.base import AbstractKernel
from ssm.model import AbstractStateSpace
from ssm.numeric.checks import positive_int
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import log
from ssm.numeric.trees import float_dtype, index
from ssm.parameters import constrain
from ssm.recursion import AbstractReversibleRecursion
from ssm.recursions.particles.gradients import GRADIENTS
from ssm.shapes import Array, Float, Int, Key, PyTree, Scalar
from ssm.steps import PartlyObserved, Step, partly_missing


@final
class ParticleFilter(AbstractReversibleRecursion[Particles], AbstractStateSpace):
    """The bootstrap filter (Gordon, Salmond & Smith 1993) over a model that can be drawn from.

    `model` is a StateSpaceModel, an HMM or a LinearGaussian. Before moving on, particles are resampled
    systematically (Kitagawa 1996) when their effective size is below `resample_below` times `num_particles`:
    0 never resamples (importance sampling), 1 always does. `log_prob` is the logarithm of an unbiased estimate
    of p(y_{1:T}) (Del Moral 2004, section 7.4): E[exp(log_prob)] is exact, log_prob itself is low on average.

    An observation that no particle can explain gives evidence -inf and leaves the weights as they were.
    Smoothing takes O(P²) work and memory per step. Raises TypeError for a model that cannot be drawn from or reads
    labels, ValueError for a threshold outside [0, 1] or an unknown gradient.

    `gradient` says how the evidence is differentiated; its value is the same. All but the last estimate the score
    ∇ log p(y_{1:T}), with an error that vanishes as P grows:

        "score"            the default, for any model: draws and choices are numbers, and the weight of a particle
                           carries the scores of its draw and of its ancestors (Ścibior & Wood 2021; the score estimate
                           of Poyiadjis, Doucet & Singh 2011, algorithm 1). Variance grows as T².
        "marginal"         as "score", averaged over all ancestors that a particle could have had (the same paper,
                           algorithm 2): variance grows as T, and a step takes O(P²) work and memory
        "reparameterised"  derivatives of the draws, and the scores of the choices of who survives: where every draw
                           is a differentiable function of the parameters, also without a density (singular noise)
        "biased"           derivatives of the draws, not of the choices: does not converge to the score. Discrete
                           draws have no derivative at all.

    The score needs densities that are smooth in the parameters; where a draw has none (singular noise) the gradient is
    NaN, and TypeError where it has no `log_prob`. Point masses and uniforms, whose support moves, are followed.
    """

    is_stochastic: ClassVar[bool] = True

    feeds_back: ClassVar[bool] = False

    model: AbstractStateSpace
    num_particles: int = eqx.field(static=True)
    resample_below: float = eqx.field(static=True)
    gradient: str = eqx.field(static=True)

    def __init__(
        self, model: AbstractStateSpace, num_particles: int, resample_below: float = 0.5, gradient: str = "score"
    ):
        if not isinstance(model, AbstractStateSpace) or isinstance(model, ParticleFilter):
            raise TypeError(
                "model: expected one that can be drawn from, such as ssm.StateSpaceModel, ssm.HMM or "
                f"ssm.LinearGaussian, got {type(model).__name__}"
            )
        if model.weighs_otherwise is not None:
            raise TypeError(f"model: particles are weighed by p(y | x) alone, {model.weighs_otherwise}")
        if isinstance(resample_below, bool) or not isinstance(resample_below, Real):
            raise TypeError(f"resample_below: expected a number, got {resample_below!r}")
        if not 0 <= resample_below <= 1:
            raise ValueError(f"resample_below: expected a share of the particles, 0 to 1, got {resample_below}")
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient: expected one of {', '.join(GRADIENTS)}, got {gradient!r}")
        self.gradient = gradient
        self.model = model
        self.num_particles = positive_int("num_particles", num_particles)
        self.resample_below = float(resample_below)

    # -- as the model says ------------------------------------------------------------------------------------

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As the model's."""
        return self.model.event_shape

    @property
    def event_kind(self) -> str:
        """As the model's."""
        return self.model.event_kind

    @property
    def num_classes(self) -> int:
        """As the model's."""
        return self.model.num_classes

    @property
    def num_inputs(self) -> int | None:
        """As the model's."""
        return self.model.num_inputs

    @property
    def num_steps(self) -> int | None:
        """As the model's."""
        return self.model.num_steps

    def log_prior(self) -> Scalar:
        """As the model's."""
        return self.model.log_prior()

    def validate(self, ys: np.ndarray) -> None:
        """As the model's."""
        self.model.validate(ys)

    def validate_events(self, ys: np.ndarray, seen: np.ndarray) -> None:
        """As the model's."""
        self.model.validate_events(ys, seen)

    def misses_parts(self, steps: Step) -> bool:
        """Where the marginal distributions of what a particle emits are known."""

        def density(model: Any, steps: Step, key: Key) -> Array:
            model = constrain(model)
            step = index(dataclasses.replace(steps, u=model.prepare(steps).u), 0)
            state = model.initial_state(step.u).sample(seed=key)
            return marginal_log_prob(model.observation(state, step.u), step.y, step.observed)

        one = steps if steps.t.ndim == 1 else index(steps, 0)
        return is_known(density, self.model, one, jax.random.key(0))

    def initial_state(self, u: PyTree) -> Distribution:
        """As the model's."""
        return self.model.initial_state(u)

    def next_state(self, state: PyTree, u: PyTree) -> Distribution:
        """As the model's."""
        return self.model.next_state(state, u)

    def observation(self, state: PyTree, u: PyTree) -> Distribution:
        """As the model's."""
        return self.model.observation(state, u)

    # -- the recursion ----------------------------------------------------------------------------------------

    def prepare(self, steps: Step) -> Step:
        """u as the model prepares it; y as it is, with its flags where components are missing."""
        y = PartlyObserved(steps.y, steps.observed) if partly_missing(steps) else steps.y
        return dataclasses.replace(steps, u=self.model.prepare(steps).u, y=y)

    def init(self, u: PyTree, *, key: Key | None = None) -> Particles:
        """P draws of the first state, all of one weight."""
        size = self.num_particles
        start, way = self.model.initial_state(u), GRADIENTS[self.gradient]
        draw = lambda each: way.follow(start, start.sample(seed=each))
        points = jax.vmap(draw)(jax.random.split(_needed(key), size))
        log_weights = jnp.full(size, -math.log(size), float_dtype(self.model))
        log_weights += way.started(self.model, u, points, jnp.zeros_like(log_weights))
        return Particles(points, log_weights, jnp.arange(size))

    def predict(self, belief: Particles, u: PyTree, *, key: Key | None = None) -> Particles:
        """Resample if too few particles carry the weight, then move each of them."""
        size = self.num_particles
        for_choice, for_move = jax.random.split(_needed(key))
        few = belief.effective_size < self.resample_below * size
        ancestors = jnp.where(few, systematic(for_choice, belief.weights), jnp.arange(size))
        log_weights = jnp.where(few, -math.log(size), jax.lax.stop_gradient(belief.log_weights))
        way = GRADIENTS[self.gradient]

        def move(each: Key, state: PyTree) -> PyTree:
            after = self.model.next_state(state, u)
            return way.follow(after, after.sample(seed=each))

        points = jax.vmap(move)(jax.random.split(for_move, size), index(belief.points, ancestors))
        log_weights += way.moved(self.model, u, belief, points, ancestors, few)
        return Particles(points, log_weights, ancestors)

    def update(
        self, prior: Particles, u: PyTree, y: Array | PartlyObserved, *, key: Key | None = None
    ) -> tuple[Particles, Scalar]:
        """Reweigh by the likelihood; log Σ_i w_i p(y | x_i) is the evidence."""
        seen = y if isinstance(y, PartlyObserved) else PartlyObserved(y, None)
        log_joint = self.emit(prior, u).log_joint(seen.y, seen.observed)
        impossible = jnp.all(log_joint == -jnp.inf)
        # A sum over nothing has no gradient: it is never taken.
        log_joint = jnp.where(impossible, prior.log_weights, log_joint)
        total = jax.nn.logsumexp(log_joint)
        posterior = Particles(prior.points, log_joint - total, prior.ancestors)
        return posterior, jnp.where(impossible, -jnp.inf, total)

    def emit(self, prior: Particles, u: PyTree) -> WeightedMixture:
        """The mixture of the observations of the particles."""
        return WeightedMixture(eqx.Partial(self.model.observation, u=u), prior.points, prior.log_weights)

    def reverse(self, filtered: Particles, predicted: Particles, u: PyTree) -> "ReversedParticles":
        """p(x_t = x_i | x_{t+1}, y_{<=t}) ∝ w_i p(x_{t+1} | x_i)."""
        return ReversedParticles(eqx.Partial(self.model.next_state, u=u), filtered)


@final
class ReversedParticles(AbstractKernel[Particles]):
    """p(x_t | x_{t+1}, y_{<=t}) on the filtered particles: weights ∝ w_i p(x_{t+1} | x_i).

    The transition needs a density: a transition without noise has none, and gives NaN or a path of its own.
    """

    transition: eqx.Partial
    filtered: Particles

    def apply(self, belief: Particles) -> Particles:
        """w_i Σ_j smoothed_j p(x_j | x_i) / Σ_k w_k p(x_j | x_k) (Doucet, Godsill & Andrieu 2000, eq. 35)."""
        densities = lambda state: jax.vmap(self.transition(state).log_prob)(belief.points)
        log_joint = self.filtered.log_weights[:, None] + jax.vmap(densities)(self.filtered.points)  # (P, P)
        # Column j says where x_j came from. Of a particle that counts for nothing it need not be possible to say.
        shares = jax.nn.softmax(jnp.where(belief.weights > 0, log_joint, 0), axis=0)
        weights = multiply(shares, belief.weights)
        return Particles(self.filtered.points, log(weights), self.filtered.ancestors)

    def sample(self, key: Key, state: PyTree) -> PyTree:
        """x_t given x_{t+1} = state (Godsill, Doucet & West 2004, algorithm 1)."""
        densities = jax.vmap(lambda point: self.transition(point).log_prob(state))(self.filtered.points)
        i = jax.random.categorical(key, self.filtered.log_weights + densities)
        return index(self.filtered.points, i)


def systematic(key: Key, weights: Float[Array, "P"]) -> Int[Array, "P"]:
    """Ancestors of P new particles: particle i is chosen P w_i times, rounded down or up, in expectation exactly.

    One uniform number places a comb of P teeth, 1/P apart, on the cumulative weights (Kitagawa 1996, appendix).
    """
    weights = jax.lax.stop_gradient(weights)
    size = weights.shape[0]
    # Sums in parallel may round up and down: particles of zero weight must stay steps of zero height.
    edges = jax.lax.cummax(jnp.where(weights > 0, jnp.cumsum(weights), 0))
    below_one = 1 - jnp.finfo(weights.dtype).epsneg
    teeth = (jnp.arange(size).astype(weights.dtype) + jax.random.uniform(key, dtype=weights.dtype)) / size
    return jnp.searchsorted(edges / edges[-1], jnp.minimum(teeth, below_one), side="right").astype(int)


def _needed(key: Key | None) -> Key:
    if key is None:
        raise ValueError("key: a ParticleFilter draws; pass key=jax.random.key(seed)")
    return key
