"""The particle filter against exact filters, against plain importance sampling, and against itself."""

import distrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import central_differences
from scipy import stats

import ssm
from ssm.beliefs import Particles
from ssm.recursions.particles.particle_filter import systematic

KEY = jax.random.key(0)


def linear_gaussian() -> ssm.LinearGaussian:
    """D = 2 states, N = 2 observations, nothing diagonal."""
    return ssm.LinearGaussian(
        jnp.array([0.5, -0.5]),
        jnp.array([[1.0, 0.2], [0.2, 0.5]]),
        jnp.array([[0.9, 0.3], [-0.2, 0.7]]),
        jnp.array([[0.4, 0.1], [0.1, 0.3]]),
        jnp.array([[1.0, 0.5], [0.0, 1.0]]),
        jnp.array([[0.5, 0.2], [0.2, 0.8]]),
    )


def hmm() -> ssm.HMM:
    """K = 3 states and C = 3 symbols."""
    transition = jnp.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6]])
    probs = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]])
    return ssm.HMM(jnp.array([0.5, 0.3, 0.2]), transition, ssm.emissions.Categorical(probs))


def random_walk(scale: float = 0.5, start: float = 1.0) -> ssm.StateSpaceModel:
    """A scalar state that shrinks, seen with unit noise."""
    return ssm.StateSpaceModel(
        distrax.Normal(start, scale), lambda x, u: distrax.Normal(0.8 * x, scale), lambda x, u: distrax.Normal(x, 1.0)
    )


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """(10, 2) observations of the linear-Gaussian model, with one step and one component missing."""
    ys = np.array(ssm.simulate(linear_gaussian(), jax.random.key(7), 10)[1])
    ys[3], ys[6, 1] = np.nan, np.nan
    return ys


@pytest.fixture(scope="module")
def exact(vectors: np.ndarray) -> tuple[ssm.Filtered, ssm.Smoothed]:
    """What the Kalman filter and the Rauch-Tung-Striebel smoother say."""
    return ssm.filter(linear_gaussian(), vectors), ssm.smooth(linear_gaussian(), vectors)


@pytest.fixture(scope="module")
def run() -> ssm.Filtered:
    """One particle filter over SCALARS."""
    return ssm.filter(PARTICLES, SCALARS, key=KEY)


SYMBOLS = np.array([0, 1, 1, 2, 0, 0, 2, 1])
SCALARS = np.array([0.8, 0.1, 1.2, -0.4, 0.3, 0.9], np.float32)
PARTICLES = ssm.ParticleFilter(random_walk(), 30, 0.8)


def over_keys(function, count: int):
    """function(key) for many keys at once: (count, ...)."""
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(1), count)))


def assert_mean(draws: np.ndarray, exact: np.ndarray, errors: float = 4.0) -> None:
    """The mean over the leading axis lies within so many of its standard errors of the exact value."""
    mean, error = draws.mean(0), draws.std(0) / np.sqrt(len(draws))
    worst = np.max(np.abs(mean - exact) / error)
    assert worst < errors, f"{worst:.1f} standard errors: {mean} against {exact}"


# -- against exact filters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("resample_below", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_evidence_is_unbiased_for_a_linear_gaussian_model(vectors, exact, resample_below):
    particles = ssm.ParticleFilter(linear_gaussian(), 200, resample_below)
    estimates = over_keys(lambda key: ssm.log_prob(particles, vectors, key=key), 1000)
    assert_mean(np.exp(estimates - exact[0].log_prob), 1.0, errors=3)


def test_evidence_is_unbiased_for_a_hidden_markov_model():
    particles = ssm.ParticleFilter(hmm(), 50)
    estimates = over_keys(lambda key: ssm.log_prob(particles, SYMBOLS, key=key), 1000)
    assert_mean(np.exp(estimates - ssm.log_prob(hmm(), SYMBOLS)), 1.0, errors=3)


def test_filtered_and_smoothed_means_are_the_exact_ones(vectors, exact):
    particles = ssm.ParticleFilter(linear_gaussian(), 300)
    both = lambda key: (
        ssm.filter(particles, vectors, key=key).filtered.mean,
        ssm.smooth(particles, vectors, key=key).smoothed.mean,
    )
    filtered, smoothed = over_keys(both, 20)
    assert_mean(filtered, exact[0].filtered.mean)
    assert_mean(smoothed, exact[1].smoothed.mean)
    np.testing.assert_array_equal(smoothed[:, -1], filtered[:, -1])


def test_drawn_paths_have_the_smoothed_moments(vectors, exact):
    particles = ssm.ParticleFilter(linear_gaussian(), 200)
    paths = over_keys(lambda key: ssm.posterior_sample(particles, key, vectors, 100), 20)  # (20, 100, T, D)
    smoothed = exact[1].smoothed
    assert_mean(paths.mean(1), smoothed.mean)
    variance = np.diagonal(smoothed.covariance, axis1=-2, axis2=-1)
    assert_mean(np.mean((paths - smoothed.mean) ** 2, axis=1), variance)


def test_drawn_paths_move_as_often_as_the_chain():
    """The joint of neighbours, which marginal smoothing cannot show: expected transition counts."""
    particles = ssm.ParticleFilter(hmm(), 200)
    paths = over_keys(lambda key: ssm.posterior_sample(particles, key, SYMBOLS, 50), 20)
    moves = jax.nn.one_hot(paths[..., :-1], 3)[..., :, None] * jax.nn.one_hot(paths[..., 1:], 3)[..., None, :]
    exact = ssm.expected_statistics(hmm(), SYMBOLS).transitions
    assert_mean(np.asarray(moves.sum(2).mean(1)), exact)


def test_forecast_is_the_exact_one_up_to_its_draws(vectors):
    exact = ssm.forecast(linear_gaussian(), vectors, 3)
    drawn = ssm.forecast(ssm.ParticleFilter(linear_gaussian(), 4000), vectors, 3, num_samples=4000, key=KEY)
    # 4000 draws: a standard error of σ/63 for means, about twice that at the 5 % quantile; five of each.
    assert np.max(np.abs(drawn.mean - exact.mean) / exact.stddev) < 5 / 63
    assert np.max(np.abs(drawn.quantile(0.05) - exact.quantile(0.05)) / exact.stddev) < 10 / 63


def test_forecast_of_symbols_gives_probabilities():
    drawn = ssm.forecast(ssm.ParticleFilter(hmm(), 4000), SYMBOLS, 2, num_samples=4000, key=KEY)
    # Standard error below 0.5 / 63 for each probability.
    np.testing.assert_allclose(drawn.probs, ssm.forecast(hmm(), SYMBOLS, 2).probs, atol=5 * 0.5 / 63)


def test_vanishing_noise_leaves_the_deterministic_model():
    exact = stats.norm.logpdf(SCALARS, 0.8 ** np.arange(6)).sum()

    def error(scale: float) -> float:
        particles = ssm.ParticleFilter(random_walk(scale), 100)
        return abs(float(ssm.log_prob(particles, SCALARS, key=KEY)) - exact)

    assert error(0.1) > 1e-2  # the noise matters at first
    assert error(1e-5) < 2e-5  # evidence moves in proportion to the noise, above float32's rounding of the sum


# -- resampling -----------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=40), st.integers(0, 2**31 - 1))
def test_systematic_resampling_rounds_expected_counts(raw, seed):
    weights = np.asarray(raw, np.float32) + (np.sum(raw) == 0)
    weights /= weights.sum()
    counts = np.bincount(jax.jit(systematic)(jax.random.key(seed), jnp.asarray(weights)), minlength=len(raw))
    assert counts.sum() == len(raw)
    # One tooth of the comb more or less, and float32's rounding of the cumulative weights.
    assert np.max(np.abs(counts - len(raw) * weights)) < 1 + 1e-5
    assert not counts[weights == 0].any()


def test_systematic_resampling_is_unbiased():
    weights = jnp.array([0.05, 0.0, 0.33, 0.5, 0.12])
    counts = over_keys(lambda key: jnp.bincount(systematic(key, weights), length=5), 4000)
    seen = np.array(weights) > 0
    assert_mean(counts[:, seen], 5 * np.asarray(weights)[seen])
    assert not counts[:, ~seen].any()


def test_systematic_resampling_keeps_to_possible_particles_when_there_are_many():
    weights = jnp.zeros(100_000).at[10:20].set(0.1)
    chosen = np.asarray(systematic(KEY, weights))
    assert chosen.min() == 10 and chosen.max() == 19


def test_threshold_zero_is_importance_sampling():
    run = ssm.filter(ssm.ParticleFilter(random_walk(), 30, resample_below=0), SCALARS, key=KEY)
    np.testing.assert_array_equal(run.filtered.ancestors, np.broadcast_to(np.arange(30), (6, 30)))
    totals = np.cumsum(stats.norm.logpdf(SCALARS[:, None], np.asarray(run.filtered.points)), axis=0)  # (T, P)
    np.testing.assert_allclose(np.cumsum(run.log_evidence), np.log(np.mean(np.exp(totals), axis=1)), rtol=1e-5)
    weights = np.exp(totals) / np.exp(totals).sum(1, keepdims=True)
    np.testing.assert_allclose(run.filtered.weights, weights, rtol=1e-4)  # 6 float32 increments in an exponent


def test_resampling_happens_exactly_below_the_threshold(run):
    low = np.asarray(run.filtered.effective_size)[:-1] < 30 * 0.8
    uniform = np.ptp(np.asarray(run.predicted.log_weights), axis=1)[1:] == 0
    np.testing.assert_array_equal(uniform, low)
    assert low.any() and not low.all()


# -- the laws of a recursion ----------------------------------------------------------------------------------


def test_evidence_is_the_density_of_the_predicted_mixture():
    particles = ssm.ParticleFilter(linear_gaussian(), 20)
    points = jax.random.normal(KEY, (20, 2))
    prior = Particles(points, jax.nn.log_softmax(points[:, 0]), jnp.arange(20))
    y = jnp.array([0.3, -1.0])

    @jax.jit
    def ask() -> tuple:
        steps = particles.prepare(ssm.data.observe(particles, np.zeros((1, 2))).steps)
        u = jax.tree.map(lambda leaf: leaf[0], steps.u)
        mixture = particles.emit(prior, u)
        draws = jax.vmap(lambda key: mixture.sample(seed=key))(jax.random.split(KEY, 2000))
        return particles.update(prior, u, y)[1], mixture.log_prob(y), mixture.mean(), mixture.variance(), draws

    evidence, log_prob, mean, variance, draws = ask()
    np.testing.assert_allclose(evidence, log_prob, rtol=1e-6)
    matrix, noise = np.asarray(linear_gaussian().emission_matrix), np.asarray(linear_gaussian().emission_covariance)
    means, weights = np.asarray(points) @ matrix.T, np.asarray(prior.weights)
    density = stats.multivariate_normal(cov=noise).pdf(np.asarray(y) - means)
    np.testing.assert_allclose(log_prob, np.log(weights @ density), rtol=1e-5)
    np.testing.assert_allclose(mean, weights @ means, rtol=1e-5)
    spread = np.cov(means.T, aweights=weights, bias=True) + noise
    np.testing.assert_allclose(variance, np.diagonal(spread), rtol=1e-5)
    assert_mean(np.asarray(draws), weights @ means)
    assert_mean((np.asarray(draws) - weights @ means) ** 2, np.diagonal(spread))


def test_same_key_same_answer_and_prefixes_agree(run):
    again = ssm.filter(PARTICLES, SCALARS, key=KEY)
    start = ssm.filter(PARTICLES, SCALARS[:4], key=KEY)
    np.testing.assert_array_equal(run.filtered.points, again.filtered.points)
    np.testing.assert_allclose(run.filtered.points[:4], start.filtered.points, rtol=1e-6)
    np.testing.assert_allclose(run.log_evidence[:4], start.log_evidence, rtol=1e-5)
    assert not np.allclose(ssm.filter(PARTICLES, SCALARS, key=jax.random.key(1)).log_evidence, run.log_evidence)


@pytest.mark.slow  # a law of test_laws.py, here of other particles
def test_streaming_is_filtering(run):
    state, increments = ssm.init(PARTICLES, key=KEY), []
    for y in SCALARS:
        state, increment = ssm.step(PARTICLES, state, y, key=KEY)
        increments.append(increment)
    np.testing.assert_allclose(increments, run.log_evidence, rtol=1e-5)


@pytest.mark.slow  # a law of test_gradients.py, here with other values
def test_masked_values_touch_nothing(vectors):
    mask = ~np.isnan(vectors)
    particles = ssm.ParticleFilter(linear_gaussian(), 30)
    ask = jax.jit(jax.value_and_grad(lambda model, ys: ssm.log_prob(model, ys, mask=mask, key=KEY)))
    expected = ask(particles, np.where(mask, vectors, 0.0).astype(np.float32))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    for wrong in (np.nan, 1e6):
        found = ask(particles, np.where(mask, vectors, wrong).astype(np.float32))
        jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow  # a law of test_laws.py, here of other particles
def test_padding_changes_nothing_and_a_batch_is_a_loop():
    ys, lengths = ssm.pad([SCALARS, SCALARS[3:5], SCALARS[2:]])
    together = ssm.smooth(PARTICLES, ys, lengths=lengths, key=KEY)
    for b, length in enumerate(lengths):
        alone = ssm.smooth(PARTICLES, np.asarray(ys[b, :length]), key=jax.random.fold_in(KEY, b))
        np.testing.assert_allclose(together.log_prob[b], alone.log_prob, rtol=1e-5)
        # Weights are exponentials of sums, and a smoothed mean of points near one may nearly cancel.
        np.testing.assert_allclose(together.smoothed.mean[b, :length], alone.smoothed.mean, rtol=1e-4, atol=1e-5)


def test_an_impossible_observation_is_named_and_survived():
    probs = jnp.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    chain = ssm.HMM(jnp.array([0.5, 0.5]), jnp.full((2, 2), 0.5), ssm.emissions.Categorical(probs))
    particles = ssm.ParticleFilter(chain, 20)
    run = ssm.filter(particles, np.array([0, 1, 2, 1]), key=KEY)
    assert run.first_impossible == 2 and run.log_prob == -np.inf
    assert np.isfinite(run.log_evidence[jnp.array([0, 1, 3])]).all()
    np.testing.assert_array_equal(run.filtered.log_weights[2], run.predicted.log_weights[2])
    gradient = jax.jit(jax.grad(lambda model: ssm.log_prob(model, np.array([0, 1, 2, 1]), key=KEY)))(particles)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


# -- models made of functions ---------------------------------------------------------------------------------


class Decay(eqx.Module):
    """x_t = rate x_{t-1} + input effect + noise."""

    rate: jax.Array
    effect: jax.Array

    def __call__(self, x: jax.Array, u: jax.Array | None) -> distrax.Distribution:
        shift = 0.0 if u is None else jnp.sum(self.effect * u)
        return distrax.Normal(self.rate * x + shift, 0.5)


def test_gradient_of_importance_sampling_is_that_of_differences():
    """Without resampling the estimate is a smooth function of the parameters at fixed draws."""
    with jax.enable_x64(True):

        def estimate(parameters: jax.Array) -> jax.Array:
            model = ssm.StateSpaceModel(
                distrax.Normal(parameters[0], 1.0),
                Decay(parameters[1], parameters[2]),
                lambda x, u: distrax.Normal(x, 1.0),
            )
            particles = ssm.ParticleFilter(model, 20, 0, "reparameterised")
            return ssm.log_prob(particles, SCALARS, np.ones(6), key=KEY)

        at = jnp.array([0.3, 0.8, 0.2])
        expected = central_differences(jax.jit(estimate), at)
        np.testing.assert_allclose(jax.jit(jax.grad(estimate))(at), expected, rtol=1e-6)


def test_gradient_reaches_the_arrays_of_a_model_through_jit():
    model = ssm.StateSpaceModel(
        distrax.Normal(0.0, 1.0), Decay(jnp.array(0.8), jnp.zeros(2)), lambda x, u: distrax.Normal(x, 1.0)
    )
    particles = ssm.ParticleFilter(model, 50)
    score = jax.jit(jax.grad(lambda model, u: ssm.log_prob(model, SCALARS, u, key=KEY)))
    gradient = score(particles, jnp.ones((6, 2)))
    for leaf in (gradient.model.transition.rate, gradient.model.transition.effect, gradient.model.initial.loc):
        assert np.isfinite(leaf).all() and np.any(leaf != 0)


def test_simulated_moments_are_those_of_the_model():
    states, ys = over_keys(lambda key: ssm.simulate(random_walk(), key, 4), 4000)
    mean, variance = 0.8 ** np.arange(4), [0.25]
    for _ in range(3):
        variance.append(0.64 * variance[-1] + 0.25)
    assert_mean(states, mean)
    assert_mean((ys - mean) ** 2, np.array(variance) + 1)


@pytest.mark.slow  # a law of test_laws.py, here of other particles
def test_simulations_of_different_length_begin_alike():
    long, short = (ssm.simulate(random_walk(), KEY, steps)[1] for steps in (9, 5))
    np.testing.assert_allclose(long[:5], short, rtol=1e-6)
    np.testing.assert_array_equal(ssm.simulate(ssm.ParticleFilter(random_walk(), 3), KEY, 5)[1], short)


def test_event_shape_is_that_of_a_draw():
    steady = lambda x, u: distrax.Normal(x, 1.0)
    start = distrax.Normal(jnp.zeros(3), 1.0)
    assert ssm.StateSpaceModel(start, steady, steady).event_shape == (3,)
    counts = ssm.StateSpaceModel(start, steady, lambda x, u: distrax.Categorical(logits=x))
    assert (counts.event_shape, counts.event_kind, counts.num_classes) == ((), "symbol", 3)
    reads = lambda x, u: distrax.Normal(x[:2] + u[0], 1.0)
    reading = ssm.StateSpaceModel(lambda u: distrax.Normal(u, 1.0), steady, reads, example_input=jnp.zeros(3))
    assert (reading.event_shape, reading.num_inputs) == ((2,), 3)
    with pytest.raises(ValueError, match="reads 3 inputs per step"):
        ssm.simulate(reading, KEY, 4)


def test_independent_components_may_be_missing_one_by_one():
    steady = lambda x, u: distrax.Normal(x, 1.0)
    pair = ssm.StateSpaceModel(distrax.Normal(jnp.zeros(2), 1.0), steady, steady)
    one = ssm.StateSpaceModel(distrax.Normal(jnp.zeros(2), 1.0), steady, lambda x, u: distrax.Normal(x[:1], 1.0))
    ys = np.stack([SCALARS, np.full(6, np.nan)], axis=1)
    ys[0, 1] = 0.5  # else the second component would not be missing but never there
    seen = ssm.log_prob(ssm.ParticleFilter(pair, 30), ys[1:], key=KEY)
    np.testing.assert_allclose(seen, ssm.log_prob(ssm.ParticleFilter(one, 30), ys[1:, :1], key=KEY), rtol=1e-6)


def growing() -> ssm.StateSpaceModel:
    """A transition that makes a vector of a scalar."""
    steady = lambda x, u: distrax.Normal(x, 1.0)
    return ssm.StateSpaceModel(distrax.Normal(0.0, 1.0), lambda x, u: distrax.Normal(jnp.ones(2), 1.0), steady)


@pytest.mark.parametrize(
    ("misuse", "error", "message"),
    [
        (lambda: ssm.data.observe(random_walk(), SCALARS), TypeError, r"wrap it: ssm.ParticleFilter\(model, num_part"),
        (lambda: ssm.log_prob(ssm.ParticleFilter(random_walk(), 9), SCALARS), ValueError, "key: log_prob of a Part"),
        (lambda: ssm.ParticleFilter(random_walk(), 0), ValueError, "num_particles: must be at least 1, got 0"),
        (lambda: ssm.ParticleFilter(random_walk(), 9, 1.5), ValueError, "resample_below: expected a share .* got 1.5"),
        (lambda: ssm.StateSpaceModel(3, lambda x, u: x, lambda x, u: x), TypeError, "initial: expected a distribution"),
        (
            lambda: ssm.StateSpaceModel(distrax.Normal(0.0, 1.0), lambda x, u: x, lambda x, u: x),
            TypeError,
            "emission: expected it to return a distribution, got",
        ),
        (
            lambda: ssm.simulate(growing(), KEY, 3),
            ValueError,
            r"transition: the state has shape \(\), but .* over shape \(2,\)",
        ),
    ],
)
def test_misuse_is_explained(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()


def test_an_emission_that_reads_inputs_asks_for_an_example():
    steady = lambda x, u: distrax.Normal(x, 1.0)
    with pytest.raises(TypeError) as caught:
        ssm.StateSpaceModel(distrax.Normal(0.0, 1.0), steady, lambda x, u: distrax.Normal(x + u[0], 1.0))
    assert any("example_input" in note for note in caught.value.__notes__)
