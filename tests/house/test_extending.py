"""docs/extending.md: every line runs, every class is short, and what is fitted there is better than before."""

import ast

import extending
import numpy as np
import pytest

import ssm


def test_every_block_runs_and_fits_climb() -> None:
    module = extending.run([])
    fits = 0
    for piece in extending.blocks():
        exec(compile(piece, str(extending.PAGE), "exec"), module.__dict__)
        if "ssm.fit" in piece:
            fits += 1
            assert module.fit.log_prob > module.fit.start_log_prob, piece
    assert fits == 4
    assert (module.low < 0).all() and (module.high > 1.5).all()  # the last deviations were three


@pytest.mark.parametrize("name", ["Volatility", "Laplace", "Sticky", "SlowContext"])
def test_a_class_takes_less_than_forty_lines(name: str) -> None:
    tree = ast.parse("\n".join(extending.blocks()))
    found = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    assert found.end_lineno is not None and found.end_lineno - found.lineno + 1 < 40


def test_the_median_of_the_page_is_the_best_one() -> None:
    """Beside every observation as a location, with its own best scale."""
    rng = np.random.default_rng(0)
    ys, weights = rng.laplace(size=40), rng.uniform(size=(40, 1))
    best = extending.own.Laplace(np.zeros(1), np.ones(1)).maximise(weights, ys, None, None)
    score = lambda family: float(np.sum(weights * np.asarray(family.log_likelihoods(ys, None))))
    others = [np.average(np.abs(ys - loc), weights=weights[:, 0]) for loc in ys]
    rivals = [extending.own.Laplace([loc], [scale]) for loc, scale in zip(ys, others, strict=True)]
    assert score(best) >= max(map(score, rivals)) - 1e-4  # float32
    assert isinstance(ssm.HMM([1.0], [[1.0]], best), ssm.HMM)
