"""What the README tells people to run, runs."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_tour_runs_for_all_three_models(capsys):
    (tour,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with jax.numpy_dtype_promotion("standard"):  # as a reader has it
        exec(compile(tour, "README.md", "exec"), {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == ["HMM", "LinearGaussian", "RNN"]
    assert np.isfinite([float(held_out) for _, held_out in lines]).all()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_file_that_is_linked_is_there(target):
    assert (Path(__file__).parents[1] / target).is_file()


def test_the_files_of_the_architecture_are_there():
    table = README.split("## Architecture")[1].split("**A member says")[0]
    names = set(re.findall(r"`([a-z_]+(?:\.py|/))`", table))
    assert {"recursion.py", "scan.py", "recursions/"} <= names
    package = Path(__file__).parents[1] / "ssm"
    assert [name for name in sorted(names) if not (package / name).exists()] == []
