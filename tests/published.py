"""Series that the tests of other libraries hold."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest


def fedfunds() -> np.ndarray:
    """The series of statsmodels' own test of Markov regression, read without importing that test."""
    home = importlib.util.find_spec("statsmodels")
    if home is None or home.origin is None:
        pytest.skip("statsmodels is not installed")
    path = Path(home.origin).parent / "tsa/regime_switching/tests/test_markov_regression.py"
    if not path.is_file():
        pytest.skip("this build of statsmodels comes without its tests")
    text = path.read_text().split("fedfunds = [", 1)[1].split("]", 1)[0]
    return np.array([float(number) for number in text.replace("\n", " ").split(",") if number.strip()])
