"""A fast program stands alone where Python can look at what it claims, and gives way where that does not hold."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ssm
from ssm.numeric.trial import claim, heard, mapped, on_trial, tried
from ssm.recursions.markov.in_order import ChainInOrder

HOLDS = ssm.HMM([0.6, 0.4], [[0.9, 0.1], [0.2, 0.8]], ssm.emissions.Normal([-1.0, 1.0], [1.0, 1.0]))
# Data come back to a state that they had spoken against for longer than probabilities can hold.
LOST = ssm.HMM([1.0, 0.0], [[0.999, 0.001], [0.0, 1.0]], ssm.emissions.Normal([-1.0, 1.0], [1.0, 1.0]))
BACK = np.r_[np.full(200, 3.0), np.full(220, -3.0)]
NOISE = np.random.default_rng(0).normal(size=420)
LEADS = {"one": lambda y: y, "batch": lambda y: np.stack([y, NOISE]), "blocks": lambda y: np.tile(y, 6)}
QUICK = ("log_prob", "smooth")
VERBS: dict[str, Callable] = {
    "log_prob": lambda model, ys: ssm.log_prob(model, ys),
    "filter": lambda model, ys: ssm.filter(model, ys).filtered.probs,
    "smooth": lambda model, ys: ssm.smooth(model, ys).smoothed.probs,
    "expected_statistics": lambda model, ys: ssm.expected_statistics(model, ys).transitions,
    "residuals": lambda model, ys: ssm.residuals(model, ys).mid,
    "smooth_pairs": lambda model, ys: ssm.smooth_pairs(model, ys, np.array([0, 199, 200])),
    "fixed_lag_smooth": lambda model, ys: ssm.fixed_lag_smooth(model, ys, 3).smoothed.probs,
    "forecast": lambda model, ys: ssm.forecast(model, ys, 3).mean,
}


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("verb", [v if v in QUICK else pytest.param(v, marks=pytest.mark.slow) for v in VERBS])
def test_answers_are_those_of_both_programs_in_one(verb: str, lead: str) -> None:
    call = VERBS[verb]
    for model, series in ((HOLDS, NOISE), (LOST, BACK)):
        ys = LEADS[lead](series)
        both = jax.jit(call)(model, jnp.asarray(ys))
        for _ in range(2):  # at first the fast program is tried, afterwards it is known not to hold
            np.testing.assert_allclose(call(model, ys), both, rtol=1e-5, atol=1e-6)  # float32, other programs
        inside = jax.jit(lambda one, model=model, ys=ys: one * call(model, ys))(1.0)  # constants inside a `jit`
        np.testing.assert_allclose(inside, both, rtol=1e-5, atol=1e-6)


def test_the_safe_form_is_made_where_it_is_needed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    form = ChainInOrder.form.__func__

    def counted(cls: Any, model: Any, steps: Any) -> Any:
        made.append(1)
        return form(cls, model, steps)

    monkeypatch.setattr(ChainInOrder, "form", classmethod(counted))
    ssm.log_prob(HOLDS, NOISE[:97])
    assert not made
    found = ssm.log_prob(LOST, np.r_[BACK, NOISE[:5]])
    assert made and np.isfinite(found)


@pytest.mark.parametrize("restarts", [1, 2])
def test_em_takes_iterations_again_that_did_not_hold(restarts: int) -> None:
    key = jax.random.key(0)
    fit = ssm.fit(LOST, BACK, ssm.EM(max_iters=12, restarts=restarts), key=key, progress=False)
    before = [float(jax.jit(ssm.log_prob)(LOST, jnp.asarray(BACK, jnp.float32)))]
    if restarts == 1:
        np.testing.assert_allclose(fit.start_log_prob, before[0], rtol=1e-5)
    assert fit.log_prob >= before[0] and (np.diff(fit.log_probs) > -1e-2).all()  # float32, of six thousand
    np.testing.assert_allclose(fit.log_prob, ssm.log_prob(fit.model, BACK), rtol=1e-5)


def test_claims_come_out_of_maps_and_loops() -> None:
    def least(x: Any) -> Any:
        if on_trial():
            claim(x >= 0)
            return jnp.sqrt(x)
        return jnp.sqrt(jnp.abs(x))

    def total(xs: Any) -> Any:
        def body(carry: tuple, x: Any) -> tuple:
            found, holds = heard(least)(x)
            return (carry[0] + found, carry[1] if holds is None else carry[1] & holds), None

        (summed, held), _ = jax.lax.scan(body, (jnp.zeros(()), jnp.ones(2, bool)), xs)
        if on_trial():
            claim(held)
        return summed + jnp.sum(mapped(least)(xs))

    call = tried(total)
    np.testing.assert_allclose(call(jnp.array([1.0, 4.0])), 6)
    np.testing.assert_allclose(call(jnp.array([-1.0, 4.0])), 6)
    np.testing.assert_allclose(call(jnp.array([1.0, 4.0, 4.0])), 10)
    assert not on_trial()
