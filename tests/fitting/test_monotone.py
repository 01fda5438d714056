"""EM raises the evidence: no alarm where it only rounds, and one where the M-step is wrong."""

import jax
import numpy as np
import pytest

import ssm

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def chain(emission, size=2):
    transition = np.full((size, size), 0.3 / (size - 1))
    np.fill_diagonal(transition, 0.7)
    return ssm.HMM(np.full(size, 1 / size), transition, emission)


def near_zero():
    """A series in units in which the evidence of its best model is close to zero, and that model."""
    ys = RNG.normal(size=200) + 4 * (np.arange(200) // 20 % 2)
    best = ssm.fit(chain(ssm.emissions.Normal([0.0, 4.0], [1.0, 1.0])), ys, ssm.EM(60, tol=1e-7), progress=False)
    unit = np.exp(best.objective / len(ys))  # y / unit has the evidence + T log unit
    emission = best.model.emission
    return ys * unit, chain(ssm.emissions.Normal(emission.loc * unit, emission.scale * unit))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("symbol", [0, 2])
def test_constant_symbols_are_no_alarm(symbol, restarts, precision, request):
    if precision == "float64":
        request.getfixturevalue("float64")
    probs = np.random.default_rng(1).dirichlet(np.ones(3), 5)
    start, method = chain(ssm.emissions.Categorical(probs), 5), ssm.EM(60, tol=0.0, restarts=restarts)
    fit = ssm.fit(start, np.full(300, symbol), method, key=KEY)
    assert abs(fit.objective) < 1e-3  # a few epsilons of every step


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_units_in_which_the_evidence_is_zero_are_no_alarm(precision, request):
    if precision == "float64":
        request.getfixturevalue("float64")
    ys, start = near_zero()
    assert abs(ssm.fit(start, ys, ssm.EM(60, tol=0.0)).objective) < 0.2


@pytest.mark.parametrize("off", [0.03, -0.03])
def test_an_m_step_that_is_a_little_off_is_found(off, monkeypatch):
    """By 3 % of a deviation: half a thousandth of a nat for each observation."""
    right = ssm.emissions.Normal.maximise

    def wrong(self, *arguments, **options):
        best = right(self, *arguments, **options)
        return ssm.emissions.Normal(best.loc + off, best.scale)

    monkeypatch.setattr(ssm.emissions.Normal, "maximise", wrong)
    ys = np.random.default_rng(2).normal(size=401 if off > 0 else 402)  # a shape of its own, compiled with this M-step
    start = ssm.HMM([1.0], [[1.0]], ssm.emissions.Normal([ys.mean()], [ys.std()]))
    with pytest.raises(RuntimeError, match="EM lowered the log-evidence .*; the M-step of this model does not"):
        ssm.fit(start, ys, ssm.EM(20, tol=0.0))


def test_a_fall_in_the_last_iteration_is_found(monkeypatch):
    right = ssm.emissions.Normal.maximise
    wrong = lambda self, *rest, **options: ssm.emissions.Normal(right(self, *rest, **options).loc + 1, self.scale)
    monkeypatch.setattr(ssm.emissions.Normal, "maximise", wrong)
    ys = np.random.default_rng(2).normal(size=403)
    with pytest.raises(RuntimeError, match="EM lowered"):
        ssm.fit(ssm.HMM([1.0], [[1.0]], ssm.emissions.Normal([ys.mean()], [ys.std()])), ys, ssm.EM(1))
