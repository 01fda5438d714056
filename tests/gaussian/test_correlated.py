"""Noises of state and observation that are correlated, against the joint normal distribution of everything."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from oracles import System

import ssm
from ssm.schedules import AbstractSchedule, Blocked, SideBySide

pytestmark = pytest.mark.usefixtures("float64")

TOTAL, CLOSE = 5, {"rtol": 1e-9, "atol": 1e-9}  # two float64 computations of numbers of order one
SEEN = np.array([[1, 0], [1, 1], [0, 0], [0, 1], [1, 1]], bool)


def parameters(*lead: int) -> dict[str, np.ndarray]:
    """Three states seen through two observations, with inputs; `lead` (T,) where all vary in time."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=(*lead, *shape))
    root = draw(5, 6)
    joint = root @ np.swapaxes(root, -1, -2)
    return {
        "initial_mean": rng.normal(size=3),
        "initial_covariance": np.diag([1.0, 0.5, 2.0]),
        "transition_matrix": 0.5 * draw(3, 3),
        "transition_covariance": joint[..., :3, :3],
        "emission_matrix": draw(2, 3),
        "emission_covariance": joint[..., 3:, 3:],
        "transition_bias": draw(3),
        "emission_bias": draw(2),
        "transition_input": draw(3, 2),
        "emission_input": draw(2, 2),
        "cross_covariance": joint[..., :3, 3:],
    }


@eqx.filter_jit
def made(given: dict[str, np.ndarray]) -> ssm.LinearGaussian:
    """One program instead of dozens of small ones."""
    return ssm.LinearGaussian(**given)


def system(given: dict[str, np.ndarray], us: np.ndarray | None, total: int = 0) -> System:
    """The same at every time."""
    total = total if us is None else len(us)
    at = lambda name, rank: np.broadcast_to(given[name], (total, *given[name].shape[-rank:]))
    pushed = lambda part: 0 if us is None else np.einsum("tij,tj->ti", at(f"{part}_input", 2), us)
    moved = lambda part: at(f"{part}_bias", 1) + pushed(part)
    return System(
        given["initial_mean"],
        given["initial_covariance"],
        at("transition_matrix", 2),
        moved("transition"),
        at("transition_covariance", 2),
        at("emission_matrix", 2),
        moved("emission"),
        at("emission_covariance", 2),
        at("cross_covariance", 2),
    )


def data(total: int = TOTAL) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(total, 2)), rng.normal(size=(total, 2))


def log_density(system: System, ys: np.ndarray, seen: np.ndarray) -> float:
    return float(oracles.condition_joint(system, ys, seen).log_evidence.sum())


def blocks(system: System, ys: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances of (x_t, v_t) given what is seen, v_t = y_t - H x_t - d."""
    mean, covariance = oracles.condition_all(system, ys, seen)
    means, covariances = [], []
    for t, (matrix, offset) in enumerate(zip(system.emission_matrix, system.emission_offset, strict=True)):
        look = np.zeros((5, len(mean)))
        look[:3, 3 * t : 3 * t + 3] = np.eye(3)
        look[3:, 3 * t : 3 * t + 3] = -matrix
        look[3:, 3 * len(ys) + 2 * t : 3 * len(ys) + 2 * t + 2] = np.eye(2)
        means.append(look @ mean - np.append(np.zeros(3), offset))
        covariances.append(look @ covariance @ look.T)
    return np.stack(means), np.stack(covariances)


# -- beliefs ----------------------------------------------------------------------------------------------------------


def test_what_was_given_is_read_back() -> None:
    for given in (parameters(), parameters(TOTAL)):
        model = made(given)
        for name, array in given.items():
            np.testing.assert_allclose(getattr(model, name), array, rtol=1e-12)
    # As many numbers as with S in the place of A: 3 + 6 of the start, 6 + 3 + 6 noises, coefficients on (x, u, 1).
    assert ssm.num_parameters(made(parameters())) == 9 + 15 + 3 * 6 + 2 * 6


@pytest.mark.parametrize(
    ("lead", "schedule"),
    [
        ((TOTAL,), "associative"),
        *(
            pytest.param(lead, schedule, marks=pytest.mark.slow)
            for lead in [(), (TOTAL,)]
            for schedule in ("sequential", "associative", Blocked(2), "auto")
        ),
    ],
)
def test_smoothed_states_and_noises(lead: tuple, schedule: str | AbstractSchedule) -> None:
    given, (ys, us) = parameters(*lead), data()
    answer = ssm.smooth(made(given), ys, us, mask=SEEN, schedule=schedule)
    mean, covariance = blocks(system(given, us), ys, SEEN)
    np.testing.assert_allclose(answer.log_prob, log_density(system(given, us), ys, SEEN), **CLOSE)
    np.testing.assert_allclose(answer.smoothed.mean, mean, **CLOSE)
    np.testing.assert_allclose(answer.smoothed.covariance, covariance, **CLOSE)


@pytest.mark.slow
def test_filtered_step_by_step_and_what_comes_next() -> None:
    given, (ys, us) = parameters(), data(TOTAL + 2)
    model, seen = made(given), np.concatenate([SEEN, np.zeros((2, 2), bool)])
    truth = oracles.condition_joint(system(given, us), ys, seen)
    state = ssm.init(model, us[0])
    for t in range(TOTAL):
        state, density = ssm.step(model, state, np.where(seen[t], ys[t], np.nan), us[t])
        np.testing.assert_allclose(density, truth.log_evidence[t], **CLOSE)
        np.testing.assert_allclose(state.belief.mean[:3], truth.filtered[0][t], **CLOSE)
        np.testing.assert_allclose(state.belief.covariance[:3, :3], truth.filtered[1][t], **CLOSE)
    future = ssm.forecast(model, ys[:TOTAL], 2, us[:TOTAL], us[TOTAL:], mask=SEEN)
    mean, covariance = oracles.condition_all(system(given, us), ys, seen)
    np.testing.assert_allclose(np.ravel(future.mean), mean[-4:], **CLOSE)
    np.testing.assert_allclose(np.ravel(future.stddev), np.sqrt(np.diagonal(covariance)[-4:]), **CLOSE)


@pytest.mark.slow
def test_draws_have_the_moments_of_the_joint_distribution() -> None:
    given, draws = parameters(), 20_000
    us = data(3)[1]
    model = made(given)
    states, ys = jax.vmap(lambda key: ssm.simulate(model, key, 3, us))(jax.random.split(jax.random.key(0), draws))
    assert states.shape == (draws, 3, 5)
    drawn = np.concatenate([states[..., :3].reshape(draws, -1), ys.reshape(draws, -1)], axis=1)
    mean, covariance = oracles.condition_all(system(given, us), np.zeros((3, 2)), np.zeros((3, 2), bool))
    spread = np.sqrt(np.diagonal(covariance))
    # Five standard errors of means and covariances: 1e-4 that one of some 140 numbers falls out.
    error = 5 / np.sqrt(draws)
    np.testing.assert_allclose((drawn.mean(0) - mean) / spread, 0, atol=error)
    scaled = (np.cov(drawn.T) - covariance) / np.outer(spread, spread)
    np.testing.assert_allclose(scaled, 0, atol=error * np.sqrt(2))


SINGLE = {
    "initial_mean": np.zeros(1),
    "initial_covariance": np.eye(1),
    "transition_matrix": np.eye(1) * 0.9,
    "transition_covariance": np.full((1, 1), 0.25),
    "emission_matrix": np.eye(1),
    "emission_covariance": np.eye(1),
    "cross_covariance": np.full((1, 1), 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("given", [parameters(), SINGLE], ids=["all", "one noise alone"])
def test_side_by_side(given: dict[str, np.ndarray]) -> None:
    """Long enough for covariances to rest; and where one noise drives state and observation."""
    ys, us = data(300)
    ys, us = (ys[:, :1], None) if given is SINGLE else (ys, us)
    model = made(given)
    whole = lambda model, schedule: ssm.log_prob(model, ys, us, schedule=schedule)
    slopes = eqx.filter_jit(eqx.filter_value_and_grad(whole))
    answers = [slopes(model, schedule) for schedule in (SideBySide(), "sequential")]
    # As in test_kalman_side_by_side: covariances rest to 8 epsilons / (1 - ρ²).
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8), *answers)
    found = ssm.smooth(model, ys, us, schedule=SideBySide())
    joint = system({"transition_bias": np.zeros(1), "emission_bias": np.zeros(1)} | given, us, len(ys))
    mean, covariance = oracles.condition_all(joint, ys, np.ones_like(ys, bool))
    size = model.num_dims
    np.testing.assert_allclose(found.smoothed.mean[:, :size].ravel(), mean[: 300 * size], atol=1e-8)
    spread = np.diagonal(covariance)[: 300 * size]
    variance = np.diagonal(found.smoothed.covariance, axis1=1, axis2=2)[:, :size]
    np.testing.assert_allclose(variance.ravel(), spread, atol=1e-8)


def test_a_packed_sequence_begins_anew() -> None:
    given, (ys, us) = parameters(), data()
    model, starts = made(given), np.isin(np.arange(TOTAL), (0, 3))
    packed = ssm.log_prob(model, ys, us, mask=SEEN, starts=starts)
    parts = [log_density(system(given, us[s]), ys[s], SEEN[s]) for s in (slice(0, 3), slice(3, None))]
    np.testing.assert_allclose(packed, sum(parts), **CLOSE)
    with pytest.raises(ValueError, match="starts: beside a cross_covariance"):
        ssm.log_prob(made(parameters(TOTAL)), ys, us, starts=starts)


@pytest.mark.slow
def test_the_other_convention_is_this_one_with_the_state_before_beside() -> None:
    """x_{t+1} = F x_t + w_t and cov(w_t, v_t) = S, against its own joint distribution."""
    given, (ys, _) = parameters(), data()
    names = ("initial_covariance", "transition_matrix", "transition_covariance", "emission_matrix")
    start, matrix, moves, look = (given[name] for name in names)
    noise, cross, nothing = given["emission_covariance"], given["cross_covariance"], np.zeros((3, 3))
    # x = G (x_1, w_1, ..., w_4), y = H x + v, with cov(w_t, v_t) = S
    path = [np.concatenate([np.eye(3), np.zeros((3, 3 * TOTAL - 3))], axis=1)]
    for t in range(TOTAL - 1):
        path.append(matrix @ path[-1])
        path[-1][:, 3 * t + 3 : 3 * t + 6] += np.eye(3)
    shocks = np.kron(np.eye(TOTAL), moves)
    shocks[:3, :3] = start
    shared = np.zeros((3 * TOTAL, 2 * TOTAL))
    for t in range(TOTAL - 1):
        shared[3 * t + 3 : 3 * t + 6, 2 * t : 2 * t + 2] = cross
    seeing = np.concatenate([look @ each for each in path])
    both = seeing @ shared
    spread = (seeing @ shocks @ seeing.T + both + both.T + np.kron(np.eye(TOTAL), noise))[SEEN.ravel()][:, SEEN.ravel()]
    residual = ys[SEEN] - np.concatenate([look @ each[:, :3] @ given["initial_mean"] for each in path])[SEEN.ravel()]
    truth = -(np.linalg.slogdet(2 * np.pi * spread)[1] + residual @ np.linalg.solve(spread, residual)) / 2

    model = ssm.LinearGaussian(
        np.append(given["initial_mean"], np.zeros(3)),
        np.block([[start, nothing], [nothing, nothing]]),
        np.block([[matrix, nothing], [np.eye(3), nothing]]),
        np.block([[moves, nothing], [nothing, nothing]]),
        np.concatenate([np.zeros((2, 3)), look], axis=1),
        noise,
        cross_covariance=np.concatenate([cross, np.zeros((3, 2))]),
    )
    later = np.concatenate([np.full((1, 2), np.nan), np.where(SEEN, ys, np.nan)])
    np.testing.assert_allclose(ssm.log_prob(model, later), truth, **CLOSE)


# -- learning ---------------------------------------------------------------------------------------------------------


def test_slopes_in_all_three_covariances_are_those_of_the_joint_distribution() -> None:
    given, (ys, us) = parameters(), data()
    names = ("transition_covariance", "cross_covariance", "emission_covariance")
    sizes = [given[name].shape for name in names]

    def changed(flat: Any) -> dict[str, Any]:
        """With the upper triangles of Q and R, and S, in one vector."""
        parts, begin = [], 0
        for rows, columns in sizes:
            those = np.triu_indices(rows) if rows == columns else np.unravel_index(np.arange(rows * columns), (rows, 2))
            part = jnp.zeros((rows, columns)).at[those].set(flat[begin : begin + len(those[0])])
            parts.append(part + jnp.triu(part, 1).T if rows == columns else part)
            begin += len(those[0])
        return given | dict(zip(names, parts, strict=True))

    upper = lambda name: given[name][np.triu_indices(len(given[name]))]
    flat = np.concatenate([upper(names[0]), given["cross_covariance"].ravel(), upper(names[2])])
    found = jax.jit(jax.grad(lambda flat: ssm.log_prob(ssm.LinearGaussian(**changed(flat)), ys, us, mask=SEEN)))(flat)
    truth = lambda flat: log_density(system(jax.tree.map(np.asarray, changed(flat)), us), ys, SEEN)
    moves = 1e-5 * np.eye(len(flat))
    # Central differences: an error of step² of the third derivative, and 1e-15 / step of rounding.
    differences = [(truth(flat + move) - truth(flat - move)) / 2e-5 for move in moves]
    np.testing.assert_allclose(found, differences, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_gradient_methods_learn_it_and_standard_errors_know_it() -> None:
    """A level whose noise is shared with what is seen; from a start without correlation to the maximum."""
    start = [0.0], [[1.0]], [[0.8]], [[1.0]], [[1.0]]
    make = lambda cross: ssm.LinearGaussian(*start, [[1 + cross**2]], cross_covariance=[[cross]])
    true = make(-0.7)
    _, ys = ssm.simulate(true, jax.random.key(0), 400)
    given = ["initial_mean", "initial_covariance", "transition_matrix", "emission_matrix", "emission_covariance"]
    fit = ssm.fit(make(0.0), ys, ssm.LBFGS(tol=1e-12), frozen=given)
    # y_t - 0.8 y_{t-1} has the covariance -0.8 (R + S) with the one before: known, where R and S alone are not.
    of = lambda model: (model.emission_covariance + model.cross_covariance)[0, 0]
    error = ssm.standard_errors(fit.model, ys, of=of, frozen=given)
    assert fit.num_parameters == 2 and fit.log_prob > ssm.log_prob(true, ys)
    assert abs(of(fit.model) - 0.79) < 3 * error < 1.5
    climbed = ssm.fit(make(0.0), ys, ssm.SGD(num_epochs=3), frozen=given)
    assert climbed.log_probs[-1] > climbed.log_probs[0] and climbed.model.cross_covariance[0, 0] < 0


def test_what_cannot_be_done_is_said() -> None:
    model, (ys, us) = made(parameters()), data()
    with pytest.raises(TypeError, match=r"EM needs .* which LinearGaussian with a cross_covariance has not"):
        ssm.fit(model, ys, ssm.EM(), us)
    with pytest.raises(TypeError, match=r"expected_statistics needs .* got LinearGaussian with a cross_covariance"):
        ssm.expected_statistics(model, ys, us)
    with pytest.raises(TypeError, match="model: particles are weighed by .* cross_covariance"):
        ssm.ParticleFilter(model, 8)
    with pytest.raises(ValueError, match="frozen: single entries of 'cross_covariance' cannot be frozen"):
        ssm.fit(model, ys, ssm.SGD(num_epochs=1), us, frozen={"cross_covariance": np.ones((2, 3), bool)})
