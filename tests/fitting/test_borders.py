"""Standard errors beside what a fit drove to the border: held there, and finite for the rest."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import ssm

TINY = [1e-12, 1e-57, 1e-170, 1e-290]
WIDTH = {"rtol": 1e-9, "atol": 1e-5}  # below what a share of 1e-12 leaves: its own error is 1e-6


def draws(size=60):
    """A chain of two states that begins in the first."""
    rng = np.random.default_rng(0)
    states = np.zeros(size, int)
    for t in range(1, size):
        states[t] = states[t - 1] if rng.random() < 0.85 else 1 - states[t - 1]
    return np.array([0.0, 3.0])[states] + rng.normal(size=size)


def chain(start, move=0.15):
    return ssm.HMM([1 - start, start], [[1 - move, move], [0.2, 0.8]], ssm.emissions.Normal([0.0, 3.0], [1.0, 1.0]))


@pytest.mark.usefixtures("float64")
def test_an_ordinary_fit_by_em_has_errors():
    """The start of one sequence goes to a vertex; the others' errors are those with the vertex given."""
    ys = draws()
    fit = ssm.fit(chain(0.5), ys, ssm.EM(60, tol=0.0), progress=False)
    assert 0 < fit.model.initial[1] < 1e-30
    errors = ssm.standard_errors(fit.model, ys)
    np.testing.assert_array_equal(errors.initial, 0)
    given = ssm.HMM([1.0, 0.0], fit.model.transition, fit.model.emission)
    for one, other in zip(jax.tree.leaves(errors), jax.tree.leaves(ssm.standard_errors(given, ys)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
        assert np.isfinite(one).all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("tiny", TINY)
def test_shares_on_the_border_leave_the_binomial_errors_of_the_others(tiny):
    ys = np.repeat([0, 1], [10, 30])
    shares = np.array([0.25, 0.75 - tiny, tiny])
    model = ssm.HMM([1.0], [[1.0]], ssm.emissions.Categorical(shares[None]))
    known = np.sqrt(0.25 * 0.75 / 40)
    np.testing.assert_allclose(ssm.standard_errors(model, ys).emission.probs[0], [known, known, 0], **WIDTH)
    together = ssm.parameter_covariance(model, ys, of=lambda m: m.emission.probs[0])
    np.testing.assert_allclose(np.sqrt(np.diag(together)), [known, known, 0], **WIDTH)
    odds = ssm.standard_errors(model, ys, of=lambda m: m.emission.probs[0, 0] / (1 - m.emission.probs[0, 0]))
    np.testing.assert_allclose(odds, known / 0.75**2, rtol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("tiny", [0.0, *TINY[1:]])
@pytest.mark.parametrize("family", [ssm.emissions.Poisson, ssm.emissions.Bernoulli])
def test_rates_on_the_border_leave_the_errors_of_the_others(family, tiny):
    """Two symbols side by side, of which one was never seen."""
    ys = np.zeros((40, 2))
    ys[:10, 0] = 1
    model = ssm.HMM([1.0], [[1.0]], family([[0.25, tiny]]))
    bernoulli = family is ssm.emissions.Bernoulli
    known = np.sqrt(0.25 * (0.75 if bernoulli else 1) / 40)
    read = (lambda m: m.emission.probs) if bernoulli else (lambda m: m.emission.rate)
    np.testing.assert_allclose(ssm.standard_errors(model, ys, of=read), [[known, 0]], rtol=1e-9)
    assert np.isfinite(np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(ssm.standard_errors(model, ys))])).all()


@pytest.mark.usefixtures("float64")
def test_what_is_small_but_needed_is_not_on_the_border():
    """The only way to the second half is a move of 1e-20: it cannot be left out."""
    ys = np.concatenate([np.zeros(20), np.full(20, 12.0)]) + np.random.default_rng(0).normal(size=40)
    model = ssm.HMM([1.0, 0.0], [[1 - 1e-20, 1e-20], [0, 1]], ssm.emissions.Normal([0.0, 12.0], [1.0, 1.0]))
    with pytest.raises(ValueError, match=r"not at a maximum of the evidence.*transition"):
        ssm.standard_errors(model, ys, frozen=["emission"])


@pytest.mark.usefixtures("float64")
def test_where_all_is_held_all_errors_are_zero():
    errors = ssm.standard_errors(chain(1e-57), draws(), frozen=["transition", "emission"])
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(errors))


SEPARATED = {
    "hard zeros": ([1.0, 0.0], [[0.9, 0.1], [0.0, 1.0]], 8.0),
    "no zeros": ([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], 8.0),
    "far apart": ([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], 12.0),
}


@pytest.mark.parametrize("name", SEPARATED)
def test_second_derivatives_where_states_are_told_apart_are_finite_in_float32(name):
    """What a state's share is divided by is then of the size of 1e-20; those in float64 are the truth."""
    initial, transition, apart = SEPARATED[name]
    rng = np.random.default_rng(0)
    ys = np.concatenate([rng.normal(size=10), apart + rng.normal(size=10)])

    def curvature(dtype):
        emission = ssm.emissions.Normal(np.array([0.0, apart], dtype), np.ones(2, dtype))
        model = ssm.HMM(np.array(initial, dtype), np.array(transition, dtype), emission)
        flat, unravel = ravel_pytree(model)
        evidence = lambda vector: ssm.log_prob(unravel(vector), ys.astype(dtype))
        both = jax.jit(lambda at: (jax.hessian(evidence)(at), jax.jacrev(jax.grad(evidence))(at)))(flat)
        return [np.asarray(each) for each in both]

    forward, reverse = curvature(np.float32)
    with jax.enable_x64(True):
        truth = curvature(np.float64)[0]
    # Sums of some twenty terms, each known to a few epsilons of the largest squared distance, 150.
    np.testing.assert_allclose(forward, truth, atol=2e-3)
    np.testing.assert_allclose(reverse, truth, atol=2e-3)
