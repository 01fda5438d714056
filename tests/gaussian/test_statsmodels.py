"""Linear-Gaussian models on statsmodels' own data, beside statsmodels: filter, smoother, forecasts, standard errors."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from statsmodels import datasets
    from statsmodels.tsa.statespace.dynamic_factor import DynamicFactor
    from statsmodels.tsa.statespace.mlemodel import MLEModel
    from statsmodels.tsa.statespace.sarimax import SARIMAX
    from statsmodels.tsa.statespace.structural import UnobservedComponents

pytestmark = pytest.mark.usefixtures("float64")

# statsmodels filters covariances, not roots, and inverts them: some 1e-12 of the largest entry is lost to that.
CLOSE = {"rtol": 1e-7, "atol": 1e-9}
AHEAD = 12


def columns(module, *names: str) -> np.ndarray:
    return module.load_pandas().data[list(names)].to_numpy(float, copy=True)


def sunspots() -> tuple[MLEModel, np.ndarray]:
    """An autoregression of order two with a stationary start."""
    ys = columns(datasets.sunspots, "SUNACTIVITY")
    return SARIMAX(ys - ys.mean(), order=(2, 0, 0)), np.array([1.39, -0.69, 274.0])


def trend() -> tuple[MLEModel, np.ndarray]:
    """A local linear trend of the Nile, diffuse, with two stretches missing, one of them at the start."""
    ys = columns(datasets.nile, "volume")
    ys[:5], ys[40:60] = np.nan, np.nan
    return UnobservedComponents(ys, "lltrend", use_exact_diffuse=True), np.array([14000.0, 1500.0, 20.0])


def factor() -> tuple[MLEModel, np.ndarray]:
    """One factor of order two behind the growth of four series, single values of which are missing."""
    ys = 100 * np.diff(np.log(columns(datasets.macrodata, "realgdp", "realcons", "realinv", "realdpi")), axis=0)
    ys = (ys - ys.mean(0)) / ys.std(0)
    ys[np.random.default_rng(0).random(ys.shape) < 0.1] = np.nan
    model = DynamicFactor(ys, k_factors=1, factor_order=2)
    return model, np.array([0.6, 0.55, 0.5, 0.3, 0.5, 0.6, 0.6, 0.9, 0.4, 0.2])


PASSENGERS = [
    112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115, 126, 141, 135, 125, 149, 170, 170, 158, 133, 114,
    140, 145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166, 171, 180, 193, 181, 183, 218, 230, 242, 209, 191,
    172, 194, 196, 196, 236, 235, 229, 243, 264, 272, 237, 211, 180, 201, 204, 188, 235, 227, 234, 264, 302, 293, 259,
    229, 203, 229, 242, 233, 267, 269, 270, 315, 364, 347, 312, 274, 237, 278, 284, 277, 317, 313, 318, 374, 413, 405,
    355, 306, 271, 306, 315, 301, 356, 348, 355, 422, 465, 467, 404, 347, 305, 336, 340, 318, 362, 348, 363, 435, 491,
    505, 404, 359, 310, 337, 360, 342, 406, 396, 420, 472, 548, 559, 463, 407, 362, 405, 417, 391, 419, 461, 472, 535,
    622, 606, 508, 461, 390, 432,
]  # fmt: skip


def airline(differenced: bool = False) -> tuple[MLEModel, np.ndarray]:
    """SARIMA(0, 1, 1)(0, 1, 1)_12 of the logarithm of airline passengers (Box & Jenkins 1976, series G)."""
    assert sum(PASSENGERS) == 40363
    orders = {"order": (0, 1, 1), "seasonal_order": (0, 1, 1, 12)}
    how = {"simple_differencing": True} if differenced else {"use_exact_diffuse": True}
    return SARIMAX(np.log(PASSENGERS), **orders, **how), np.array([-0.40183, -0.55694, 0.0013481])


def ours(model: MLEModel, parameters: np.ndarray) -> ssm.LinearGaussian:
    """The same matrices; the same convention of time, that the initial state is that of the first observation."""
    model.update(parameters)
    system = model.ssm
    mean, diffuse, covariance = system.initialization(model=system)
    noise = system["selection"] @ system["state_cov"] @ system["selection"].T
    return ssm.LinearGaussian(
        mean, covariance, system["transition"], noise, system["design"], system["obs_cov"],
        system["state_intercept"].ravel(), system["obs_intercept"].ravel(), diffuse=np.diagonal(diffuse) > 0,
    )  # fmt: skip


def padded(model: MLEModel) -> tuple[np.ndarray, np.ndarray]:
    """The data with times ahead, and what of that was observed."""
    ys = np.concatenate([model.endog, np.full((AHEAD, model.endog.shape[1]), np.nan)])
    return np.nan_to_num(ys), ~np.isnan(ys)


def both(model: MLEModel, parameters: np.ndarray):
    """Our smoothed states up to `AHEAD`, and statsmodels' results."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = model.smooth(parameters)
    ys, seen = padded(model)
    return ssm.smooth(ours(model, parameters), ys, mask=seen), results


def close(answer, mean: np.ndarray, covariance: np.ndarray, results) -> None:
    """Means (D, T) and covariances (D, D, T), on the scale of the largest mean and of the last predicted variance."""
    spread = np.abs(results.predicted_state_cov[..., -1]).max()
    np.testing.assert_allclose(answer.mean, mean.T, rtol=CLOSE["rtol"], atol=CLOSE["atol"] * np.abs(mean).max())
    covariance = covariance.transpose(2, 0, 1)
    np.testing.assert_allclose(answer.covariance, covariance, rtol=CLOSE["rtol"], atol=CLOSE["atol"] * spread)


@pytest.mark.parametrize("case", [sunspots, trend, factor, pytest.param(airline, marks=pytest.mark.slow)])
def test_log_likelihood_smoothed_states_and_forecasts(case) -> None:
    model, parameters = case()
    answer, truth = both(model, parameters)
    np.testing.assert_allclose(answer.log_prob, truth.llf, **CLOSE)
    size = len(model.endog)
    past, future = (jax.tree.map(lambda leaf: leaf[part], answer.smoothed) for part in (slice(size), slice(size, None)))
    close(past, truth.smoothed_state, truth.smoothed_state_cov, truth)
    emission = ours(model, parameters)
    ahead = truth.get_forecast(AHEAD)
    mean = future.mean @ emission.emission_matrix.T + emission.emission_bias
    variance = emission.emission_matrix @ future.covariance @ emission.emission_matrix.T + emission.emission_covariance
    np.testing.assert_allclose(mean.squeeze(), ahead.predicted_mean, **CLOSE)
    variances = np.diagonal(variance, axis1=1, axis2=2).squeeze()
    np.testing.assert_allclose(np.sqrt(variances), ahead.se_mean, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("case", [sunspots, trend, factor])
def test_filtered_and_predicted_states_and_the_verb_forecast(case) -> None:
    model, parameters = case()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = model.smooth(parameters)
    own, burn = ours(model, parameters), 10  # after the two times that the trend takes to be known
    ys, seen = model.endog, ~np.isnan(model.endog)
    answer = ssm.filter(own, np.nan_to_num(ys), mask=seen)
    late = lambda belief: jax.tree.map(lambda leaf: leaf[burn:], belief)
    close(late(answer.filtered), truth.filtered_state[:, burn:], truth.filtered_state_cov[..., burn:], truth)
    close(late(answer.predicted), truth.predicted_state[:, burn:-1], truth.predicted_state_cov[..., burn:-1], truth)
    np.testing.assert_allclose(answer.log_evidence, truth.llf_obs, rtol=1e-7, atol=1e-7)
    ahead, ahead_truth = ssm.forecast(own, np.nan_to_num(ys), AHEAD, mask=seen), truth.get_forecast(AHEAD)
    np.testing.assert_allclose(ahead.mean.squeeze(), ahead_truth.predicted_mean, **CLOSE)
    np.testing.assert_allclose(ahead.stddev.squeeze(), ahead_truth.se_mean, **CLOSE)


def test_the_airline_model_has_its_published_likelihood() -> None:
    model, parameters = airline(differenced=True)
    log_prob = ssm.log_prob(ours(model, parameters), model.endog)
    np.testing.assert_allclose(log_prob, model.loglike(parameters), **CLOSE)
    np.testing.assert_allclose(log_prob, 244.6965, atol=1e-4)  # as published, at its maximum


@pytest.mark.slow
def test_the_airline_model_with_a_diffuse_start_is_that_of_differences() -> None:
    # The differences cancel thirteen numbers that nothing is known of, each resolved by one observation: -½ log 2π.
    whole, parameters = airline()
    differences, _ = airline(differenced=True)
    logs = [ssm.log_prob(ours(model, parameters), model.endog) for model in (whole, differences)]
    np.testing.assert_allclose(logs[0] + 13 / 2 * np.log(2 * np.pi), logs[1], **CLOSE)


@pytest.mark.slow
def test_standard_errors_of_the_level_of_the_nile() -> None:
    ys = columns(datasets.nile, "volume")
    model, best = UnobservedComponents(ys, "llevel", use_exact_diffuse=True), np.array([15098.52, 1469.176])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = model.smooth(best, cov_type="approx", cov_kwds={"approx_complex_step": True, "approx_centered": True})
    frozen = ["transition_matrix", "emission_matrix", "transition_bias", "emission_bias"]
    errors = ssm.standard_errors(ours(model, best), ys, frozen=frozen)
    found = [errors.emission_covariance[0, 0], errors.transition_covariance[0, 0]]
    # Theirs are differences of second order, with steps of 6e-6 of the parameters: their own tests ask for four digits.
    np.testing.assert_allclose(found, truth.bse, rtol=1e-4)


@pytest.mark.slow
def test_standard_errors_of_an_autoregression() -> None:
    # The stationary start moves with the parameters: second derivatives of a function of the user's own.
    model, _ = sunspots()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = model.fit(disp=False, cov_type="approx", cov_kwds={"approx_complex_step": True})

    def log_prob(parameters: jax.Array) -> jax.Array:
        first, second, variance = parameters
        transition = jnp.array([[first, 1.0], [second, 0.0]])
        noise = jnp.zeros((2, 2)).at[0, 0].set(variance)
        start = jnp.linalg.solve(jnp.eye(4) - jnp.kron(transition, transition), noise.ravel()).reshape(2, 2)
        model_of = ssm.LinearGaussian(jnp.zeros(2), start, transition, noise, jnp.eye(1, 2), jnp.zeros((1, 1)))
        return ssm.log_prob(model_of, model.endog)

    information = -jax.jit(jax.jacfwd(jax.grad(log_prob)))(jnp.asarray(truth.params))
    np.testing.assert_allclose(np.sqrt(np.diagonal(np.linalg.inv(information))), truth.bse, rtol=1e-4)
