"""Bad input: every error names the argument, what came and what was expected."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.emissions import Categorical, MultivariateNormal, Normal

KEY = jax.random.key(0)
HALF = np.array([0.5, 0.5])
EVEN = np.full((2, 2), 0.5)
SYMBOLS = np.array([0, 1, 1, 0])
EYE = np.eye(2)


def categorical_hmm() -> ssm.HMM:
    return ssm.HMM(HALF, EVEN, Categorical(np.array([[0.2, 0.8], [0.6, 0.4]])))


def vector_hmm() -> ssm.HMM:
    return ssm.HMM(HALF, EVEN, Normal(np.zeros((2, 2)), np.ones((2, 2))))


def level(**more: Any) -> ssm.LinearGaussian:
    """A random walk seen through noise: one state, one observed number."""
    one = np.ones((1, 1))
    return ssm.LinearGaussian(np.zeros(1), one, one, one, one, one, **more)


def driven() -> ssm.LinearGaussian:
    return level(transition_input=np.ones((1, 3)))


def plane(**changed: Any) -> ssm.LinearGaussian:
    """Two states, two observed numbers, with some arguments changed."""
    names = (
        "initial_mean",
        "initial_covariance",
        "transition_matrix",
        "transition_covariance",
        "emission_matrix",
        "emission_covariance",
    )
    return ssm.LinearGaussian(**(dict(zip(names, (np.zeros(2), EYE, EYE, EYE, EYE, EYE), strict=True)) | changed))


VECTORS = np.zeros((4, 2))
SERIES = np.zeros((4, 1))
LOPSIDED = np.array([[1.0, 0.5], [0.0, 1.0]])
INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])

CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # -- constructors: hidden Markov models
    "initial does not sum": (
        lambda: ssm.HMM([0.5, 0.6], EVEN, Categorical(EVEN)),
        ValueError,
        r"initial: .*sum to one.*1\.1",
    ),
    "initial of the wrong rank": (
        lambda: ssm.HMM(EVEN, EVEN, Categorical(EVEN)),
        ValueError,
        r"initial: expected shape \(K,\), got \(2, 2\)",
    ),
    "initial of the wrong size": (
        lambda: ssm.HMM([1 / 3] * 3, EVEN, Categorical(EVEN)),
        ValueError,
        r"initial: .*K = 2.*\(3,\)",
    ),
    "initial negative": (
        lambda: ssm.HMM([1.5, -0.5], EVEN, Categorical(EVEN)),
        ValueError,
        r"initial: .*negative, got -0\.5 at index 1",
    ),
    "transition row does not sum": (
        lambda: ssm.HMM(HALF, [[0.5, 0.5], [0.5, 0.4]], Categorical(EVEN)),
        ValueError,
        r"transition: .*row 1 sums to 0\.9",
    ),
    "transition not square": (
        lambda: ssm.HMM(HALF, [[0.5, 0.5]], Categorical(EVEN)),
        ValueError,
        r"transition: expected shape \(2, 2\), got \(1, 2\)",
    ),
    "transition NaN": (
        lambda: ssm.HMM(HALF, [[0.5, 0.5], [np.nan, 1]], Categorical(EVEN)),
        ValueError,
        r"transition: expected finite.*nan at index \(1, 0\)",
    ),
    "transition of text": (
        lambda: ssm.HMM(HALF, "uniform", Categorical(EVEN)),
        TypeError,
        r"transition: expected an array.*'uniform'",
    ),
    "transition complex": (
        lambda: ssm.HMM(HALF, EVEN * 1j, Categorical(EVEN)),
        TypeError,
        r"transition: expected real numbers, got complex",
    ),
    "emission is an array": (
        lambda: ssm.HMM(HALF, EVEN, EVEN),
        TypeError,
        r"emission: expected a family of ssm\.emissions, got ndarray",
    ),
    "probs do not sum": (lambda: Categorical([[0.5, 0.1], [0.5, 0.5]]), ValueError, r"probs: .*row 0 sums to 0\.6"),
    "probs empty": (
        lambda: Categorical(np.zeros((0, 2))),
        ValueError,
        r"probs: every axis needs at least one entry, got shape \(0, 2\)",
    ),
    "scale zero": (
        lambda: Normal([0.0, 1.0], [1.0, 0.0]),
        ValueError,
        r"scale: expected positive numbers, got 0 at index 1",
    ),
    "scale negative": (
        lambda: Normal([0.0, 1.0], [-1.0, 1.0]),
        ValueError,
        r"scale: expected positive numbers, got -1 at index 0",
    ),
    "scale of another shape": (
        lambda: Normal([0.0, 1.0], [1.0]),
        ValueError,
        r"scale: expected shape \(2,\), got \(1,\)",
    ),
    "loc infinite": (
        lambda: Normal([0.0, np.inf], [1.0, 1.0]),
        ValueError,
        r"loc: expected finite numbers, got inf at index 1",
    ),
    "loc of rank 3": (
        lambda: Normal(np.zeros((2, 2, 2)), np.ones((2, 2, 2))),
        ValueError,
        r"loc: expected shape \(K, N\), got \(2, 2, 2\)",
    ),
    "covariance lopsided": (
        lambda: MultivariateNormal(EYE, np.stack([EYE, LOPSIDED])),
        ValueError,
        r"covariance: expected a symmetric matrix.*0\.5",
    ),
    "covariance indefinite": (
        lambda: MultivariateNormal(EYE, np.stack([EYE, INDEFINITE])),
        ValueError,
        r"covariance: .*semi-definite.*eigenvalue of -1",
    ),
    "covariance for one state": (
        lambda: MultivariateNormal(EYE, EYE),
        ValueError,
        r"covariance: expected shape \(2, 2, 2\), got \(2, 2\)",
    ),
    "random with no states": (lambda: Normal.random(KEY, 0), ValueError, r"num_states: must be at least 1, got 0"),
    "random with half a class": (
        lambda: Categorical.random(KEY, 2, 2.5),
        TypeError,
        r"num_classes: expected an integer, got 2\.5",
    ),
    "minimum_scale negative": (lambda: Normal([0.0], [1.0], minimum_scale=-1.0), ValueError, r"minimum_scale: .*-1"),
    # -- constructors: linear-Gaussian models
    "transition_covariance lopsided": (
        lambda: plane(transition_covariance=LOPSIDED),
        ValueError,
        r"transition_covariance: .*symmetric",
    ),
    "cross_covariance of correlation two": (
        lambda: plane(transition_covariance=1e-6 * EYE, cross_covariance=2e-3 * EYE),
        ValueError,
        r"cross_covariance: .*semi-definite.*eigenvalue of -1",
    ),
    "cross_covariance turned": (
        lambda: plane(emission_matrix=np.ones((3, 2)), emission_covariance=np.eye(3), cross_covariance=np.ones((3, 2))),
        ValueError,
        r"cross_covariance: expected shape \(2, 3\), got \(3, 2\)",
    ),
    "cross_covariance in another time": (
        lambda: plane(transition_covariance=np.stack([EYE] * 4), cross_covariance=np.zeros((3, 2, 2))),
        ValueError,
        r"share their leading axis T, got .*cross_covariance",
    ),
    "cross_covariance beside structure": (
        lambda: plane(emission_covariance=ssm.Diagonal([1.0, 1.0]), cross_covariance=EYE / 2),
        ValueError,
        r"cross_covariance: .*no structure of its own, got Diagonal",
    ),
    "cross_covariance beside a prior": (
        lambda: plane(cross_covariance=EYE / 2, initial_prior=ssm.RegressionPrior(4.0, EYE)),
        ValueError,
        r"cross_covariance: priors",
    ),
    "emission_covariance indefinite": (
        lambda: plane(emission_covariance=INDEFINITE),
        ValueError,
        r"emission_covariance: .*eigenvalue of -1",
    ),
    "initial_covariance of the wrong size": (
        lambda: plane(initial_covariance=np.eye(3)),
        ValueError,
        r"initial_covariance: expected shape \(2, 2\), got \(3, 3\)",
    ),
    "emission_matrix transposed": (
        lambda: plane(emission_matrix=np.ones((2, 3))),
        ValueError,
        r"emission_matrix: expected shape \(N, 2\), got \(2, 3\)",
    ),
    "transition_bias a scalar": (
        lambda: plane(transition_bias=1.0),
        ValueError,
        r"transition_bias: expected shape \(2,\), got \(\)",
    ),
    "input matrices disagree": (
        lambda: plane(transition_input=np.ones((2, 3)), emission_input=np.ones((2, 2))),
        ValueError,
        r"emission_input: expected shape \(2, 3\), got \(2, 2\)",
    ),
    "time axes disagree": (
        lambda: plane(transition_matrix=np.stack([EYE] * 4), emission_matrix=np.stack([EYE] * 3)),
        ValueError,
        r"share their leading axis T.*4.*3",
    ),
    # -- observations
    "ys without its last axis": (
        lambda: ssm.filter(level(), np.zeros(4)),
        ValueError,
        r"ys: .*got \(4,\); for a single series add the axis: ys\[\.\.\., None\]",
    ),
    "ys with another last axis": (
        lambda: ssm.filter(vector_hmm(), np.zeros((4, 3))),
        ValueError,
        r"ys: .*shape \(2,\).*got \(4, 3\)",
    ),
    "ys of rank 4": (
        lambda: ssm.filter(vector_hmm(), np.zeros((1, 2, 3, 2))),
        ValueError,
        r"ys: .*\(T, 2\) or \(B, T, 2\), got \(1, 2, 3, 2\)",
    ),
    "ys empty": (
        lambda: ssm.log_prob(vector_hmm(), np.zeros((0, 2))),
        ValueError,
        r"ys: expected at least one time step, got shape \(0, 2\)",
    ),
    "ys infinite": (
        lambda: ssm.log_prob(level(), [[0.0], [np.inf]]),
        ValueError,
        r"ys: expected finite numbers.*got inf",
    ),
    "ys of text": (
        lambda: ssm.log_prob(categorical_hmm(), np.array(["a", "b"])),
        TypeError,
        r"ys: expected numbers, got dtype <U1",
    ),
    "ys complex": (lambda: ssm.log_prob(level(), SERIES * 1j), TypeError, r"ys: expected .*numbers, got .*complex"),
    "ys None": (lambda: ssm.log_prob(level(), None), TypeError, r"ys: expected numbers, got .*object"),
    "ys ragged": (
        lambda: ssm.log_prob(categorical_hmm(), [[0, 1], [0, 1, 1]]),
        ValueError,
        r"ys: got a list of sequences of different shapes; .*ssm\.pad",
    ),
    "ys ragged vectors": (
        lambda: ssm.log_prob(vector_hmm(), [np.zeros((3, 2)), np.zeros((2, 2))]),
        ValueError,
        r"ys: .*ssm\.pad",
    ),
    "symbol too large": (
        lambda: ssm.log_prob(categorical_hmm(), [0, 2]),
        ValueError,
        r"ys: symbols must lie in 0 \.\. 1 .*from 0 to 2",
    ),
    "symbol negative": (
        lambda: ssm.log_prob(categorical_hmm(), [0, -1]),
        ValueError,
        r"ys: symbols must lie in 0 \.\. 1 .*from -1 to 0",
    ),
    "symbol and a half": (
        lambda: ssm.log_prob(categorical_hmm(), [0.0, 0.5]),
        TypeError,
        r"ys: .*expected integers, got 0\.5",
    ),
    "symbols as floats under jit": (
        lambda: jax.jit(lambda ys: ssm.log_prob(categorical_hmm(), ys))(jnp.zeros(3)),
        TypeError,
        r"ys: .*expected integers, got float32",
    ),
    "symbols as booleans": (
        lambda: ssm.log_prob(categorical_hmm(), SYMBOLS == 1),
        TypeError,
        r"ys: .*expected integers, got bool",
    ),
    "wrong shape under jit": (
        lambda: jax.jit(lambda ys: ssm.filter(vector_hmm(), ys).log_prob)(jnp.zeros((4, 3))),
        ValueError,
        r"ys: .*got \(4, 3\)",
    ),
    # -- lengths, masks, starts
    "lengths longer than T": (
        lambda: ssm.filter(vector_hmm(), VECTORS, lengths=5),
        ValueError,
        r"lengths: each must lie in 1 \.\. 4, .*got 5",
    ),
    "lengths zero": (
        lambda: ssm.filter(vector_hmm(), VECTORS[None], lengths=[0]),
        ValueError,
        r"lengths: each must lie in 1 \.\. 4, .*got 0",
    ),
    "lengths of the wrong shape": (
        lambda: ssm.filter(vector_hmm(), VECTORS[None], lengths=[1, 2]),
        ValueError,
        r"lengths: expected shape \(1,\).*got \(2,\)",
    ),
    "lengths for one sequence": (
        lambda: ssm.filter(vector_hmm(), VECTORS, lengths=[2]),
        ValueError,
        r"lengths: expected shape \(\).*got \(1,\)",
    ),
    "lengths as floats": (
        lambda: ssm.filter(vector_hmm(), VECTORS, lengths=2.0),
        TypeError,
        r"lengths: expected integers, got float",
    ),
    "lengths of the wrong shape under jit": (
        lambda: jax.jit(lambda n: ssm.log_prob(vector_hmm(), VECTORS, lengths=n))(jnp.ones(2, int)),
        ValueError,
        r"lengths: expected shape",
    ),
    "mask of numbers": (
        lambda: ssm.filter(vector_hmm(), VECTORS, mask=np.ones(4)),
        TypeError,
        r"mask: expected booleans, got float64",
    ),
    "mask of the wrong length": (
        lambda: ssm.filter(vector_hmm(), VECTORS, mask=np.ones(3, bool)),
        ValueError,
        r"mask: expected shape \(4,\) or \(4, 2\), got \(3,\)",
    ),
    "mask of the wrong width": (
        lambda: ssm.filter(vector_hmm(), VECTORS, mask=np.ones((4, 1), bool)),
        ValueError,
        r"mask: expected shape .*got \(4, 1\)",
    ),
    "starts of the wrong shape": (
        lambda: ssm.filter(vector_hmm(), VECTORS, starts=np.ones((4, 2), bool)),
        ValueError,
        r"starts: expected shape \(4,\), got \(4, 2\)",
    ),
    "starts of numbers": (
        lambda: ssm.filter(vector_hmm(), VECTORS, starts=[0, 2, 0, 0]),
        TypeError,
        r"starts: expected booleans, got int",
    ),
    # -- inputs
    "inputs missing": (
        lambda: ssm.filter(driven(), SERIES),
        ValueError,
        r"inputs: LinearGaussian reads 3 inputs per step; pass an array \(4, 3\)",
    ),
    "inputs superfluous": (
        lambda: ssm.filter(level(), SERIES, np.zeros((4, 3))),
        ValueError,
        r"inputs: this LinearGaussian reads no inputs",
    ),
    "inputs too short": (
        lambda: ssm.filter(driven(), SERIES, np.zeros((3, 3))),
        ValueError,
        r"inputs: expected shape \(4, 3\), got \(3, 3\)",
    ),
    "inputs NaN": (
        lambda: ssm.filter(driven(), SERIES, np.full((4, 3), np.nan)),
        ValueError,
        r"inputs: .*finite at every step",
    ),
    "future inputs missing": (
        lambda: ssm.forecast(driven(), SERIES, 2, np.zeros((4, 3))),
        ValueError,
        r"future_inputs: .*reads 3 inputs.*\(2, 3\)",
    ),
    "future inputs too many": (
        lambda: ssm.forecast(driven(), SERIES, 2, np.zeros((4, 3)), np.zeros((3, 3))),
        ValueError,
        r"future_inputs: expected shape \(2, 3\), got \(3, 3\)",
    ),
    "more steps than parameters": (
        lambda: ssm.filter(plane(transition_matrix=np.stack([EYE] * 3)), VECTORS),
        ValueError,
        r"ys: 4 time steps, .*cover only 3",
    ),
    "forecast beyond the parameters": (
        lambda: ssm.forecast(plane(transition_matrix=np.stack([EYE] * 5)), VECTORS, 2),
        ValueError,
        r"steps: .*cover 5 steps, but step 6",
    ),
    # -- options
    "schedule misspelt": (
        lambda: ssm.filter(level(), SERIES, schedule="asociative"),
        ValueError,
        r"schedule: expected one of auto, sequential, .*got 'asociative'",
    ),
    "schedule a class": (
        lambda: ssm.filter(level(), SERIES, schedule=ssm.schedules.Sequential),
        TypeError,
        r"schedule: expected a name or an object",
    ),
    "schedule unsupported": (
        lambda: ssm.filter(level(), SERIES, schedule="fixed_point"),
        TypeError,
        r"LinearGaussian does not support .*sequential, associative, blocked",
    ),
    "blocks of no steps": (
        lambda: ssm.schedules.Blocked(0),
        ValueError,
        r"Blocked\(size\): size must be at least 1, got 0",
    ),
    "model of another library": (
        lambda: ssm.filter("hmm", SERIES),
        TypeError,
        r"model: expected a model of this library.*got str",
    ),
    "model a class": (lambda: ssm.log_prob(ssm.HMM, SERIES), TypeError, r"model: expected a model"),
    "model to simulate": (lambda: ssm.simulate(3, KEY, 2), TypeError, r"model: expected .*got int"),
    "decode a continuous state": (
        lambda: ssm.decode(level(), SERIES),
        TypeError,
        r"model: decode needs a discrete state space.*LinearGaussian",
    ),
    "statistics of a continuous state": (
        lambda: ssm.expected_statistics(ssm.RNN(ssm.cells.GRU(1, 2, key=KEY), ssm.heads.Normal(2, 1, key=KEY)), SERIES),
        TypeError,
        r"model: expected_statistics needs .*got RNN",
    ),
    "key untyped": (
        lambda: ssm.simulate(level(), jax.random.PRNGKey(0), 3),
        TypeError,
        r"key: expected a typed key, jax\.random\.key\(seed\), got .*uint32",
    ),
    "key a seed": (lambda: ssm.simulate(level(), 0, 3), TypeError, r"key: expected a typed key, .*got int"),
    "keys in an array": (
        lambda: ssm.simulate(level(), jax.random.split(KEY), 3),
        ValueError,
        r"key: expected one key, got an array of keys of shape \(2,\)",
    ),
    "key missing": (
        lambda: ssm.log_prob(ssm.ParticleFilter(level(), 4), SERIES),
        ValueError,
        r"key: log_prob of a ParticleFilter draws; pass key",
    ),
    "steps zero": (lambda: ssm.forecast(level(), SERIES, 0), ValueError, r"steps: must be at least 1, got 0"),
    "steps a float": (lambda: ssm.simulate(level(), KEY, 2.0), TypeError, r"steps: expected an integer, got 2\.0"),
    "num_samples zero": (
        lambda: ssm.posterior_sample(level(), KEY, SERIES, 0),
        ValueError,
        r"num_samples: must be at least 1, got 0",
    ),
    "num_samples of a forecast": (
        lambda: ssm.forecast(level(), SERIES, 2, num_samples=-1),
        ValueError,
        r"num_samples: must be at least 1, got -1",
    ),
    "interval of level one": (
        lambda: ssm.forecast(level(), SERIES, 2).interval(1.0),
        ValueError,
        r"level: .*strictly between 0 and 1, got 1",
    ),
    "interval in percent": (lambda: ssm.forecast(level(), SERIES, 2).interval(90), ValueError, r"level: .*got 90"),
    "quantile of zero": (lambda: ssm.forecast(level(), SERIES, 2).quantile(0.0), ValueError, r"q: .*got 0"),
    "mean of symbols": (
        lambda: ssm.forecast(categorical_hmm(), SYMBOLS, 2).mean,
        TypeError,
        r"mean: .*use probs or quantile",
    ),
    "probs of numbers": (
        lambda: ssm.forecast(level(), SERIES, 2).probs,
        TypeError,
        r"probs: .*use mean, stddev or quantile",
    ),
    "future_ys of the wrong length": (
        lambda: ssm.forecast(level(), SERIES, 2).log_prob(np.zeros((3, 1))),
        ValueError,
        r"future_ys: expected shape \(2, 1\), got \(3, 1\)",
    ),
    # -- streaming and padding
    "a stream without init": (
        lambda: ssm.step(level(), None, np.zeros(1)),
        TypeError,
        r"state: expected the state of ssm\.init or ssm\.step, got NoneType",
    ),
    "a stream of the wrong event": (
        lambda: ssm.step(level(), ssm.init(level()), 0.0),
        ValueError,
        r"y: expected one event of shape \(1,\), got \(\)",
    ),
    "nothing to pad": (lambda: ssm.pad([]), ValueError, r"sequences: expected at least one"),
    "padding different widths": (
        lambda: ssm.pad([np.zeros((3, 2)), np.zeros((3, 1))]),
        ValueError,
        r"sequences: .*differ in length only.*\(3, 2\).*\(3, 1\)",
    ),
    "padding an empty sequence": (
        lambda: ssm.pad([np.zeros((3, 2)), np.zeros((0, 2))]),
        ValueError,
        r"sequences: each needs at least one time step, but number 1 is empty",
    ),
    # -- fitting
    "nothing observed": (
        lambda: ssm.fit(vector_hmm(), np.full((4, 2), np.nan), ssm.EM(), progress=False),
        ValueError,
        r"ys: nothing is observed in any of the 4 steps",
    ),
    "frozen misspelt": (
        lambda: ssm.fit(vector_hmm(), VECTORS, ssm.EM(), frozen=["transitions"], progress=False),
        ValueError,
        r"frozen: the model has no parameter 'transitions'; it has .*transition",
    ),
    "frozen a string": (
        lambda: ssm.fit(vector_hmm(), VECTORS, ssm.EM(), frozen="transition", progress=False),
        TypeError,
        r"frozen: expected a list .*'transition'",
    ),
    "frozen entries of a row of probabilities": (
        lambda: ssm.num_parameters(vector_hmm(), {"transition": np.eye(2, dtype=bool)}),
        ValueError,
        r"frozen: single entries of 'transition' cannot be frozen, since it is not stored entry by entry",
    ),
    "frozen entries of an HMM, by EM": (
        lambda: ssm.fit(vector_hmm(), VECTORS, ssm.EM(), frozen={"emission.loc": np.eye(2, dtype=bool)}),
        TypeError,
        r"frozen: the M-step of a HMM holds whole parameters, not entries of them; .*ssm\.LBFGS",
    ),
    "frozen entries of another shape": (
        lambda: ssm.num_parameters(vector_hmm(), {"emission.loc": np.ones((1, 2), bool)}),
        ValueError,
        r"frozen: 'emission.loc' has shape \(2, 2\), got a mask of shape \(1, 2\)",
    ),
    "a frozen entry that is not there": (
        lambda: ssm.num_parameters(vector_hmm(), ["emission.loc[0,2]"]),
        ValueError,
        r"frozen: 'emission.loc' has shape \(2, 2\), got the entry \[0, 2\]",
    ),
    "frozen by numbers": (
        lambda: ssm.num_parameters(vector_hmm(), {"emission.loc": np.eye(2)}),
        TypeError,
        r"frozen: expected True or an array of bools for 'emission.loc', got float64",
    ),
    "method a name": (
        lambda: ssm.fit(vector_hmm(), VECTORS, "em", progress=False),
        TypeError,
        r"method: expected ssm\.EM\(\.\.\.\), ssm\.SGD\(\.\.\.\), .*, got 'em'",
    ),
    "EM without iterations": (lambda: ssm.EM(max_iters=0), ValueError, r"max_iters: must be at least 1, got 0"),
    "EM with a negative tolerance": (
        lambda: ssm.EM(tol=-1.0),
        ValueError,
        r"tol: expected a number of at least 0, got -1",
    ),
    "EM of a network": (
        lambda: ssm.fit(
            ssm.RNN(ssm.cells.GRU(1, 2, key=KEY), ssm.heads.Normal(2, 1, key=KEY)), SERIES, ssm.EM(), progress=False
        ),
        TypeError,
        r"method: EM needs .*RNN",
    ),
    "SGD with no epochs": (lambda: ssm.SGD(num_epochs=0), ValueError, r"num_epochs: must be at least 1, got 0"),
    "SGD with a rate": (
        lambda: ssm.SGD(0.1),
        TypeError,
        r"optimizer: expected an optax gradient transformation, got 0\.1",
    ),
    "SGD in batches too large": (
        lambda: ssm.fit(vector_hmm(), VECTORS[None], ssm.SGD(batch_size=2), key=KEY, progress=False),
        ValueError,
        r"batch_size: at most the 1 sequences.*got 2",
    ),
    "SGD with a negative norm": (
        lambda: ssm.SGD(max_grad_norm=-1.0),
        ValueError,
        r"max_grad_norm: expected a positive number, got -1",
    ),
    "validation without ys": (
        lambda: ssm.fit(vector_hmm(), VECTORS, ssm.EM(), validation={"y": VECTORS}, progress=False),
        ValueError,
        r"validation: expected the keys .*got \['y'\]",
    ),
    "comparing a list": (lambda: ssm.compare([vector_hmm()], VECTORS), TypeError, r"models: expected a mapping"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_explained(case: str) -> None:
    call, error, words = CASES[case]
    with pytest.raises(error, match=words):
        call()


def test_a_symbol_out_of_range_under_jit_poisons_the_evidence() -> None:
    model = categorical_hmm()
    evidence = jax.jit(lambda ys: ssm.log_prob(model, ys))
    assert np.isnan(evidence(jnp.array([0, 2, 1])))
    assert np.isfinite(evidence(jnp.array([0, 1, 1])))


MODELS = {
    "categorical": (categorical_hmm, SYMBOLS),
    "vectors": (vector_hmm, VECTORS),
    "level": (level, SERIES),
}


@pytest.mark.parametrize("name", MODELS)
def test_nothing_observed_is_certain(name: str) -> None:
    model, ys = MODELS[name][0](), MODELS[name][1]
    answer = ssm.filter(model, ys, mask=np.zeros(4, bool))
    np.testing.assert_array_equal(answer.log_evidence, np.zeros(4))
    assert answer.first_impossible == -1


@pytest.mark.parametrize("name", MODELS)
def test_one_step_is_a_sequence(name: str) -> None:
    model, ys = MODELS[name][0](), MODELS[name][1][:1]
    evidence = ssm.log_prob(model, ys)
    assert evidence.shape == () and np.isfinite(evidence)
    answer, smoothed = ssm.filter(model, ys), ssm.smooth(model, ys)
    np.testing.assert_allclose(answer.log_prob, evidence, rtol=1e-6)  # one rounding of float32
    for a, b in zip(jax.tree.leaves(answer.filtered), jax.tree.leaves(smoothed.smoothed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert ssm.simulate(model, KEY, 1)[1].shape == ys.shape
    draws = ssm.posterior_sample(model, KEY, ys, 3)
    assert draws.shape[:2] == (3, 1)
    ahead = ssm.forecast(model, ys, 1)
    assert ahead.quantile(0.5).shape == ys.shape
    state, increment = ssm.step(model, ssm.init(model), ys[0])
    np.testing.assert_allclose(increment, evidence, rtol=1e-6)
    if isinstance(model, ssm.HMM):
        path, best = ssm.decode(model, ys)
        assert path.shape == (1,) and best <= evidence
        counts = ssm.expected_statistics(model, ys)
        np.testing.assert_array_equal(counts.transitions, np.zeros((2, 2)))
        assert np.isfinite(ssm.fit(model, ys, ssm.EM(max_iters=2), progress=False).log_probs).all()
