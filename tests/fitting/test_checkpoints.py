"""A fit goes on where it was interrupted, and only if it is the same fit."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ssm
from ssm.fitting.fingerprint import digest

KEY = jax.random.key(3)
METHODS = {
    "EM": lambda n: ssm.EM(max_iters=n, tol=0.0),
    "restarts": lambda n: ssm.EM(max_iters=n, tol=0.0, restarts=2),
    "SGD": lambda n: ssm.SGD(num_epochs=n),
    "mini-batches": lambda n: ssm.SGD(num_epochs=n, batch_size=2),
    "L-BFGS": lambda n: ssm.LBFGS(max_iters=n, tol=0.0),
    "stochastic EM": lambda n: ssm.StochasticEM(num_epochs=n, batch_size=2),
}


def model(loc=(-1.0, 1.0)):
    return ssm.HMM([0.6, 0.4], [[0.9, 0.1], [0.2, 0.8]], ssm.emissions.Normal(list(loc), [1.0, 1.0]))


def data():
    return np.random.default_rng(0).normal(size=(3, 20))


def fitted(path, method=ssm.EM(max_iters=3, tol=0.0), start=None, ys=None, **options):  # noqa: B008 - a value
    options = {"key": KEY} | options
    return ssm.fit(start or model(), data() if ys is None else ys, method, checkpoint=path, progress=False, **options)


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_that_goes_on_is_the_fit_that_was_not_interrupted(name, tmp_path):
    make = METHODS[name]
    whole = fitted(None, make(14))
    fitted(tmp_path / "fit", make(5))
    resumed = fitted(tmp_path / "fit", make(14))
    assert resumed.num_iters == whole.num_iters
    np.testing.assert_array_equal(resumed.log_probs, whole.log_probs)
    for one, other in zip(jax.tree.leaves(resumed.model), jax.tree.leaves(whole.model), strict=True):
        np.testing.assert_array_equal(one, other)


CHANGES = {
    "ys": {"ys": data() + 100},
    "ys of another length": {"ys": data()[:, :-1]},
    "mask": {"mask": np.tile(np.arange(20) != 3, (3, 1))},
    "lengths": {"lengths": [20, 20, 18]},
    "starts": {"starts": np.tile(np.arange(20) == 7, (3, 1))},
    "validation": {"validation": data() + 1},
    "key": {"key": jax.random.key(4)},
    "frozen": {"frozen": ("transition",)},
    "model": {"start": model((-1.0, 1.1))},
    "model of another structure": {"start": ssm.HMM([0.5, 0.5], np.eye(2), ssm.emissions.Poisson([1.0, 2.0]))},
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_as_it_was_is_named(name, tmp_path):
    fitted(tmp_path / "fit", ys=np.abs(data()) // 0.5 if "structure" in name else None)
    change = CHANGES[name] | ({"ys": np.abs(data()) // 0.5} if "structure" in name else {})
    argument = name.split()[0]
    with pytest.raises(ValueError, match=rf"does not hold a fit of this .*[:,] {argument} \(.*\); .*remove"):
        fitted(tmp_path / "fit", **change)


@pytest.mark.parametrize("other", [name for name in METHODS if name != "EM"])
def test_another_method_is_another_fit(other, tmp_path):
    fitted(tmp_path / "fit")
    with pytest.raises(ValueError, match=r"method: method \(\(name=EM, tol=0.0, restarts=1\) there, \(name="):
        fitted(tmp_path / "fit", METHODS[other](9))


SETTINGS = [
    (ssm.EM(2, tol=0.0), ssm.EM(4, tol=1e-9)),
    (ssm.SGD(num_epochs=2), ssm.SGD(optax.adam(2e-2), num_epochs=4)),
    (ssm.SGD(num_epochs=2), ssm.SGD(num_epochs=4, max_grad_norm=1.0)),
    (ssm.SGD(num_epochs=2), ssm.SGD(num_epochs=4, batch_size=2)),
    (ssm.LBFGS(2), ssm.LBFGS(4, memory=5)),
    (ssm.StochasticEM(2), ssm.StochasticEM(4, step_size=lambda step: 0.9 / (step + 1))),
    (
        ssm.StochasticEM(2, step_size=optax.constant_schedule(0.5)),
        ssm.StochasticEM(4, step_size=optax.constant_schedule(0.4)),
    ),
]


@pytest.mark.parametrize(("before", "after"), SETTINGS)
def test_other_settings_of_a_method_are_another_fit(before, after, tmp_path):
    fitted(tmp_path / "fit", before)
    with pytest.raises(ValueError, match=r"method: method \("):
        fitted(tmp_path / "fit", after)


def test_an_equal_optimiser_made_anew_goes_on(tmp_path):
    schedule = lambda: optax.chain(optax.clip(1.0), optax.adam(optax.cosine_decay_schedule(1e-2, 50)))
    fitted(tmp_path / "fit", ssm.SGD(schedule(), num_epochs=3))
    assert fitted(tmp_path / "fit", ssm.SGD(schedule(), num_epochs=5)).num_iters == 5


def test_optimisers_that_differ_in_an_array_inside_a_jitted_function_differ():
    def optimiser(rates):
        rates = jnp.asarray(rates)
        rate = jax.jit(lambda step: rates[jnp.minimum(step, 1)])
        return ssm.SGD(optax.sgd(rate), num_epochs=3)

    slow, fast = (fitted(None, optimiser(rates)).log_probs for rates in ([1e-3, 1e-3], [1e-1, 1e-1]))
    assert fast[-1] > slow[-1] + 1e-3


@pytest.mark.parametrize("damage", ["cut", "changed", "head", "empty", "other", "older", "newer"])
def test_files_that_cannot_be_read_say_so(damage, tmp_path):
    path = tmp_path / "fit"
    fitted(path)
    whole = path.read_bytes()
    lines = whole.split(b"\n", 2)
    path.write_bytes(
        {
            "cut": whole[:-20],
            "changed": whole[:-3] + b"abc",
            "head": b"\n".join([lines[0], lines[1][:50], lines[2]]),
            "empty": b"",
            "other": b"a,b\n1,2\n",
            "older": lines[2],  # files began with the history
            "newer": b"onescan checkpoint 99\n" + whole,
        }[damage]
    )
    said = {"empty": "is no checkpoint", "other": "is no checkpoint", "older": "has format 1", "newer": "has format 99"}
    with pytest.raises(ValueError, match=f"checkpoint: .*{said.get(damage, 'is damaged')}.*remove"):
        fitted(path)


def test_where_no_file_can_be_written_is_said_at_once(tmp_path):
    with pytest.raises(ValueError, match="checkpoint: .* there is no folder"):
        fitted(tmp_path / "none" / "fit")
    with pytest.raises(ValueError, match="checkpoint: .* is a folder"):
        fitted(tmp_path)


PARTS = """
import functools, equinox, jax, optax, numpy as np
from ssm.fitting.fingerprint import digest
from ssm.fitting.optimiser import Optimiser
key, rate = jax.random.key(0), 0.5
parts = [equinox.nn.Lambda(jax.nn.relu), functools.partial(max, rate), lambda x: x in {"a", "b", "c"}]
parts += [{"b", "a"}, {"z": 1}, optax.constant_schedule(rate), key, np.float32(2), rate / 3]
print(*map(digest, parts), digest(Optimiser(optax.adamw(1e-3), np.ones(3, np.float32)).description))
"""


def test_equal_values_have_one_digest_in_every_process(capsys):
    other = subprocess.run([sys.executable, "-c", PARTS], capture_output=True, text=True, check=True).stdout
    exec(PARTS, {})
    assert capsys.readouterr().out == other and len(set(other.split())) == 10


def test_what_functions_do_and_close_over_counts():
    scaled = lambda rate: lambda x: rate * x
    assert digest(scaled(0.5)) == digest(scaled(0.5)) != digest(scaled(0.4))
    assert digest(lambda x: x + 1) != digest(lambda x: x + 2)
    assert digest([1, 2]) != digest([12]) and digest([[1], 2]) != digest([1, [2]])
    assert digest(1) == digest(1.0) != digest(True)

    def endless(n):
        return endless(n - 1)

    assert digest(endless)
