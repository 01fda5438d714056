"""States that share parameters, and states that remember: against the plain models that they stand for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import ssm
from ssm.emissions import LinearRegression, Normal, Shared, Tied
from ssm.parameters import constrain
from ssm.transitions import Recent

pytestmark = pytest.mark.usefixtures("float64")

SIZE, LENGTH, TOTAL = 2, 3, 5
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # float64, the same sums in another order
JOINT = np.stack(np.unravel_index(np.arange(SIZE**LENGTH), (SIZE,) * LENGTH), axis=1)  # (K, now and before)


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def dense(probs: np.ndarray) -> np.ndarray:
    """The matrix of all joint states, entry by entry: what was recent moves one place back."""
    return np.array([[probs[i[0], j[0]] * (j[1:] == i[:-1]).all() for j in JOINT] for i in JOINT])


def test_the_recent_states_are_an_operator() -> None:
    rng = np.random.default_rng(0)
    probs = rows(rng, SIZE, SIZE)
    transition, matrix, vector = constrain(Recent(probs, LENGTH)), dense(probs), jnp.asarray(rng.uniform(size=8))
    np.testing.assert_allclose(transition.push(vector, None), vector @ matrix, **CLOSE)
    np.testing.assert_allclose(transition.pull(vector, None), matrix @ vector, **CLOSE)
    np.testing.assert_allclose(transition.matrix(), matrix, **CLOSE)
    np.testing.assert_allclose(transition.row(jnp.asarray(3), None), matrix[3], **CLOSE)
    np.testing.assert_allclose(transition.column(jnp.asarray(3), None), matrix[:, 3], **CLOSE)
    with np.errstate(divide="ignore"):
        best = np.max(np.asarray(vector)[:, None] + np.log(matrix), axis=0)
    np.testing.assert_allclose(transition.best(vector, None), best, **CLOSE)
    stationary = np.asarray(transition.stationary())
    np.testing.assert_allclose(stationary @ matrix, stationary, **CLOSE)
    np.testing.assert_allclose(stationary.sum(), 1, **CLOSE)
    # ξ summed over all pairs of joint states that make the same move of the chain.
    before, gain = rng.uniform(size=(2, 4, 8))
    pairs = matrix * (before.T @ gain)
    counts = np.zeros((SIZE, SIZE))
    np.add.at(counts, (JOINT[:, None, 0], JOINT[None, :, 0]), pairs)
    np.testing.assert_allclose(transition.count(jnp.asarray(before), jnp.asarray(gain), None), counts, **CLOSE)


def test_a_chain_with_memory_is_all_its_paths() -> None:
    rng = np.random.default_rng(1)
    probs, ys = rows(rng, SIZE, SIZE), rng.normal(size=TOTAL)
    emission = Normal(rng.normal(size=8), rng.uniform(0.5, 2, 8))
    model = ssm.HMM(rows(rng, 8), Recent(probs, LENGTH), emission)
    table = oracles.log_likelihood_table(emission, ys, np.ones(TOTAL, bool))
    truth = oracles.enumerate_paths(np.asarray(model.initial), np.stack([dense(probs)] * TOTAL), table)
    smoothed = ssm.smooth(model, ys)
    np.testing.assert_allclose(smoothed.log_prob, truth.log_evidence.sum(), **CLOSE)
    np.testing.assert_allclose(smoothed.smoothed.probs, truth.smoothed, **CLOSE)
    path, _ = ssm.decode(model, ys)
    np.testing.assert_array_equal(path, truth.path)
    for ago in range(LENGTH):
        np.testing.assert_array_equal(model.dynamics.state(path, ago), JOINT[truth.path, ago])
        wanted = np.stack([truth.smoothed[:, JOINT[:, ago] == k].sum(axis=1) for k in range(SIZE)], axis=1)
        np.testing.assert_allclose(model.dynamics.marginal(smoothed.smoothed.probs, ago), wanted, **CLOSE)


def test_memory_that_nothing_asks_for_changes_nothing() -> None:
    """Evidence, and EM, of a chain whose emission reads the latest state alone."""
    rng = np.random.default_rng(2)
    probs, ys, initial = rows(rng, SIZE, SIZE), rng.normal(size=(3, TOTAL)), rows(rng, SIZE)
    emission = Normal([-0.5, 0.7], [0.8, 1.1])
    plain = ssm.HMM(initial, probs, emission)
    start = np.repeat(initial / SIZE ** (LENGTH - 1), SIZE ** (LENGTH - 1))
    recent = ssm.HMM(start, Recent(probs, LENGTH), Tied(emission, SIZE ** (LENGTH - 1)))
    np.testing.assert_allclose(ssm.log_prob(recent, ys), ssm.log_prob(plain, ys), **CLOSE)
    fits = [ssm.fit(model, ys, ssm.EM(3, tol=0.0), progress=False) for model in (plain, recent)]
    np.testing.assert_allclose(fits[0].log_probs, fits[1].log_probs, **CLOSE)
    np.testing.assert_allclose(fits[0].model.transition, fits[1].model.dynamics.probs, **CLOSE)
    stationary = [
        ssm.HMM("stationary", plain.dynamics, emission),
        ssm.HMM("stationary", recent.dynamics, recent.emission),
    ]
    np.testing.assert_allclose(ssm.log_prob(stationary[0], ys), ssm.log_prob(stationary[1], ys), **CLOSE)


def same_spread(p: dict) -> Normal:
    return Normal(p["loc"], jnp.full(3, jnp.exp(p["log_scale"])))


def test_shared_parameters_are_those_of_what_they_make() -> None:
    rng = np.random.default_rng(3)
    loc, log_scale, ys = rng.normal(size=3), 0.3, rng.normal(size=TOTAL)
    initial, transition = rows(rng, 3), rows(rng, 3, 3)
    shared = ssm.HMM(initial, transition, Shared(same_spread, {"loc": loc, "log_scale": log_scale}))
    plain = ssm.HMM(initial, transition, Normal(loc, np.full(3, np.exp(log_scale))))
    mask = np.array([1, 1, 0, 1, 1], bool)
    evidence = jax.value_and_grad(lambda model: ssm.log_prob(model, ys, mask=mask))
    (value, slope), (wanted, other) = jax.jit(lambda: (evidence(shared), evidence(plain)))()
    np.testing.assert_allclose(value, wanted, **CLOSE)
    slope, other = slope.emission, other.emission
    np.testing.assert_allclose(slope.parameters["loc"], other.loc, **CLOSE)
    np.testing.assert_allclose(slope.parameters["log_scale"], np.sum(other._scale.log), **CLOSE)
    probs = jnp.asarray([0.2, 0.5, 0.3])
    ahead = [constrain(model.emission).mixture(probs, None) for model in (shared, plain)]
    np.testing.assert_allclose(ahead[0].log_prob(0.4), ahead[1].log_prob(0.4), **CLOSE)


def test_the_m_step_of_shared_parameters_is_the_pooled_one() -> None:
    """Means weighted by state, and one variance around all of them."""
    rng = np.random.default_rng(4)
    ys, weights = rng.normal(size=40), rng.dirichlet(np.ones(3), 40)
    start = Shared(same_spread, {"loc": np.array([-1.0, 0.0, 1.0]), "log_scale": 0.0})
    observed = np.arange(40) != 7
    maximise = eqx.filter_jit(lambda start, *known: start.maximise(*known).parameters)
    found = maximise(start, jnp.asarray(weights), jnp.asarray(ys), None, jnp.asarray(observed))
    kept = weights * observed[:, None]
    loc = kept.T @ ys / kept.sum(axis=0)
    variance = np.sum(kept * (ys[:, None] - loc) ** 2) / kept.sum()
    # Ten steps of L-BFGS on a problem of four parameters, from one standard deviation away.
    np.testing.assert_allclose(found["loc"], loc, atol=1e-3)
    np.testing.assert_allclose(found["log_scale"], np.log(variance) / 2, atol=1e-3)
    frozen = frozenset({"parameters.['log_scale']"})
    held = maximise(start, jnp.asarray(weights), jnp.asarray(ys), None, None, frozen)
    assert held["log_scale"] == 0 and not np.allclose(held["loc"], [-1, 0, 1])


def test_shared_reads_inputs_as_what_it_makes() -> None:
    make = lambda p: LinearRegression(jnp.stack([p["slope"], -p["slope"]]), jnp.zeros(2), jnp.ones(2))
    model = ssm.HMM([0.5, 0.5], np.full((2, 2), 0.5), Shared(make, {"slope": [0.3, -0.2]}))
    assert (model.num_inputs, model.num_states, model.event_shape) == (2, 2, ())
    with pytest.raises(ValueError, match="inputs"):
        ssm.log_prob(model, np.zeros(4))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Recent(np.eye(2), 1), ValueError, "length"),
        (lambda: Recent(np.ones((2, 2)), 2), ValueError, "probs"),
        (lambda: Shared(lambda p: p, {"loc": 0.0}), TypeError, "make"),
        (lambda: Shared({"loc": 0.0}, same_spread), TypeError, "make"),
    ],
)
def test_misuse_is_named(make, error, words) -> None:
    with pytest.raises(error, match=words):
        make()
