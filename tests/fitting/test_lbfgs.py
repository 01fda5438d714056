"""L-BFGS reaches maxima that are known, holds what it is told to hold, and goes on where it stood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm

pytestmark = pytest.mark.usefixtures("float64")


def series(length: int = 40) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(np.where((np.arange(length) // 7) % 2, 2.0, -1.0), 0.7)


def model(loc=(-1.0, 1.5)) -> ssm.HMM:
    return ssm.HMM([0.6, 0.4], [[0.8, 0.2], [0.3, 0.7]], ssm.emissions.Normal(list(loc), [1.0, 0.8]))


def test_one_state_ends_at_the_mean_and_the_standard_deviation():
    """Also from far away: at -40 the first steps are a hundred times too long or too short."""
    ys = series()
    for loc in (0.0, -40.0):
        start = ssm.HMM([1.0], [[1.0]], ssm.emissions.Normal([loc], [1.0]))
        fit = ssm.fit(start, ys, ssm.LBFGS(tol=1e-14))
        assert fit.converged and fit.num_iters < 40
        # The loss is flat to rounding, 1e-16, within its square root of the maximum.
        np.testing.assert_allclose(fit.model.emission.loc, [ys.mean()], rtol=1e-6)
        np.testing.assert_allclose(fit.model.emission.scale, [ys.std()], rtol=1e-6)


def test_it_climbs_to_where_em_ends_and_the_history_says_how():
    ys = series()
    fit = ssm.fit(model(), ys, ssm.LBFGS(tol=1e-12), validation=ys[:9])
    em = ssm.fit(model(), ys, ssm.EM(max_iters=500, tol=1e-13))
    np.testing.assert_allclose(fit.log_probs[-1], em.log_probs[-1], rtol=1e-9)
    np.testing.assert_allclose(fit.model.emission.loc, em.model.emission.loc, atol=1e-4)
    np.testing.assert_allclose(fit.start_log_prob, ssm.log_prob(model(), ys), rtol=1e-12)
    np.testing.assert_allclose(fit.log_probs[-1], ssm.log_prob(fit.model, ys), rtol=1e-12)
    np.testing.assert_allclose(fit.log_prob, fit.log_probs[-1], rtol=1e-12)
    np.testing.assert_allclose(fit.validation_log_probs[-1], ssm.log_prob(fit.model, ys[:9]), rtol=1e-12)
    assert fit.converged and np.all(np.diff(fit.log_probs) >= 0) and fit.times.shape == fit.log_probs.shape


def test_frozen_parameters_and_hard_zeros_stay_and_interrupted_fits_go_on(tmp_path):
    """One structure, so one program. A prior is climbed, too: without moves, rows end at its pseudo-counts."""
    transition = ssm.transitions.Homogeneous([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]], 2.0)
    start = ssm.HMM([1.0, 0.0, 0.0], transition, ssm.emissions.Normal([-1.0, 0.0, 1.0], [1.0, 1.0, 1.0]))
    ys, path = series(), tmp_path / "fit"
    run = lambda n, **where: ssm.fit(start, ys, ssm.LBFGS(n, tol=0.0), frozen=["emission.scale"], **where)
    whole = run(14)
    run(4, checkpoint=path)
    resumed = run(14, checkpoint=path)
    np.testing.assert_allclose(resumed.log_probs, whole.log_probs, rtol=1e-12)
    fitted = whole.model
    np.testing.assert_array_equal(fitted.emission.scale, start.emission.scale)
    np.testing.assert_array_equal(np.asarray(fitted.transition)[np.asarray(start.transition) == 0], 0)
    np.testing.assert_array_equal(fitted.initial, [1, 0, 0])
    np.testing.assert_allclose(whole.log_probs[-1], ssm.log_prob(fitted, ys) + fitted.log_prior(), rtol=1e-12)
    np.testing.assert_allclose(whole.log_prob, ssm.log_prob(fitted, ys), rtol=1e-12)
    # At the maximum of evidence and prior, an EM step stands still.
    settled = run(200).model
    step = ssm.fit(settled, ys, ssm.EM(max_iters=1), frozen=["emission.scale"]).model
    np.testing.assert_allclose(step.transition, settled.transition, atol=1e-5)


def test_restarts_climb_each_on_their_own_and_the_best_is_kept():
    """From a start near a lower maximum, by 21 nats: the first of three starts goes where it goes alone, others higher.

    What is frozen is the same in all of them.
    """
    ys, key = series(60), jax.random.key(1)
    start = ssm.HMM([0.6, 0.4], [[0.8, 0.2], [0.3, 0.7]], ssm.emissions.Normal([0.2, 9.0], [1.5, 0.8]))
    fit = lambda n, **more: ssm.fit(start, ys, ssm.LBFGS(60, restarts=n), frozen=["emission.scale"], **more)
    alone, together = fit(1), fit(3, key=key, validation=ys)
    assert alone.restarts is None and together.restarts.shape[0] == 3
    # The same sums, perhaps in another order, in twenty iterations.
    np.testing.assert_allclose(together.restarts[0, : alone.num_iters], alone.log_probs, rtol=1e-6)
    assert np.isnan(together.restarts[0, alone.num_iters :]).all()
    assert together.objective == np.nanmax(together.restarts) > alone.objective + 5
    np.testing.assert_allclose(together.objective, ssm.log_prob(together.model, ys), rtol=1e-10)
    np.testing.assert_allclose(together.validation_log_probs, together.log_probs, rtol=1e-10)
    np.testing.assert_array_equal(together.model.emission.scale, start.emission.scale)
    assert together.converged and together.num_iters == len(together.times)
    with pytest.raises(ValueError, match="key: restarts draw their starting points"):
        fit(3)
    network = ssm.RNN(ssm.cells.Tanh(1, 2, key=key), ssm.heads.Normal(2, 1, key=key))
    with pytest.raises(TypeError, match="restarts: no random RNN can be made from the data"):
        ssm.fit(network, ys[:, None], ssm.LBFGS(restarts=2), key=key)


def test_a_second_fit_compiles_nothing_and_failures_are_named():
    ys = series()
    ssm.fit(model(), ys, ssm.LBFGS(3))
    assert ssm.fit(model(loc=(0.0, 1.0)), ys + 0.1, ssm.LBFGS(5, tol=1e-3)).compile_seconds == 0
    start = ssm.HMM([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]], ssm.emissions.Categorical([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]))
    with pytest.raises(ValueError, match="time step 3 is impossible under the starting model"):
        ssm.fit(start, np.array([0, 1, 2, 0, 1]), ssm.LBFGS())
    with pytest.raises(ValueError, match="max_iters: must be at least 1"):
        ssm.LBFGS(0)


@pytest.mark.slow
def test_a_recurrent_network_and_a_kalman_filter_climb_too():
    ys = series()[:, None]
    key = jax.random.key(0)
    network = ssm.RNN(ssm.cells.Tanh(1, 2, key=key), ssm.heads.Normal(2, 1, key=key))
    kalman = ssm.LinearGaussian([0.0], [[1.0]], [[0.9]], [[0.5]], [[1.0]], [[0.5]])
    for start in (network, kalman):
        fit = ssm.fit(start, ys, ssm.LBFGS(12))
        assert fit.log_probs[-1] > fit.start_log_prob + 1 and np.all(np.diff(fit.log_probs) >= 0)


def test_free_numbers_are_counted():
    banded = [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    start = ssm.HMM([1.0, 0.0, 0.0], ssm.transitions.Homogeneous(banded, 2.0), ssm.emissions.Normal(*jnp.ones((2, 3))))
    assert ssm.num_parameters(start) == 0 + 2 + 6
    assert ssm.num_parameters(start, frozen=["emission.scale"]) == 2 + 3
    assert ssm.num_parameters(ssm.HMM("stationary", [[0.9, 0.1], [0.2, 0.8]], ssm.emissions.Poisson([1.0, 2.0]))) == 4
    gaussian = ssm.emissions.MultivariateNormal(np.zeros((2, 3)), np.stack([np.eye(3)] * 2))
    assert ssm.num_parameters(ssm.HMM([0.5, 0.5], np.full((2, 2), 0.5), gaussian)) == 1 + 2 + 2 * (3 + 6)
    tied = ssm.emissions.SharedScaleNormal([0.0, 1.0], [1.0])
    assert ssm.num_parameters(ssm.HMM([0.5, 0.5], np.full((2, 2), 0.5), tied)) == 1 + 2 + 2 + 1
