"""What importing the library brings with it; how long it takes: `python -m benchmarks.import_time`."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["ssm", "ssm.__main__"])
def test_plots_and_tables_are_imported_only_when_used(module):
    program = f"import sys, {module}; print(sorted({{'matplotlib', 'pandas', 'statsmodels'}} & set(sys.modules)))"
    # The programs inherit no import hook, so this is what a user's interpreter loads.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_every_public_module_is_there_after_one_import():
    program = (
        "import sys, ssm; assert 'matplotlib' not in sys.modules and not hasattr(ssm, 'plots');"
        "print(len(ssm.plotting.COLOURS), len(ssm.datasets.ALPHABET), {'plotting', 'datasets'} <= set(dir(ssm)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "8 27 True"), done.stderr


def test_the_computing_of_jax_is_not_started():
    program = "import ssm; from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
