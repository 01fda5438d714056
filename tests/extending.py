"""The code of docs/extending.md, run as it stands there."""

import re
import types
from pathlib import Path

import jax
import jax.numpy as jnp

import ssm

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"


def blocks() -> list[str]:
    """Every block of Python on the page, in order."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run(pieces: list[str]) -> types.ModuleType:
    """A module of these blocks."""
    module = types.ModuleType("extending")
    for piece in pieces:
        exec(compile(piece, str(PAGE), "exec"), module.__dict__)
    return module


# The blocks that make a class, without those that use one.
own = run([piece for piece in blocks() if "class " in piece])


def volatility(key: jax.Array) -> ssm.recursion.AbstractRecursion:
    """The page's member."""
    return own.Volatility(2 + jax.random.normal(key))


def laplace(key: jax.Array) -> ssm.emissions.AbstractEmission:
    """Three states of the page's emission."""
    return own.Laplace(jax.random.normal(key, (3,)), jnp.array([0.5, 1.0, 2.0]))


def sticky_hmm(key: jax.Array) -> ssm.HMM:
    """A chain that moves by the page's transition."""
    for_logit, for_emission = jax.random.split(key)
    transition = own.Sticky(1 + jax.random.normal(for_logit), 3)
    return ssm.HMM(jnp.array([0.5, 0.3, 0.2]), transition, ssm.emissions.Categorical.random(for_emission, 3, 4))


def slow_rnn(key: jax.Array) -> ssm.RNN:
    """A network of the page's cell that reads what it emits."""
    for_cell, for_head = jax.random.split(key)
    return ssm.RNN(own.SlowContext(2, 3, key=for_cell), ssm.heads.Normal(3, 2, key=for_head))
