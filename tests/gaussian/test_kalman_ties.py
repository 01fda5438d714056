"""Linear-Gaussian models in which entries are one parameter, and noises come in independent blocks."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
import scipy.optimize

import ssm
from ssm.parameters.freezing import free_entries, frozen_names, held_part
from ssm.recursions.gaussian.learning.m_step import expected_log_prob, maximise
from ssm.recursions.gaussian.learning.moments import Moments, parts
from ssm.recursions.gaussian.regression.regression import Regression

pytestmark = pytest.mark.usefixtures("float64")

# -- the M-step -----------------------------------------------------------------------------------------------------

HELD = [(0, 3), (2, 0), (1, 0)]  # of which the last is tied to one before it
TIED = [[(0, 0), (1, 1), (2, 1)], [(0, 1), (1, 0)], [(2, 2), (2, 3)]]


def random_regression(rank: int = 3, dependent: bool = False) -> Regression:
    """Moments of twenty rows of three targets on four regressors, the last of which may be the one before it."""
    rng = np.random.default_rng(rank)
    root, coefficients = np.tril(rng.normal(size=(3, 3))), rng.normal(size=(3, 4))
    root[:, rank:] = 0
    noise, rows = rng.normal(size=(20, 3)), rng.normal(size=(20, 4)) + 1
    noise[:, :rank] += rows[:, :rank]
    if dependent:
        rows[:, 3] = rows[:, 2]
    for group in TIED:
        coefficients[tuple(np.transpose(group))] = coefficients[group[0]]
    parts = np.array(20.0), noise.T @ noise, noise.T @ rows, rows.T @ rows, coefficients, root
    return Regression(*map(jnp.asarray, parts))


def numbers() -> np.ndarray:
    """Which parameter each of the coefficients is."""
    found = np.arange(12).reshape(3, 4)
    for group in TIED:
        found[tuple(np.transpose(group))] = found[group[0]]
    return found


@pytest.mark.parametrize(("rank", "dependent"), [(3, False), (2, False), (3, True)])
def test_least_squares_of_tied_and_held_entries(rank: int, dependent: bool) -> None:
    """Against least squares over a basis of the steps that keep to all equations and to the range of the noise.

    Of two regressors that are one, the second coefficient moves where it is tied to the first, or the first is held.
    """
    moments, free = random_regression(rank, dependent), np.ones((3, 4), bool)
    free[tuple(np.transpose(HELD))] = False
    found, _ = jax.jit(lambda moments: moments.maximise(free, keep_noise=True, numbers=numbers()))(moments)
    unit = lambda entry: np.eye(12)[np.ravel_multi_index(entry, (3, 4))]
    equations = [unit(entry) for entry in HELD]
    equations += [unit(group[0]) - unit(entry) for group in TIED for entry in group[1:]]
    root = np.asarray(moments.root)[:, :rank]
    basis = scipy.linalg.null_space(np.stack(equations) @ np.kron(root, np.eye(4)))  # of steps (rank, J), row by row
    curvature = basis.T @ np.kron(np.eye(rank), moments.regressors) @ basis
    step = basis @ np.linalg.lstsq(curvature, basis.T @ np.asarray(moments.cross)[:rank].ravel(), rcond=1e-12)[0]
    expected, found = root @ step.reshape(rank, 4), np.array(found - moments.coefficients)
    if dependent:  # where the two are free, their sum is all that counts; the square root of rounding: see _inverse
        np.testing.assert_allclose(found[1, 2:].sum(), expected[1, 2:].sum(), rtol=1e-6)
        found[1, 2:] = expected[1, 2:]
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dependent else 1e-9, atol=1e-9)
    np.testing.assert_array_equal(found[tuple(np.transpose(HELD))], 0)


def test_m_steps_of_ties_and_blocks_end_where_q_is_highest() -> None:
    """Again and again on the same moments, against a numerical maximiser of their Q."""
    start, free = random_regression(), np.ones((3, 4), bool)
    free[tuple(np.transpose(HELD))] = False
    tied = ssm.Tied(start.coefficients, 1 + numbers())
    blocks = ssm.BlockDiagonal([np.array([[1.0, 0.3], [0.3, 0.5]]), ssm.Diagonal([2.0])])

    @jax.jit
    def climbed(moments: Regression, noise: ssm.BlockDiagonal) -> tuple:
        def again(_: Any, moments: Regression) -> Regression:
            coefficients, root = moments.maximise(free, keep_noise=False, numbers=numbers())
            return moments.about(coefficients, noise.fitted(root).lower)

        last = jax.lax.fori_loop(0, 200, again, moments.about(moments.coefficients, noise.lower))
        return last.coefficients, last.root, last.log_prob(last.coefficients, last.root)

    places = np.flatnonzero(~np.isin(np.arange(tied.numbers.size), [tied.named_entries(None)[entry] for entry in HELD]))

    @jax.jit
    @jax.value_and_grad
    def loss(x: jax.Array) -> jax.Array:
        entries = eqx.tree_at(lambda t: t.numbers, tied, tied.numbers.at[places].set(x[:-4])).entries
        root = jnp.zeros((3, 3)).at[np.array([0, 1, 1, 2]), np.array([0, 0, 1, 2])].set(x[-4:])
        return -start.log_prob(entries, root)

    begin = np.concatenate([tied.numbers[places], [1.0, 0.0, 1.0, 1.0]])
    best = scipy.optimize.minimize(loss, begin, jac=True, method="BFGS", options={"gtol": 1e-7})
    coefficients, root, reached = climbed(start, blocks)
    np.testing.assert_allclose(reached, -best.fun, rtol=1e-9)
    found = tied.fitted(coefficients)
    np.testing.assert_allclose(found.numbers[places], best.x[:-4], rtol=1e-4)  # a maximum is flat
    np.testing.assert_allclose(found.entries, coefficients, rtol=1e-12)
    np.testing.assert_array_equal(root[2, :2], 0)


# -- fits -----------------------------------------------------------------------------------------------------------

TURN = [[1, 2, 0], [0, 1, 2], [0, 0, 0]]  # one number on the diagonal and one beside it
FROZEN = {
    "transition_matrix": np.array([[0, 0, 1], [1, 0, 0], [1, 1, 1]], bool),
    "transition_covariance": True,
    "emission_covariance.blocks.0": True,
    "initial_mean": True,
    "initial_covariance": True,
}


@eqx.filter_jit
def tied(numbers: Any = (0.7, 0.3, 0.6, 0.2, 0.5, 0.4, 0.1)) -> ssm.LinearGaussian:
    """Three states, two sensors that see them alike, and one of its own whose noise has another block."""
    turn, beside, view, bias, effect, *noise = jnp.asarray(numbers)
    zero, one = 0 * turn, 0 * turn + 1
    matrix = jnp.stack([turn, beside, zero, zero, turn, beside, zero, zero, one / 2]).reshape(3, 3)
    see = jnp.stack([view, one, zero, one, view, zero, zero, view, one]).reshape(3, 3)
    own = jnp.stack([noise[0], noise[1], noise[1], noise[0]]).reshape(2, 2)
    return ssm.LinearGaussian(
        np.zeros(3),
        np.eye(3),
        ssm.Tied(matrix, TURN),
        np.diag([1.0, 0.5, 0.2]),
        ssm.Tied(see, [[1, 0, 0], [0, 1, 0], [0, 1, 0]]),
        ssm.BlockDiagonal([ssm.Diagonal(np.array([0.3])), own]),
        emission_bias=ssm.Tied(jnp.stack([bias, bias, bias]), [1, 1, 1]),
        transition_input=ssm.Tied(jnp.stack([effect, -effect, effect])[:, None], [[2], [0], [2]]),
    )


def data(total: int) -> tuple[jax.Array, np.ndarray]:
    us = np.random.default_rng(1).normal(size=(total, 1))
    return ssm.simulate(tied(), jax.random.key(0), total, us)[1], us


def test_numbers_that_are_free_are_counted() -> None:
    """3 + 6 of the start; 2 + 5, 6, and 2 of what moves the state; 7, 1 and 1 + 3 of what is seen."""
    assert ssm.num_parameters(tied()) == 9 + (7 + 6 + 2) + (7 + 1 + 4)
    assert ssm.num_parameters(tied(), FROZEN) == 2 + 2 + 7 + 1 + 3
    # One of several tied entries stands for all of them.
    assert ssm.num_parameters(tied(), ["transition_matrix[1, 1]"]) == ssm.num_parameters(tied()) - 1
    assert held_part("emission_bias", (3,), ["emission_bias.numbers"]).all()
    two = {"emission_bias": np.array([True, False, True])}
    assert ssm.num_parameters(tied(), two) == ssm.num_parameters(tied()) - 1
    blocks = ssm.BlockDiagonal([np.eye(2), ssm.Spherical(1.0, 2)])
    start = lambda diffuse: ssm.LinearGaussian(
        np.zeros(4), blocks, np.eye(4), np.eye(4), np.eye(4), np.eye(4), diffuse=diffuse
    )
    flat = np.array([True, False, True, True])  # one mean and one variance are read
    assert ssm.num_parameters(start(None)) - ssm.num_parameters(start(flat)) == 3 + 2 + 1


def same(model: ssm.LinearGaussian) -> None:
    """What was tied and frozen is so, exactly."""
    matrix, bias, move = model.transition_matrix, model.emission_bias, model.transition_input
    assert matrix[0, 0] == matrix[1, 1] != 0.7 and matrix[0, 1] == matrix[1, 2] != 0.3
    np.testing.assert_array_equal(matrix[FROZEN["transition_matrix"]], [0, 0, 0, 0, 0.5])
    assert bias[0] == bias[1] == bias[2] != 0.2 and move[0, 0] == move[2, 0] != 0.5
    noise, before = model.emission_covariance, tied().emission_covariance
    assert noise[0, 0] == before[0, 0] and noise[1, 1] != before[1, 1]
    np.testing.assert_array_equal(noise[0, 1:], 0)
    assert isinstance(model._emission_covariance, ssm.BlockDiagonal) and isinstance(model._emission_matrix, ssm.Tied)


def test_an_m_step_is_a_maximum_along_what_is_free() -> None:
    """Of Q of random moments, under given noises: matrix, bias and input of an equation have their own ties."""
    names, rng = ("initial", "transition", "emission"), np.random.default_rng(0)
    frozen = *frozen_names(tied(), FROZEN), "emission_covariance"

    @eqx.filter_jit
    def best(model: ssm.LinearGaussian, arrays: dict) -> tuple:
        regressions = parts(model)
        each = [Regression(*arrays[name], regressions[name].coefficients, regressions[name].root) for name in names]
        new = maximise(model, Moments(*each), frozenset(frozen))
        return new, eqx.filter_grad(lambda model: expected_log_prob(model, Moments(*each)))(new)

    arrays = {}
    for name, width in zip(names, (1, 4, 4), strict=True):
        noise, rows = rng.normal(size=(20, 3)), rng.normal(size=(20, width))
        arrays[name] = tuple(map(jnp.asarray, (20.0, noise.T @ noise, noise.T @ rows, rows.T @ rows)))
    new, slopes = best(tied(), arrays)
    for slope, free in zip(jax.tree.leaves(slopes), jax.tree.leaves(free_entries(tied(), frozen)), strict=True):
        np.testing.assert_allclose(slope[free], 0, atol=1e-9)
    held = FROZEN["transition_matrix"]
    np.testing.assert_array_equal(new.transition_matrix[held], tied().transition_matrix[held])
    assert new.transition_matrix[0, 0] != 0.7 and new.transition_input[0, 0] != 0.5


def test_em_keeps_ties_and_blocks() -> None:
    ys, us = data(8)
    fit = ssm.fit(tied(), ys, ssm.EM(max_iters=5, tol=0), us, frozen=FROZEN)
    assert (np.diff(np.append(fit.start_log_prob, fit.log_probs)) > 1e-4).all()  # far from rounding
    same(fit.model)


def test_a_gradient_step_keeps_ties_and_blocks() -> None:
    ys, us = data(8)
    optimizer = optax.adamw(0.1, weight_decay=0.5)
    same(ssm.fit(tied(), ys, ssm.SGD(optimizer, num_epochs=2), us, frozen=FROZEN).model)


def test_a_restart_keeps_ties_and_blocks() -> None:
    """Also where the mean of entries of a turn is more than they are."""
    matrix = ssm.Tied([[0.5, 0.1], [0.1, 0.1]], [[0, 1], [1, 1]])
    steps = ssm.data.observe(plane(matrix), np.random.default_rng(0).normal(size=(8, 2))).steps
    restart = eqx.filter_jit(lambda keys: jax.vmap(lambda key: plane(matrix).restart(key, steps))(keys))
    new = restart(jax.random.split(jax.random.key(1), 50))
    matrices = jax.vmap(lambda model: model.transition_matrix)(new)
    np.testing.assert_array_equal(matrices[:, 0, 1], matrices[:, 1, 1])
    assert np.abs(np.linalg.eigvals(matrices)).max() < 1 and len(np.unique(matrices[:, 0, 0])) == 50
    assert (jax.vmap(lambda model: model.transition_covariance)(new)[:, 0, 0] != 1).all()


def test_blocks_may_vary_in_time() -> None:
    one, two = np.random.default_rng(0).normal(size=(5, 2, 2)), np.array([0.5, 2.0])
    blocks = ssm.BlockDiagonal([one @ np.swapaxes(one, 1, 2), ssm.Diagonal(two)])
    for found, root in zip(blocks.matrix, one, strict=True):
        np.testing.assert_allclose(found, scipy.linalg.block_diag(root @ root.T, np.diag(two)), atol=1e-12)


@pytest.mark.slow
def test_em_and_gradients_end_at_one_maximum(tmp_path: Path) -> None:
    """Where no free number moves the evidence; interrupted or not."""
    ys, us = data(400)
    run = lambda method, **rest: ssm.fit(tied(), ys, method, us, frozen=FROZEN, progress=False, **rest)
    run(ssm.EM(max_iters=64, tol=0), checkpoint=tmp_path / "fit")
    em = run(ssm.EM(max_iters=1000, tol=0), checkpoint=tmp_path / "fit")
    gradient = run(ssm.LBFGS(tol=1e-13))
    assert (np.diff(em.log_probs) > -1e-9).all() and em.num_parameters == 15
    same(em.model)
    np.testing.assert_allclose(em.log_prob, gradient.log_prob, rtol=1e-10)
    slope = eqx.filter_jit(eqx.filter_grad(lambda model: ssm.log_prob(model, ys, us)))(em.model)
    entries = free_entries(tied(), frozen_names(tied(), FROZEN))
    for steep, free in zip(jax.tree.leaves(slope), jax.tree.leaves(entries), strict=True):
        np.testing.assert_allclose(steep[free], 0, atol=1e-4)  # a thousand iterations come this close


@pytest.mark.slow
def test_errors_of_tied_numbers_are_those_of_differences() -> None:
    """A walk of two states that turn by one number, seen through one noise."""

    def make(x: Any) -> ssm.LinearGaussian:
        x = jnp.asarray(x)
        matrix = jnp.stack([x[0], x[1], 0 * x[0], x[0]]).reshape(2, 2)
        noise = ssm.BlockDiagonal([ssm.Diagonal(x[2:3]), EYE[:1, :1]])
        return ssm.LinearGaussian(np.zeros(2), EYE, ssm.Tied(matrix, [[1, 0], [0, 1]]), EYE, EYE, noise)

    truth, turn = [0.7, 0.3, 0.5], np.array([[False, False], [True, False]])
    _, ys = ssm.simulate(make(truth), jax.random.key(0), 100)
    whole = ["initial_mean", "initial_covariance", "transition_covariance", "emission_matrix"]
    frozen = {**dict.fromkeys([*whole, "emission_covariance.blocks.1"], True), "transition_matrix": turn}
    model = ssm.fit(make(truth), ys, ssm.LBFGS(tol=1e-13), frozen=frozen).model
    matrix = model.transition_matrix
    at = np.array([matrix[0, 0], matrix[0, 1], model.emission_covariance[0, 0]])
    evidence = jax.jit(lambda x: ssm.log_prob(make(x), ys))
    moves = 1e-3 * np.eye(3)
    rise = lambda a, b: evidence(at + a + b) - evidence(at + a - b)
    information = [[(rise(-a, b) - rise(a, b)) / 4e-6 for b in moves] for a in moves]
    expected = np.sqrt(np.diag(np.linalg.inv(information)))
    errors = ssm.standard_errors(model, ys, frozen=frozen)
    found = [*errors.transition_matrix[0], errors.emission_covariance[0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # differences of third order in steps of 1e-3
    np.testing.assert_array_equal(errors.transition_matrix[1], [0, found[0]])
    assert errors.emission_covariance[1, 1] == 0


@pytest.mark.slow
def test_em_with_priors_restarts_and_batches_rises() -> None:
    """Also a singular block, which keeps its range."""
    line = np.outer([1.0, 2.0], [1.0, 2.0])
    noise = ssm.BlockDiagonal([line, ssm.Spherical(0.3, 1)])
    model = ssm.LinearGaussian(
        np.zeros(3),
        ssm.BlockDiagonal([np.eye(2), ssm.Spherical(1.0, 1)]),
        tied()._transition_matrix,
        noise,
        tied()._emission_matrix,
        tied()._emission_covariance,
        emission_prior=ssm.RegressionPrior(precision=np.eye(3)),
    )
    key = jax.random.key(1)
    _, ys = jax.vmap(lambda key: ssm.simulate(model, key, 20))(jax.random.split(key, 4))
    fit = ssm.fit(model, ys, ssm.EM(max_iters=30, tol=0, restarts=3), key=key)
    assert (np.diff(fit.restarts) > -1e-9).all()
    begin, spread = fit.model.initial_covariance, fit.model.transition_covariance
    assert begin[0, 1] != 0
    np.testing.assert_array_equal(begin[2, :2], 0)
    np.testing.assert_allclose(spread[1, :2], 2 * spread[0, :2], rtol=1e-12)
    np.testing.assert_array_equal(np.linalg.matrix_rank(spread, tol=1e-10), 2)
    whole = ssm.fit(model, ys, ssm.StochasticEM(num_epochs=3, batch_size=4, step_size=1.0), key=key)
    np.testing.assert_allclose(whole.log_prob, ssm.fit(model, ys, ssm.EM(max_iters=3, tol=0)).log_prob, rtol=1e-9)


@pytest.mark.slow
def test_correlated_noises_leave_ties_alone() -> None:
    """Evidence and slope are those of the model without ties, where slopes of tied entries add up."""
    ys = data(8)[0]
    make = lambda matrix: ssm.LinearGaussian(
        np.zeros(3),
        np.eye(3),
        matrix,
        ssm.BlockDiagonal([np.eye(2), np.eye(1)]),
        np.eye(3),
        np.eye(3),
        cross_covariance=0.3 * np.eye(3),
    )
    matrix = tied()._transition_matrix
    slopes = eqx.filter_jit(eqx.filter_value_and_grad(lambda model: ssm.log_prob(model, ys)))
    (value, slope), (plain, each) = slopes(make(matrix)), slopes(make(matrix.entries))
    np.testing.assert_allclose(value, plain, rtol=1e-12)
    total = np.zeros(matrix.numbers.size)
    np.add.at(total, np.array(matrix.places), np.ravel(each.transition_matrix))
    np.testing.assert_allclose(slope._transition_matrix.numbers, total, rtol=1e-9, atol=1e-12)
    with pytest.raises(TypeError, match="with a cross_covariance"):
        ssm.fit(make(matrix), ys, ssm.EM(max_iters=1))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: ssm.Tied([1.0, 2.0], [1, 1]),
            ValueError,
            "values: entries of one group must be equal, got 1 and 2",
        ),
        (lambda: ssm.Tied([1.0, 2.0], [1, 1, 1]), ValueError, r"groups: expected one integer for each .* shape \(3,\)"),
        (lambda: ssm.Tied([1.0, 2.0], [-1, 1]), ValueError, "groups: expected integers of at least 0, got -1"),
        (lambda: ssm.Tied([1.0, 2.0], [0.5, 1]), TypeError, "groups: expected integers that are known before"),
        (
            lambda: plane(ssm.Tied(np.ones((3, 2, 2)), np.ones((3, 2, 2), int))),
            ValueError,
            "transition_matrix: expected",
        ),
        (
            lambda: plane(ssm.Tied(EYE / 2, np.eye(2, dtype=int)), stable=True),
            ValueError,
            "stable: .*tied entries",
        ),
        (lambda: ssm.BlockDiagonal([]), ValueError, "blocks: expected at least one"),
        (lambda: ssm.BlockDiagonal([EYE, -EYE]), ValueError, r"blocks\[1\]: expected a positive semi-definite matrix"),
        (
            lambda: ssm.BlockDiagonal([np.ones((3, 1, 1)), np.ones((2, 1, 1))]),
            ValueError,
            r"blocks: those that vary in time must share their leading axis T, got \[2, 3\]",
        ),
        (
            lambda: plane(EYE, transition_prior=ssm.RegressionPrior(3.0, EYE)),
            ValueError,
            "degrees: blocks of a covariance have no inverse-Wishart prior",
        ),
        (
            lambda: plane(EYE, blocks=ssm.BlockDiagonal([EYE, ssm.Diagonal([1.0])])),
            ValueError,
            r"transition_covariance: expected shape \(2, 2\), got \(3, 3\)",
        ),
    ],
)
def test_wrong_ties_and_blocks_are_named(make: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make()


EYE = np.eye(2)


def plane(matrix: Any, blocks: Any = None, **rest: Any) -> ssm.LinearGaussian:
    noise = ssm.BlockDiagonal([ssm.Diagonal([1.0]), np.eye(1)]) if blocks is None else blocks
    return ssm.LinearGaussian(np.zeros(2), EYE, matrix, noise, EYE, EYE, **rest)
