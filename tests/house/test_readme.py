"""What the README tells people to run, runs."""

import inspect
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import ssm

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tour_runs_for_all_three_models(capsys):
    (tour,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with jax.numpy_dtype_promotion("standard"):  # as a reader has it
        exec(compile(tour, "README.md", "exec"), {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == ["HMM", "LinearGaussian", "RNN"]
    assert np.isfinite([float(held_out) for _, held_out in lines]).all()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_file_that_is_linked_is_there(target):
    assert (ROOT / target).is_file()


def test_every_public_name_is_in_the_reference():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    names = {
        f"ssm.{name}" for name in vars(ssm) if not name.startswith("_") and not inspect.ismodule(getattr(ssm, name))
    }
    for folder in ("emissions", "transitions", "durations", "conjugate", "schedules", "cells", "heads"):
        classes = {name for name, each in vars(getattr(ssm, folder)).items() if inspect.isclass(each)}
        names |= {f"ssm.{folder}.{name}" for name in classes if not name.startswith("Abstract")}
    elsewhere = {"ssm.fit": "ssm.fitting.fit.fit"}
    found = set(re.findall(r"^::: (\S+)", pages, re.MULTILINE))
    assert sorted(name for name in names if elsewhere.get(name, name) not in found) == []


def test_the_files_of_the_architecture_are_there():
    said = README.split("## Architecture")[1].split("## Contributing")[0]
    names = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", said)) - {"tests/rooms.py"}
    assert {"passes/evidence.py", "gaussian/adjoint/"} <= names
    package = ROOT / "ssm"
    assert [
        name for name in sorted(names) if not any((root / name).exists() for root in (package, package / "recursions"))
    ] == []
