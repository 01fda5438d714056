"""A member written by a user as the four methods: what it did not say is asked for, and never taken for granted."""

import dataclasses
from typing import Any, ClassVar

import distrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.beliefs import Gaussian
from ssm.recursion import AbstractRecursion

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(0)
OMEGA, ALPHA, BETA = 0.1, 0.3, 0.5
RETURNS = np.array([0.3, -0.2, 1.5, -2.0, 0.4])


class Garch(AbstractRecursion[Any]):
    """Returns whose variance is omega + alpha y² + beta times the one before (Bollerslev 1986)."""

    alpha: jax.Array

    @property
    def event_shape(self) -> tuple[int, ...]:
        return ()

    def init(self, u, *, key=None):
        return jnp.asarray(OMEGA / (1 - ALPHA - BETA))

    def predict(self, belief, u, *, key=None):
        return belief

    def update(self, prior, u, y, *, key=None):
        return OMEGA + self.alpha * y**2 + BETA * prior, self.emit(prior, u).log_prob(y)

    def emit(self, prior, u):
        return distrax.Normal(jnp.zeros_like(prior), jnp.sqrt(prior))


class SaidGarch(Garch):
    feeds_back: ClassVar[bool] = True


class WholeGarch(SaidGarch):
    """It also says what becomes of the variance in a gap: what is expected of it."""

    def miss(self, prior, u, *, key=None):
        return OMEGA + (self.alpha + BETA) * prior


def garch(kind: type = SaidGarch) -> Garch:
    return kind(jnp.asarray(ALPHA))


def variance(ys: np.ndarray) -> float:
    """That of the step after ys, by hand."""
    now = OMEGA / (1 - ALPHA - BETA)
    for y in ys:
        now = OMEGA + ALPHA * y**2 + BETA * now
    return now


def test_what_reads_its_own_past_must_say_so() -> None:
    silent = garch(Garch)
    np.testing.assert_allclose(ssm.filter(silent, RETURNS).filtered[-1], variance(RETURNS), rtol=1e-12)
    gap = np.where(np.arange(5) == 2, np.nan, RETURNS)
    for ask in (lambda: ssm.forecast(silent, RETURNS, 3, key=KEY), lambda: ssm.log_prob(silent, gap)):
        with pytest.raises(TypeError, match=r"Garch\.feeds_back: say whether .* feeds_back = True: .* = False: "):
            ask()


def test_a_garch_is_forecast_by_drawing() -> None:
    """E[y²_{T+h}] = omega + (alpha + beta) E[y²_{T+h-1}], to six standard errors of 20,000 squares of kurtosis 5."""
    with pytest.raises(ValueError, match="key: a SaidGarch that reads its own outputs is forecast by drawing"):
        ssm.forecast(garch(), RETURNS, 3)
    ahead = ssm.forecast(garch(), RETURNS, 3, key=KEY, num_samples=20_000)
    expected = [variance(RETURNS)]
    for _ in range(2):
        expected.append(OMEGA + (ALPHA + BETA) * expected[-1])
    np.testing.assert_allclose(ahead.stddev**2, expected, rtol=6 * 2 / np.sqrt(20_000))
    assert np.ptp(expected) > 0.15  # which a constant variance would not show
    beliefs, ys = ssm.simulate(garch(), KEY, 6)
    np.testing.assert_allclose(beliefs, [variance(np.asarray(ys[:t])) for t in range(6)], rtol=1e-9)
    future = np.array([0.5, -1.0, 0.2])
    joint = ssm.log_prob(garch(), np.append(RETURNS, future)) - ssm.log_prob(garch(), RETURNS)
    np.testing.assert_allclose(ahead.log_prob(future), joint, rtol=1e-9)


def test_a_gap_loses_what_reads_its_own_past_unless_it_says_otherwise() -> None:
    gap = np.where(np.arange(5) == 2, np.nan, RETURNS)
    found = ssm.filter(garch(), gap)
    np.testing.assert_array_equal(np.isnan(found.log_evidence), [False, False, False, True, True])
    after = ssm.filter(garch(WholeGarch), gap).filtered
    np.testing.assert_allclose(after[2], OMEGA + (ALPHA + BETA) * variance(RETURNS[:2]), rtol=1e-12)
    state = ssm.init(garch())  # a stream without gaps loses nothing
    for y in RETURNS:
        state, evidence = ssm.step(garch(), state, y)
    np.testing.assert_allclose(state.belief, variance(RETURNS), rtol=1e-12)
    # What is lost in a step that is not missing has no derivative, and no NaN either.
    seen = np.ones(5, bool)
    slope = eqx.filter_grad(lambda model: ssm.log_prob(model, RETURNS, mask=seen))(garch())
    plain = eqx.filter_grad(lambda model: ssm.log_prob(model, RETURNS))(garch())
    np.testing.assert_allclose(slope.alpha, plain.alpha, rtol=1e-12)


class Level(AbstractRecursion[Gaussian]):
    """A random walk seen with noise: the Kalman filter of a local level."""

    feeds_back: ClassVar[bool] = False

    noise: jax.Array

    @property
    def event_shape(self) -> tuple[int, ...]:
        return ()

    def init(self, u, *, key=None):
        return Gaussian(jnp.zeros(1), jnp.ones((1, 1)))

    def predict(self, belief, u, *, key=None):
        return belief.moved(jnp.eye(1), jnp.zeros(1), jnp.full((1, 1), 0.5))

    def update(self, prior, u, y, *, key=None):
        return prior.given(jnp.eye(1), self.noise.reshape(1, 1), y - prior.mean)

    def emit(self, prior, u):
        return distrax.Normal(prior.mean[0], jnp.sqrt(prior.covariance[0, 0] + self.noise**2))


def test_what_corrects_a_belief_is_forecast_exactly() -> None:
    """Also after a gap, as the library's own."""
    own, ys = Level(jnp.asarray(0.7)), np.array([0.3, np.nan, 1.2, 0.9])
    same = ssm.LinearGaussian([0.0], [[1.0]], [[1.0]], [[0.25]], [[1.0]], [[0.49]])
    found, expected = ssm.forecast(own, ys, 3), ssm.forecast(same, ys[:, None], 3)
    np.testing.assert_allclose(found.mean, expected.mean[:, 0], rtol=1e-9)
    np.testing.assert_allclose(found.stddev, expected.stddev[:, 0], rtol=1e-9)


class LogGarch(SaidGarch):
    """Of prices: `prepare` takes logarithms, and what is drawn are prices."""

    def prepare(self, steps):
        return dataclasses.replace(steps, y=jnp.log(steps.y))

    def emit(self, prior, u):
        return distrax.Transformed(distrax.Normal(jnp.zeros_like(prior), jnp.sqrt(prior)), distrax.Lambda(jnp.exp))


class ReadingLogGarch(LogGarch):
    def absorb(self, prior, u, y, *, key=None):
        return self.update(prior, u, jnp.log(y))[0]


def test_what_prepares_observations_must_say_how_a_draw_is_read() -> None:
    prices = np.exp(RETURNS)
    asks = {
        "forecast": lambda model: ssm.forecast(model, prices, 2, key=KEY),
        "simulate": lambda model: ssm.simulate(model, KEY, 3),
        "check": lambda model: ssm.simulated_check(model, prices, lambda ys, seen: jnp.sum(ys), 4, KEY),
    }
    for ask in asks.values():
        with pytest.raises(TypeError, match=r"LogGarch\.absorb: `prepare` changes y"):
            ask(garch(LogGarch))
        ask(garch(ReadingLogGarch))


class Symbols(AbstractRecursion[Any]):
    """A belief over three symbols that does not say that they are symbols."""

    feeds_back: ClassVar[bool] = True

    table: jax.Array

    @property
    def event_shape(self) -> tuple[int, ...]:
        return ()

    def init(self, u, *, key=None):
        return jnp.full(3, 1 / 3)

    def predict(self, belief, u, *, key=None):
        return belief @ self.table

    def update(self, prior, u, y, *, key=None):
        return jax.nn.one_hot(y.astype(int), 3), self.emit(prior, u).log_prob(y)

    def emit(self, prior, u):
        return distrax.Categorical(probs=prior)


class SaidSymbols(Symbols):
    event_kind: ClassVar[str] = "symbol"
    num_classes: ClassVar[int] = 3


def test_what_emits_symbols_must_say_so() -> None:
    table = jnp.full((3, 3), 0.2) + 0.4 * jnp.eye(3)
    for ys in ([0, 1, 2], [0.0, 1.5, 2.0]):
        with pytest.raises(TypeError, match=r"Symbols\.event_kind: `emit` returns a distribution over 3 symbols"):
            ssm.log_prob(Symbols(table), np.array(ys))
    np.testing.assert_allclose(ssm.log_prob(SaidSymbols(table), np.array([0, 1])), np.log(0.2 / 3), rtol=1e-12)
    with pytest.raises((TypeError, ValueError), match="ys"):
        ssm.log_prob(SaidSymbols(table), np.array([0, 1.5, 2.0]))


def test_every_member_of_the_library_says_whether_it_reads_its_past() -> None:
    """In its class: a default would be inherited without a thought."""

    def below(kind: type) -> list[type]:
        return [kind, *[each for child in kind.__subclasses__() for each in below(child)]]

    own = [kind for kind in below(AbstractRecursion) if kind.__module__.startswith("ssm.")]
    concrete = [kind for kind in own if kind.update is not AbstractRecursion.update]
    assert len(concrete) > 15
    silent = [kind.__name__ for kind in concrete if kind.feeds_back is AbstractRecursion.feeds_back]
    assert silent == []
