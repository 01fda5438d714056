"""Sequences packed into rows give what each gives alone; a prior keeps what was not seen possible."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import ssm
from ssm.emissions import Bernoulli

pytestmark = pytest.mark.usefixtures("float64")


def model(rng: np.random.Generator, pseudo_counts=None) -> ssm.HMM:
    rows = rng.dirichlet(np.ones(2), 3)
    return ssm.HMM(rows[0], rows[1:], Bernoulli(rng.uniform(0.2, 0.8, (2, 3)), pseudo_counts))


def sequences(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.integers(0, 2, (size, 3)).astype(float) for size in (2, 7, 1, 4, 3, 7, 5)]


def test_every_sequence_is_found_where_it_was_put() -> None:
    given = sequences(np.random.default_rng(0))
    packed = ssm.pack(given, 8)
    assert packed.ys.shape == (4, 8, 3)  # 29 steps need four rows of eight
    taken = np.zeros((4, 8), int)
    for sequence, (row, begin) in zip(given, packed.places, strict=True):
        np.testing.assert_array_equal(packed.ys[row, begin : begin + len(sequence)], sequence)
        taken[row, begin : begin + len(sequence)] += 1
    np.testing.assert_array_equal(taken, np.arange(8) < np.asarray(packed.lengths)[:, None])
    assert sorted(map(tuple, np.argwhere(packed.starts).tolist())) == sorted(packed.places)


def test_evidence_and_expectations_of_packed_sequences_are_those_of_padded_ones() -> None:
    rng = np.random.default_rng(1)
    given, start = sequences(rng), model(rng)
    padded, lengths = ssm.pad(given)
    packed = ssm.pack(given)
    one_by_one = np.sum(ssm.log_prob(start, padded, lengths=lengths))
    np.testing.assert_allclose(np.sum(ssm.log_prob(start, packed.ys, **packed.flags)), one_by_one, rtol=1e-12)
    counts = [
        ssm.expected_statistics(start, packed.ys, **packed.flags),
        ssm.expected_statistics(start, padded, lengths=lengths),
    ]
    for name in ("initial", "transitions"):
        rows, alone = (np.sum(getattr(each, name), axis=0) for each in counts)
        np.testing.assert_allclose(rows, alone, rtol=1e-9)  # sums in another order


@pytest.mark.parametrize(("given", "length", "words"), [([], None, "at least one"), ([np.ones(3)], 2, "at least 3")])
def test_what_cannot_be_packed(given, length, words) -> None:
    with pytest.raises(ValueError, match=words):
        ssm.pack(given, length)


def test_a_beta_prior_is_climbed_with_the_evidence() -> None:
    """The M-step is the maximum, found by SciPy, of weighted log-likelihood plus log-density of the prior."""
    rng = np.random.default_rng(2)
    ys, weights = rng.integers(0, 2, 9).astype(float), rng.uniform(size=(9, 2))
    ones, zeros = np.array([0.5, 2.0]), 0.25
    emission = Bernoulli([0.3, 0.6], (ones, zeros))
    found = emission.maximise(jnp.asarray(weights), jnp.asarray(ys), None, None)

    def loss(p: float, k: int) -> float:
        prior = scipy.stats.beta(1 + ones[k], 1 + zeros).logpdf(p)
        return -(weights[:, k] @ scipy.stats.bernoulli(p).logpmf(ys) + prior)

    best = [
        scipy.optimize.minimize_scalar(loss, bounds=(0, 1), args=(k,), method="bounded", options={"xatol": 1e-9}).x
        for k in (0, 1)
    ]
    np.testing.assert_allclose(found.probs, best, atol=1e-6)  # a flat top: SciPy stops at the root of its precision
    between = found.log_prior() - emission.log_prior()
    density = lambda p: sum(scipy.stats.beta(1 + a, 1 + zeros).logpdf(x) for a, x in zip(ones, p, strict=True))
    np.testing.assert_allclose(between, density(np.asarray(found.probs)) - density([0.3, 0.6]), rtol=1e-9)
    np.testing.assert_array_equal(found.pseudo_counts[0], ones)


def test_em_with_a_prior_climbs_and_leaves_nothing_impossible() -> None:
    rng = np.random.default_rng(3)
    ys = rng.integers(0, 2, (30, 3)).astype(float)
    ys[:, 2] = 0  # never seen
    new = np.array([[1.0, 0.0, 1.0]])
    fit = ssm.fit(model(rng, (0.1, 0.3)), ys, ssm.EM(20, tol=0.0), progress=False)
    assert np.all(np.diff(fit.log_probs) > -1e-9) and float(ssm.log_prob(fit.model, new)) > -10
    # Without a prior an M-step leaves a zero, for good.
    bare = Bernoulli([[0.2, 0.3, 0.1]]).maximise(jnp.ones((30, 1)), jnp.asarray(ys), None, None)
    assert float(bare.probs[0, 2]) == 0


@pytest.mark.parametrize(
    ("prior", "error"), [(0.1, TypeError), ((-1.0, 0.0), ValueError), ((np.ones(5), 0.0), ValueError)]
)
def test_priors_are_checked(prior, error) -> None:
    with pytest.raises(error, match="pseudo_counts"):
        Bernoulli([[0.2, 0.3], [0.4, 0.5]], prior)
