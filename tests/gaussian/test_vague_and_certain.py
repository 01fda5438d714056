"""States that are vague at first and certain later, seen without noise: no way back may lose what is known of them."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm

PHI, THETA, TOTAL = 0.5, 0.4, 100


def wide(array: object) -> np.ndarray:
    return np.vectorize(decimal.Decimal, otypes=[object])(np.asarray(array, float))


def smoothed(given: list, ys: np.ndarray, vague: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Means, covariances and evidence with 200 digits: of what costs half of them a hundred are left.

    For one component without noise. `vague` states begin with a variance of 1e60.
    """
    with decimal.localcontext(prec=200):
        mean, spread, matrix, noise, look = (wide(each) for each in given[:5])
        look, seen, evidence = look[0], [], 0.0
        if vague is not None:
            spread[vague, vague] = decimal.Decimal(10) ** 60
        for t, y in enumerate(wide(ys[:, 0])):
            if t:
                mean, spread = matrix.dot(mean), matrix.dot(spread).dot(matrix.T) + noise
            across, surprise = spread.dot(look), y - look.dot(mean)
            variance = look.dot(across)
            seen.append((mean, spread, surprise / variance, variance, across))
            evidence -= float(surprise**2 / variance + variance.ln()) / 2 + np.log(2 * np.pi) / 2
            mean, spread = mean + across * (surprise / variance), spread - np.outer(across, across) / variance
        slope, curvature, means, covariances = wide(np.zeros(3)), wide(np.zeros((3, 3))), [], []
        for mean, spread, surprise, variance, across in reversed(seen):
            kept = wide(np.eye(3)) - np.outer(across, look) / variance
            slope = look * surprise + kept.T.dot(slope)
            curvature = np.outer(look, look) / variance + kept.T.dot(curvature).dot(kept)
            means.append(mean + spread.dot(slope))
            covariances.append(spread - spread.dot(curvature).dot(spread))
            slope, curvature = matrix.T.dot(slope), matrix.T.dot(curvature).dot(matrix)
        return np.array(means[::-1], float), np.array(covariances[::-1], float), evidence


def arima(spread: float, total: int = TOTAL, also: float = 0.0, dtype: type = np.float64) -> tuple[list, np.ndarray]:
    """An ARIMA(1, 1, 1) as level, change and its moving average, seen without noise; and data of it."""
    noise, rng = 1e-2 * np.array([0, 1, THETA]), np.random.default_rng(0)
    matrix = np.array([[1, 1, 0], [0, PHI, 1], [0, 0, 0]])
    look = np.array([[1, also, 0]])
    given = np.zeros(3), spread * np.eye(3), matrix, np.outer(noise, noise), look, np.zeros((1, 1))
    state, ys = np.sqrt(spread) * rng.normal(size=3), []
    for _ in range(total):
        ys.append(look @ state)
        state = matrix @ state + noise * rng.normal()
    return [np.asarray(each, dtype) for each in given], np.array(ys).astype(dtype)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("schedule", ["auto", pytest.param("sequential", marks=pytest.mark.slow)])
def test_what_is_seen_without_noise_is_smoothed_to_rounding(schedule: str) -> None:
    """Through reversed kernels it was off by up to 1e84, by the adjoint of sums that cancel by .06."""
    for spread, also, total in ((1.0, 0.0, 300), (1e2, 0.0, 300), (1e4, 0.0, 300), (1e2, 1.0, 300)):
        given, ys = arima(spread, total, also)
        found = ssm.smooth(ssm.LinearGaussian(*given), ys, schedule=schedule).smoothed
        means, covariances, _ = smoothed(given, ys)
        # Some hundred roundings of 2e-16, of states of 40 and less and of what they were expected to be.
        close = 1e-13 * max(np.sqrt(spread), np.abs(means).max())
        np.testing.assert_allclose(found.mean @ given[4].T, ys, rtol=0, atol=close)
        np.testing.assert_allclose(found.mean, means, rtol=0, atol=10 * close)
        np.testing.assert_allclose(found.covariance, covariances, rtol=0, atol=1e-14 * np.abs(covariances).max())


def test_it_is_smoothed_to_rounding_in_float32() -> None:
    """It was off by .07 for deviations of .01, and by 3 for a first guess of 1e4."""
    for spread in (1.0, 1e4):
        given, ys = arima(spread, dtype=np.float32)
        found = ssm.smooth(ssm.LinearGaussian(*given), ys).smoothed
        means, covariances, _ = smoothed(given, ys)
        # Roundings of 6e-8, of states and of what they were expected to be: some 1 % of a deviation for 1e4.
        np.testing.assert_allclose(found.mean, means, rtol=0, atol=2e-6 * np.sqrt(spread))
        np.testing.assert_allclose(found.covariance, covariances, rtol=0, atol=1e-5 * 1e-4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("vague", [[1], pytest.param([0, 1], marks=pytest.mark.slow)])
def test_so_is_a_diffuse_start(vague: list[int]) -> None:
    given, ys = arima(1.0)
    model = ssm.LinearGaussian(*given, diffuse=np.isin(range(3), vague))
    found = ssm.smooth(model, ys).smoothed
    means, covariances, _ = smoothed(given, ys, np.array(vague))
    np.testing.assert_allclose(found.mean, means, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariances, rtol=0, atol=1e-15)


@pytest.mark.usefixtures("float64")
def test_sequences_side_by_side_are_those_alone() -> None:
    given, ys = arima(1e2, 60, 1.0)
    both, lengths = np.stack([ys, ys[::-1]]), np.array([60, 40])
    found = np.asarray(ssm.smooth(ssm.LinearGaussian(*given), both, lengths=lengths).smoothed.mean)
    for alone, mean in zip((ys, ys[::-1][:40]), found, strict=True):
        np.testing.assert_allclose(mean[: len(alone)], smoothed(given, alone)[0], rtol=0, atol=1e-11)


@pytest.mark.usefixtures("float64")
def test_what_is_learnt_from_and_drawn_is_what_is_smoothed() -> None:
    given, ys = arima(1e2, 60, 1.0)
    model, draws = ssm.LinearGaussian(*given), 500
    means, covariances, _ = smoothed(given, ys)
    found = ssm.expected_statistics(model, ys)
    squares = np.einsum("ti,tj->tij", means, means) + covariances
    np.testing.assert_allclose(found.initial.targets, squares[0], rtol=1e-10)
    np.testing.assert_allclose(found.emission.regressors, squares.sum(0), rtol=0, atol=1e-12 * squares.sum(0).max())
    paths = np.asarray(ssm.posterior_sample(model, jax.random.key(0), ys, draws))
    np.testing.assert_allclose(paths @ given[4].T, np.broadcast_to(ys, (draws, 60, 1)), rtol=0, atol=1e-11)
    spread = np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 0))
    # Five standard errors of a mean; what is certain is so to rounding.
    assert (np.abs(paths.mean(0) - means) <= 5 / np.sqrt(draws) * spread + 1e-11).all()


@pytest.mark.usefixtures("float64")
def test_a_fixed_lag_is_the_end_of_shorter_data() -> None:
    given, ys = arima(1e2, 60, 1.0)
    found = np.asarray(ssm.fixed_lag_smooth(ssm.LinearGaussian(*given), ys, 20).smoothed.mean)
    for t in (0, 3, 30):
        np.testing.assert_allclose(found[t], smoothed(given, ys[: t + 21])[0][t], rtol=0, atol=1e-11)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_smoothed_states_and_evidence_have_the_slopes_of_the_oracle() -> None:
    given, ys = arima(1e2, 60)
    weights, step = np.arange(1.0, 4), 1e-4

    def model(phi: jax.Array) -> ssm.LinearGaussian:
        return ssm.LinearGaussian(*given[:2], jnp.asarray(given[2]).at[1, 1].set(phi), *given[3:])

    def oracle(phi: float) -> np.ndarray:
        matrix = given[2].copy()
        matrix[1, 1] = phi
        means, _, evidence = smoothed([*given[:2], matrix, *given[3:]], ys)
        return np.array([means[3] @ weights, evidence])

    state = jax.grad(lambda phi: ssm.smooth(model(phi), ys).smoothed.mean[3] @ weights)(PHI)
    evidence = jax.grad(lambda phi: ssm.log_prob(model(phi), ys))(PHI)
    exact = (oracle(PHI + step) - oracle(PHI - step)) / (2 * step)
    np.testing.assert_allclose([state, evidence], exact, rtol=1e-7)  # of a difference over 1e-4


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("total", [3, 9])
def test_a_stream_looks_back_to_rounding(total: int) -> None:
    """Through kernels alone, which a stream that keeps no observations has, it was off by as much as the states are."""
    given, ys = arima(1e2, total, 1.0)
    stream = ssm.fixed_lag(ssm.LinearGaussian(*given), 4)
    state = stream.init()
    for y in ys:
        state, _ = stream.step(state, y)
    means, covariances, _ = smoothed(given, ys)
    kept = min(total, 5)
    np.testing.assert_allclose(state.smoothed.mean[-kept:], means[-kept:], rtol=0, atol=1e-11)
    np.testing.assert_allclose(state.smoothed.covariance[-kept:], covariances[-kept:], rtol=0, atol=1e-11)
    first = np.broadcast_to(state.smoothed.mean[-kept], (5 - kept, 3))  # stands for the times before it
    np.testing.assert_allclose(state.smoothed.mean[: 5 - kept], first, rtol=0, atol=0)
