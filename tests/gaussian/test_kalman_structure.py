"""Linear-Gaussian models of which something is known: structured noises, given entries, priors, stability."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
import scipy.stats
import zoo

import ssm
from ssm.parameters.stable import Stable, is_stable
from ssm.recursions.gaussian.regression.regression import Regression

pytestmark = pytest.mark.usefixtures("float64")

TOTAL = 6


def structured(key: jax.Array) -> ssm.LinearGaussian:
    """Three states with independent noises, of which one has none; two observations with noises of one variance.

    With priors of what is seen, and of the start.
    """
    model = zoo.linear_gaussian(biases=True)(key)
    noises = jnp.array([0.5, 0.0, 1.5])
    swap = lambda m: (m._transition_covariance, m._emission_covariance)
    model = eqx.tree_at(swap, model, (ssm.Diagonal(noises), ssm.Spherical(0.7, 2)))
    seen = ssm.RegressionPrior(3.0, 1.5, jnp.ones((2, 3)), 2 * jnp.eye(3))
    start = ssm.RegressionPrior(4.0, 0.5 * jnp.eye(3) + 0.1, precision=0.7)
    none = lambda node: node is None
    return eqx.tree_at(lambda m: (m.emission_prior, m.initial_prior), model, (seen, start), is_leaf=none)


def data(*lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations of two components, one step and one component of another missing."""
    ys, mask = np.random.default_rng(0).normal(size=(*lead, TOTAL, 2)), np.ones((*lead, TOTAL, 2), bool)
    mask[..., 2, :], mask[..., 4, 0] = False, False
    return ys, mask


# -- noises with structure ------------------------------------------------------------------------------------------


def test_noises_with_structure_are_fitted_to_a_maximum_of_q() -> None:
    """Where no free number moves Q and log-prior: standard deviations and coefficients alike; what is zero stays."""
    model, (ys, mask) = eqx.filter_jit(structured)(jax.random.key(0)), data()
    steps = ssm.data.observe(model, ys, mask=mask).steps

    @eqx.filter_jit
    def step(model: Any) -> tuple:
        statistics = ssm.expected_statistics(model, ys, mask=mask)
        best = model.maximise(statistics, steps)
        return best, eqx.filter_grad(lambda m: m.expected_log_prob(steps, statistics) + m.log_prior())(best)

    best, slopes = step(model)
    assert best._transition_covariance.scale[1] == 0 and best.emission_covariance[0, 0] != 0.7
    for slope in jax.tree.leaves(slopes):
        np.testing.assert_allclose(slope, 0, atol=1e-9)
    dense = best.emission_covariance
    np.testing.assert_array_equal(dense, dense[0, 0] * np.eye(2))
    # D² + N D coefficients, D + N biases, D and D (D + 1) / 2 of the start; D and one of the noises.
    assert ssm.num_parameters(model) == 9 + 6 + 3 + 2 + 3 + 6 + 3 + 1


@pytest.mark.slow
def test_em_rises_and_keeps_structure() -> None:
    model, (ys, mask) = eqx.filter_jit(structured)(jax.random.key(0)), data(2)
    fit = ssm.fit(model, ys, ssm.EM(max_iters=5, tol=0, restarts=2), mask=mask, key=jax.random.key(1))
    assert fit.restarts is not None and (np.diff(fit.restarts) > 0).all()
    assert isinstance(fit.model._transition_covariance, ssm.Diagonal) and fit.model.transition_covariance[1, 1] == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ssm.Diagonal([1.0, -1.0]), "variances: expected numbers of at least 0, got -1 at index 1"),
        (lambda: ssm.Spherical(1.0, 0), "size: must be at least 1"),
        (
            lambda: ssm.LinearGaussian([0.0], [[1.0]], [[1.0]], ssm.Diagonal([1.0, 1.0]), [[1.0]], [[1.0]]),
            "transition_covariance: expected shape",
        ),
    ],
)
def test_wrong_structure_is_named(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# -- entries that are given -----------------------------------------------------------------------------------------

GIVEN = {
    "transition_matrix": np.array([[True, True], [True, False]]),  # a level, and a slope that is damped
    "emission_matrix": True,
    "initial_mean": np.array([False, True]),
    "initial_covariance": True,
    "transition_covariance": np.array([False, True]),
}


@eqx.filter_jit
def damped() -> ssm.LinearGaussian:
    """A level and its slope, seen through noise."""
    noises = ssm.Diagonal(np.array([0.3, 0.05]))
    return ssm.LinearGaussian(
        np.zeros(2), 0.1 * np.eye(2), np.array([[1.0, 1.0], [0.0, 0.7]]), noises, np.eye(1, 2), np.eye(1)
    )


def test_given_entries_are_not_counted() -> None:
    assert ssm.num_parameters(damped(), GIVEN) == 1 + 1 + 1 + 1
    names = ["transition_matrix[0, 0]", "transition_covariance.scale[1]"]
    assert ssm.num_parameters(damped(), names) == ssm.num_parameters(damped()) - 2
    assert ssm.num_parameters(damped(), {"transition_matrix": False, "initial_mean": True}) == 4 + 3 + 2 + 2 + 1


def test_a_gradient_step_leaves_given_entries_alone() -> None:
    """Also one that shrinks what has no gradient."""
    ys = np.random.default_rng(0).normal(size=(8, 1))
    optimizer = optax.adamw(0.1, weight_decay=0.5)
    new = ssm.fit(damped(), ys, ssm.SGD(optimizer, num_epochs=2), frozen=GIVEN).model
    old = damped()
    spreads = lambda model: (model._transition_covariance.scale, model.transition_matrix, model.initial_mean)
    masks = [GIVEN[name] for name in ("transition_covariance", "transition_matrix", "initial_mean")]
    for before, after, mask in zip(spreads(old), spreads(new), masks, strict=True):
        np.testing.assert_array_equal(after[mask], before[mask])
        assert (after[~mask] != before[~mask]).all()


@pytest.mark.slow
def test_given_entries_em_and_errors() -> None:
    """EM and L-BFGS end at one maximum; standard errors are those of differences of the evidence."""
    _, ys = ssm.simulate(damped(), jax.random.key(0), 60)
    frozen = {**GIVEN, "transition_covariance": np.array([False, True])}
    em = ssm.fit(damped(), ys, ssm.EM(max_iters=2000, tol=0), frozen=frozen)
    fit = ssm.fit(damped(), ys, ssm.LBFGS(tol=1e-13), frozen=frozen)
    assert (np.diff(em.log_probs) > -1e-9).all() and em.num_parameters == 4
    np.testing.assert_allclose(em.log_prob, fit.log_prob, rtol=1e-6)
    model = fit.model
    at = np.array([model.transition_matrix[1, 1], model.initial_mean[0]])
    at = np.append(at, [model._transition_covariance.scale[0], model.emission_covariance[0, 0] ** 0.5])

    def make(x: np.ndarray) -> ssm.LinearGaussian:
        noises = ssm.Diagonal(jnp.stack([x[2] ** 2, model.transition_covariance[1, 1]]))
        matrix, mean = model.transition_matrix.at[1, 1].set(x[0]), model.initial_mean.at[0].set(x[1])
        return ssm.LinearGaussian(
            mean, model.initial_covariance, matrix, noises, model.emission_matrix, x[3] ** 2 * np.eye(1)
        )

    evidence = jax.jit(lambda x: ssm.log_prob(make(x), ys))
    moves = 1e-3 * np.eye(4)
    corners = lambda a, b: (
        (evidence(at + a + b) - evidence(at + a - b) - evidence(at - a + b) + evidence(at - a - b)) / 4e-6
    )
    expected = np.sqrt(np.diag(np.linalg.inv([[-corners(a, b) for b in moves] for a in moves])))
    errors = ssm.standard_errors(model, ys, frozen=frozen)
    found = [errors.transition_matrix[1, 1], errors.initial_mean[0]]
    found += [errors.transition_covariance[0, 0] / (2 * at[2]), errors.emission_covariance[0, 0] / (2 * at[3])]
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # differences of third order in steps of 1e-3
    assert errors.transition_matrix[0, 0] == 0 and errors.transition_covariance[1, 1] == 0


# -- priors ---------------------------------------------------------------------------------------------------------

SCALES = {"full": np.array([[1.0, 0.3], [0.3, 0.6]]), "diagonal": np.array([0.8, 1.7]), "spherical": 1.3}


@pytest.mark.parametrize("kind", SCALES)
def test_a_prior_has_the_textbook_density(kind: str) -> None:
    """As scipy has it, between two models: inverse gamma densities for variances of their own."""
    rng, degrees, scale = np.random.default_rng(0), 3.5, SCALES[kind]
    mean, precision = rng.normal(size=(2, 2)), np.array([[2.0, 0.5], [0.5, 1.0]])

    @jax.jit
    def found(matrix: jax.Array, root: jax.Array) -> jax.Array:
        variances = jnp.diagonal(root) ** 2
        given = {
            "full": root @ root.T,
            "diagonal": ssm.Diagonal(variances),
            "spherical": ssm.Spherical(variances[0], 2),
        }
        prior = ssm.RegressionPrior(degrees, scale, mean, precision)
        start = jnp.zeros(2), jnp.eye(2)
        return ssm.LinearGaussian(*start, matrix, given[kind], matrix, jnp.eye(2), transition_prior=prior).log_prior()

    def expected(matrix: np.ndarray, root: np.ndarray) -> float:
        variances = np.diag(root) ** 2
        covariance = {"full": root @ root.T, "diagonal": np.diag(variances), "spherical": variances[0] * np.eye(2)}[
            kind
        ]
        spread = scipy.stats.matrix_normal.logpdf(matrix, mean, covariance, np.linalg.inv(precision))
        if kind == "full":
            return spread + scipy.stats.invwishart.logpdf(covariance, degrees, scale)
        each = variances if kind == "diagonal" else variances[:1]
        return spread + scipy.stats.invgamma.logpdf(each, degrees / 2, scale=np.asarray(scale) / 2).sum()

    root = np.array([[0.9, 0.0], [0.4, 1.2]])
    points = [(rng.normal(size=(2, 2)), size * root) for size in (1, 1.5)]
    np.testing.assert_allclose(
        *(np.diff([score(*point) for point in points]) for score in (found, expected)), rtol=1e-10
    )


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (lambda: ssm.RegressionPrior(3.0), "degrees: an inverse-Wishart prior needs both degrees and scale"),
        (lambda: ssm.RegressionPrior(mean=np.eye(2)), "precision: a prior of the matrix needs one"),
        (lambda: ssm.RegressionPrior(3.0, np.eye(3)), r"transition_prior.scale: expected shape \(2, 2\), got \(3, 3\)"),
        (lambda: ssm.RegressionPrior(precision=np.eye(3)), "transition_prior.precision: expected shape"),
        (lambda: ssm.RegressionPrior(3.0, np.eye(2)), "transition_prior: an inverse-Wishart prior rules a singular"),
    ],
)
def test_wrong_priors_are_named(prior: Any, words: str) -> None:
    two, eye = np.zeros(2), np.eye(2)
    with pytest.raises(ValueError, match=words):
        ssm.LinearGaussian(two, eye, eye, np.diag([1.0, 0.0]), np.eye(1, 2), np.eye(1), transition_prior=prior())


@pytest.mark.slow
def test_em_and_gradients_climb_one_posterior() -> None:
    """To one maximum, inside, which the data alone do not have; its errors are those of differences."""
    frozen = ["initial_mean", "initial_covariance", "emission_matrix"]
    moves = ssm.RegressionPrior(5.0, np.array([1.0, 2.0]), 0.5 * np.eye(2), 4 * np.eye(2))
    priors = {"transition_prior": moves, "emission_prior": ssm.RegressionPrior(4.0, 2.0)}
    eye = np.eye(2)

    def make(x: Any, stable: bool = False) -> ssm.LinearGaussian:
        noise, blur = ssm.Diagonal(x[4:6]), ssm.Spherical(x[6], 2)
        return ssm.LinearGaussian(np.zeros(2), eye, x[:4].reshape(2, 2), noise, eye, blur, stable=stable, **priors)

    truth = np.array([0.8, 0.2, -0.3, 0.6, 1.0, 0.5, 0.4])
    _, ys = ssm.simulate(make(truth), jax.random.key(0), 60)
    em = ssm.fit(make(0.8 * truth), ys, ssm.EM(max_iters=3000, tol=0), frozen=frozen)
    gradient = ssm.fit(make(0.8 * truth, stable=True), ys, ssm.LBFGS(tol=1e-13), frozen=frozen)
    assert (np.diff(em.log_probs) > -1e-9).all()
    np.testing.assert_allclose(em.objective, gradient.objective, rtol=1e-9)
    np.testing.assert_allclose(em.log_prob, em.objective - float(em.model.log_prior()), rtol=1e-12)
    numbers = lambda m: jnp.concatenate(
        [
            m.transition_matrix.ravel(),
            jnp.diagonal(m.transition_covariance),
            m.emission_covariance[:1, 0],
        ]
    )
    at, errors = numbers(gradient.model), numbers(ssm.standard_errors(gradient.model, ys, frozen=frozen))
    objective = jax.jit(lambda x: ssm.log_prob(make(x), ys) + make(x).log_prior())
    rise = lambda a, b: objective(at + a + b) - objective(at + a - b)
    steps = 1e-3 * np.eye(7)
    information = [[(rise(-a, b) - rise(a, b)) / 4e-6 for b in steps] for a in steps]
    expected = np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(errors, expected, rtol=1e-3)  # differences of third order in steps of 1e-3


# -- stability ------------------------------------------------------------------------------------------------------


def test_a_stable_matrix_is_any_matrix() -> None:
    """Large numbers stand for eigenvalues near the circle; there and back; x = F x + noise comes to rest."""
    free = 30 * jax.random.normal(jax.random.key(0), (4, 4))

    @jax.jit
    def there(free: jax.Array) -> tuple:
        matrix = Stable(free).constrained()
        power = jnp.linalg.matrix_power(matrix, 3)
        grows = matrix / jnp.max(jnp.abs(jnp.linalg.eigvals(matrix))) * jnp.array([0.99, 1.0])[:, None, None]
        return matrix, Stable.of(matrix).free, Stable.of(power).constrained() - power, jax.vmap(is_stable)(grows)

    matrix, back, difference, certified = there(free)
    assert 0.9 < np.abs(np.linalg.eigvals(matrix)).max() < 1
    np.testing.assert_allclose(back, free, rtol=1e-8)
    np.testing.assert_allclose(difference, 0, atol=1e-10)
    np.testing.assert_array_equal(certified, [True, False])
    spread = scipy.linalg.solve_discrete_lyapunov(np.asarray(matrix), np.eye(4))
    np.testing.assert_allclose(spread, np.eye(4) + free @ free.T, rtol=1e-8)


def test_an_m_step_stays_stable_and_rises() -> None:
    """States that explode: the M-step stops on the way."""
    states = 1.1 ** np.arange(12)[:, None] * np.array([[1.0, -2.0]]) + np.random.default_rng(0).normal(size=(12, 2))
    before, now, start = states[:-1], states[1:], np.diag([0.9, 0.5])
    left = now - before @ start.T
    sums = Regression(*map(jnp.asarray, (11.0, left.T @ left, left.T @ before, before.T @ before, start, np.eye(2))))

    @jax.jit
    def run(sums: Regression) -> tuple:
        free = np.ones(2, bool)
        best, short = sums.maximise(free, keep_noise=False), sums.maximise(free, False, is_stable)
        return best[0], short[0], [sums.log_prob(*each) for each in ((sums.coefficients, sums.root), short, best)]

    best, short, (begin, middle, end) = run(sums)
    radius = [np.abs(np.linalg.eigvals(matrix)).max() for matrix in (best, short)]
    assert radius[0] > 1 > radius[1] and begin < middle < end


@pytest.mark.parametrize("matrix", [np.eye(2), np.zeros((5, 2, 2))])
def test_what_cannot_be_stable_is_named(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="stable: "):
        ssm.LinearGaussian(np.zeros(2), np.eye(2), matrix, np.eye(2), np.eye(2), np.eye(2), stable=True)


@pytest.mark.slow
def test_fits_stay_stable() -> None:
    ys = 1.05 ** np.arange(60)[:, None] + 0.1 * np.random.default_rng(0).normal(size=(60, 1))
    make = lambda stable: ssm.LinearGaussian([0.0], [[1.0]], [[0.5]], [[1.0]], [[1.0]], [[1.0]], stable=stable)
    explosive = ssm.fit(make(False), ys, ssm.EM(50))
    assert explosive.model.transition_matrix[0, 0] > 1
    em = ssm.fit(make(True), ys, ssm.EM(50, tol=0))
    gradient = ssm.fit(make(True), ys, ssm.LBFGS())
    assert (np.diff(em.log_probs) > -1e-9).all() and em.log_prob > em.start_log_prob + 10
    assert em.model.transition_matrix[0, 0] < 1 and gradient.model.transition_matrix[0, 0] < 1
    assert gradient.log_prob <= explosive.log_prob and ssm.num_parameters(em.model) == 6
