"""The gradient of a particle filter against exact scores: of Kalman filters, of chains, and in closed form.

Averages over keys lie within their standard errors. The gradient of the logarithm of an estimate Z of the likelihood
is off by O(1/P); where draws and choices are scored, that of Z itself is not, so E[Z ∇ log Z] is compared, with any
number of particles, to the likelihood times its score. Five standard errors leave room for the worst of dozens.
"""

from collections.abc import Callable
from typing import Any

import distrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
import zoo
from jax.flatten_util import ravel_pytree

import ssm
from ssm.parameters.freezing import trainable

pytestmark = pytest.mark.usefixtures("float64")

KEYS, PARTICLES = 500, 30
KEY = jax.random.key(0)
CONSISTENT = ["score", pytest.param("marginal", marks=pytest.mark.slow), "reparameterised"]


def over_keys(function: Callable) -> np.ndarray:
    """function(key) for many keys: (KEYS, ...)."""
    return np.asarray(jax.jit(lambda keys: jax.lax.map(function, keys))(jax.random.split(KEY, KEYS)))


def errors_from(draws: np.ndarray, exact: Any) -> np.ndarray:
    """How many of its standard errors the mean of each number is off."""
    return np.abs(draws.mean(0) - np.asarray(exact)) / (draws.std(0) / np.sqrt(len(draws)) + 1e-12)


def weighted(estimate: Callable, exact: Callable, at: jax.Array) -> float:
    """The largest error of the mean of Z / p(y) ∇ log Z, in its standard errors; a score that is not all zero."""
    log_prob, score = jax.jit(jax.value_and_grad(exact))(at)

    def one(key: jax.Array) -> jax.Array:
        found, slope = jax.value_and_grad(estimate)(at, key)
        return jnp.exp(found - log_prob) * slope

    draws = over_keys(one)
    assert np.abs(score).max() > 0.05
    np.testing.assert_array_equal(draws.std(0) == 0, score == 0)  # what is not read has no derivative
    return float(errors_from(draws, score).max())


def flat(function: Callable, operands: Any) -> tuple[jax.Array, Callable]:
    """What can be learnt of the operands as one vector, and the function of it."""
    free, given = eqx.partition(operands, trainable(operands))
    vector, unravel = ravel_pytree(free)
    return vector, lambda vector, *others: function(eqx.combine(unravel(vector), given), *others)


def line(parameters: jax.Array) -> ssm.LinearGaussian:
    """A scalar state: where it starts, how it shrinks, and the logarithms of its noises."""
    start, rate, noise, seen = parameters
    matrix = lambda entry: jnp.reshape(entry, (1, 1))
    covariance, identity = matrix(jnp.exp(noise)), jnp.ones((1, 1))
    return ssm.LinearGaussian(start[None], covariance, matrix(rate), covariance, identity, matrix(jnp.exp(seen)))


LINE = np.array([0.3, 0.8, -0.4, -0.7])
SEEN = np.array([[0.8], [1.6], [np.nan], [-0.4], [0.3], [1.9]])


# -- exact scores ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", CONSISTENT)
def test_the_average_is_the_score_of_the_kalman_filter(gradient: str) -> None:
    estimate = lambda at, key: ssm.log_prob(ssm.ParticleFilter(line(at), PARTICLES, gradient=gradient), SEEN, key=key)
    assert weighted(estimate, lambda at: ssm.log_prob(line(at), SEEN), jnp.asarray(LINE)) < 5


def test_what_ignores_the_choices_is_called_biased() -> None:
    estimate = lambda at, key: ssm.log_prob(ssm.ParticleFilter(line(at), PARTICLES, 1.0, "biased"), SEEN, key=key)
    exact = jax.jit(jax.grad(lambda at: ssm.log_prob(line(at), SEEN)))(jnp.asarray(LINE))
    assert errors_from(over_keys(lambda key: jax.grad(estimate)(jnp.asarray(LINE), key)), exact).max() > 10


def test_every_parameter_input_and_observation_of_a_batch_has_its_score() -> None:
    """Two sequences of different length with gaps, of a system with inputs."""
    rng = np.random.default_rng(1)
    model = zoo.linear_gaussian(biases=True, num_inputs=2)(jax.random.key(3))
    us, mask = rng.normal(size=(2, 4, 2)), np.ones((2, 4, 2), bool)
    ys = np.stack([ssm.simulate(model, jax.random.key(5 + b), 4, us[b])[1] for b in range(2)])
    mask[0, 1], mask[1, 0, 1] = False, False
    options = {"mask": mask, "lengths": np.array([4, 2])}
    at, exact = flat(lambda all: jnp.sum(ssm.log_prob(*all, **options)), (model, jnp.asarray(ys), jnp.asarray(us)))

    def drawn(all: Any, key: jax.Array) -> jax.Array:
        return jnp.sum(ssm.log_prob(ssm.ParticleFilter(all[0], PARTICLES), *all[1:], key=key, **options))

    _, estimate = flat(drawn, (model, jnp.asarray(ys), jnp.asarray(us)))
    assert weighted(estimate, exact, at) < 5


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_discrete_states_have_the_score_of_the_chain(threshold: float) -> None:
    ys = np.array([0, 1, 1, 2, 0, 2])
    model = zoo.hmm(lambda key: ssm.emissions.Categorical.random(key, 3, 4))(KEY)
    at, exact = flat(lambda model: ssm.log_prob(model, ys), model)
    particles = lambda model, key: ssm.log_prob(ssm.ParticleFilter(model, PARTICLES, threshold), ys, key=key)
    _, estimate = flat(particles, model)
    assert weighted(estimate, exact, at) < 5


class Switch(eqx.Module):
    """x_t is 1 with a probability that depends on x_{t-1}: a real number with a draw that has no derivative."""

    logits: jax.Array

    def __call__(self, x: jax.Array, u: None) -> distrax.Distribution:
        return distrax.Bernoulli(logits=jnp.where(x > 0.5, self.logits[1], self.logits[0]), dtype=float)


def chain(logits: jax.Array) -> ssm.HMM:
    """The same states as whole numbers."""
    one = jax.nn.sigmoid(logits)
    return ssm.HMM(jnp.full(2, 0.5), jnp.stack([1 - one, one], axis=1), ssm.emissions.Normal([0.0, 1.0], [0.5, 0.5]))


def test_real_draws_that_are_no_functions_of_parameters_have_a_score_too() -> None:
    ys = np.array([0.2, 1.3, 0.9, -0.4, 1.1])
    emission = lambda x, u: distrax.Normal(x, 0.5)
    at = jnp.array([-0.6, 0.9])

    def estimate(logits: jax.Array, key: jax.Array) -> jax.Array:
        model = ssm.StateSpaceModel(distrax.Bernoulli(probs=0.5, dtype=float), Switch(logits), emission)
        return ssm.log_prob(ssm.ParticleFilter(model, PARTICLES), ys, key=key)

    assert weighted(estimate, lambda logits: ssm.log_prob(chain(logits), ys), at) < 5


# -- supports that parameters move ----------------------------------------------------------------------------


def test_a_state_without_noise_is_followed() -> None:
    """x_t = rate x_{t-1} from a known start, beside a random walk: the first has no density."""

    def drawn(at: jax.Array, key: jax.Array) -> jax.Array:
        start = distrax.Joint((distrax.Deterministic(at[0]), distrax.Normal(0.0, 1.0)))
        move = lambda x, u: distrax.Joint((distrax.Deterministic(at[1] * x[0]), distrax.Normal(x[1], at[2])))
        model = ssm.StateSpaceModel(start, move, lambda x, u: distrax.Normal(x[0] + x[1], 0.8))
        return ssm.log_prob(ssm.ParticleFilter(model, PARTICLES), SEEN[:, 0], key=key)

    def exact(at: jax.Array) -> jax.Array:
        start = jnp.array([at[0], 0.0])
        move = jnp.diag(jnp.array([at[1], 1.0]))
        noise = jnp.diag(jnp.array([0.0, 1.0]))
        return ssm.log_prob(
            ssm.LinearGaussian(start, noise, move, noise * at[2] ** 2, jnp.ones((1, 2)), jnp.full((1, 1), 0.64)), SEEN
        )

    at = jnp.array([1.5, 0.8, 0.7])
    assert weighted(drawn, exact, at) < 5


def test_a_uniform_start_is_followed() -> None:
    """log p(y) = log (Φ(y) - Φ(y - θ)) - log θ."""
    steady = lambda x, u: distrax.Normal(x, 1.0)

    def drawn(width: jax.Array, key: jax.Array) -> jax.Array:
        model = ssm.StateSpaceModel(distrax.Uniform(0.0, width), steady, steady)
        return ssm.log_prob(ssm.ParticleFilter(model, PARTICLES), np.array([1.2]), key=key)

    draws = over_keys(lambda key: jax.grad(drawn)(jnp.array(2.5), key))
    between = scipy.stats.norm.cdf(1.2) - scipy.stats.norm.cdf(1.2 - 2.5)
    assert errors_from(draws, scipy.stats.norm.pdf(1.2 - 2.5) / between - 1 / 2.5) < 5


def test_a_draw_without_a_density_has_no_score_but_a_derivative() -> None:
    """Singular noise: NaN, never a number; the derivatives of the draws are asked for by name."""
    model = zoo.linear_gaussian(singular=True)(jax.random.key(1))
    ys = np.random.default_rng(0).normal(size=(4, 2))
    at, exact = flat(lambda model: ssm.log_prob(model, ys), model)
    estimate = lambda gradient: flat(
        lambda model, key: ssm.log_prob(ssm.ParticleFilter(model, PARTICLES, 0.5, gradient), ys, key=key), model
    )[1]
    assert np.isnan(jax.jit(jax.grad(estimate("score")))(at, KEY)).any()
    assert np.isfinite(jax.jit(estimate("score"))(at, KEY))
    # What leads out of the noise's own line is not asked for: there the density is not smooth.
    start = lambda model, mean: eqx.tree_at(lambda m: m.initial_mean, model, mean)
    of = lambda make: lambda mean, *key: ssm.log_prob(make(start(model, mean)), ys, **({"key": key[0]} if key else {}))
    particles = of(lambda model: ssm.ParticleFilter(model, PARTICLES, 0.5, "reparameterised"))
    assert weighted(particles, of(lambda model: model), jnp.asarray(model.initial_mean)) < 5


# -- relations ------------------------------------------------------------------------------------------------


def test_the_value_is_the_same_whatever_the_gradient() -> None:
    ask = lambda gradient: ssm.filter(ssm.ParticleFilter(line(jnp.asarray(LINE)), 30, 0.8, gradient), SEEN, key=KEY)
    first = ask("score")
    for gradient in ("marginal", "reparameterised", "biased"):
        jax.tree.map(np.testing.assert_array_equal, ask(gradient), first)


def test_a_fit_by_the_score_goes_where_the_exact_one_goes() -> None:
    model = ssm.LinearGaussian([0.0], [[1.0]], [[0.9]], [[0.4]], [[1.0]], [[0.5]])
    ys = np.asarray(ssm.simulate(model, jax.random.key(4), 60)[1])
    start = ssm.LinearGaussian([0.0], [[1.0]], [[0.3]], [[0.4]], [[1.0]], [[0.5]])
    frozen = [name for name in ("initial_mean", "initial_covariance", "emission_matrix", "emission_covariance")]
    frozen += ["transition_covariance"]
    best = ssm.fit(start, ys, ssm.LBFGS(50), frozen=frozen).model.transition_matrix[0, 0]
    found = ssm.fit(
        ssm.ParticleFilter(start, 100),
        ys,
        ssm.SGD(optax.adam(0.02), 150),
        key=KEY,
        frozen=[f"model.{name}" for name in frozen],
    ).model.model.transition_matrix[0, 0]
    # Steps of 0.02 in directions that are noisy at the maximum stay within a few of them.
    assert abs(float(found - best)) < 0.06


def drifting(rate: jax.Array) -> ssm.StateSpaceModel:
    """x_t = rate x_{t-1}, without noise."""
    start, emission = distrax.Normal(jnp.zeros(()), 1.0), lambda x, u: distrax.Normal(x, 1.0)
    return ssm.StateSpaceModel(start, lambda x, u: distrax.Deterministic(rate * x), emission)


@pytest.mark.parametrize(
    ("gradient", "make", "message"),
    [
        ("fisher", drifting, "gradient: expected one of score, marginal, reparameterised, biased, got 'f"),
        ("reparameterised", lambda rate: chain(jnp.stack([rate, rate])), "has discrete ones"),
        ("score", lambda rate: ssm.ChangePoint(zoo.change_point(KEY).segment, rate, 3), "a NextRun has no log_prob"),
        ("marginal", drifting, '"marginal" needs densities'),
    ],
)
def test_misuse_is_explained(gradient: str, make: Callable, message: str) -> None:
    def slope(rate: jax.Array) -> jax.Array:
        model = make(rate)
        particles = ssm.ParticleFilter(model, 5, 0.5, gradient)
        return ssm.log_prob(particles, np.zeros((3, *model.event_shape)), key=KEY)

    with pytest.raises((TypeError, ValueError), match=message):
        jax.grad(slope)(jnp.array(0.3))
