"""Under `jax_debug_nans`, which stops at any NaN that leaves a compiled function, everything runs on ordinary data."""

import jax
import numpy as np
import pytest

import ssm

KEY = jax.random.key(0)
METHODS = {
    "EM": ssm.EM(max_iters=12),
    "restarts": ssm.EM(max_iters=12, restarts=3),
    "SGD": ssm.SGD(num_epochs=12),
    "mini-batches": ssm.SGD(num_epochs=4, batch_size=2),
    "L-BFGS": ssm.LBFGS(max_iters=4),
    "L-BFGS, restarts": ssm.LBFGS(max_iters=4, restarts=2),
    "stochastic EM": ssm.StochasticEM(num_epochs=4, batch_size=2),
}


@pytest.fixture(autouse=True)
def debugging():
    with jax.debug_nans(True):
        yield


def chain():
    return ssm.HMM([0.6, 0.4], [[0.9, 0.1], [0.2, 0.8]], ssm.emissions.Normal([-1.0, 1.0], [1.0, 1.0]))


def data(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_fits_run_and_leave_no_nan_where_there_is_a_number(name, validated, tmp_path):
    options = {"validation": data(2, 17)} if validated else {}
    fit = ssm.fit(chain(), data(3, 17), METHODS[name], key=KEY, checkpoint=tmp_path / "fit", **options)
    assert np.isfinite(fit.log_probs).all() and np.isfinite(fit.objective) and np.isfinite(fit.start_log_prob)
    assert np.isfinite(fit.validation_log_probs).all() if validated else fit.validation_log_probs is None
