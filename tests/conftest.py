"""What holds for every test: checked annotations, strict dtypes, warnings that fail, float64 on request."""

import gc
import importlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

# Every function of the library checks the shapes and types it was annotated with. The hook must be there before
# the first `import ssm`; test modules are imported later than this file.
install_import_hook("ssm", "checking.check")

# Read with the first program. The compiler of JAX 0.12 knows the first flag no more, and stops the process at it.
# Without fusion emitters, operations that are split over threads may wait for each other for ever, so none is split.
QUICK_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false --xla_disable_hlo_passes=cpu-parallel-task-assigner"

# float32 never meets float64, nor integers floats, without being told to.
jax.config.update("jax_numpy_dtype_promotion", "strict")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # distrax imports deprecated names of JAX: not ours to mend
    importlib.import_module("distrax")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--slow` runs what takes minutes."""
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors; `slow` is a known marker."""
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("markers", "slow: takes more than ten seconds; run with --slow")
    gc.set_threshold(200_000, 20, 100)  # tracing makes and keeps many small objects: looked through less often
    # Compiling takes most of the time, so programs are compiled as they are for users with `--slow` only, and otherwise
    # with optimisations of machine code left out, and fused loops written without a detour through MLIR: 0.6 of it.
    if not config.getoption("--slow"):
        jax.config.update("jax_disable_most_optimizations", True)
        if jax.__version_info__ < (0, 11):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_TO_COMPILE}"
    # The other worker, and the next run, find them compiled; a whole run then takes a third of the time.
    if (cache := getattr(config, "cache", None)) is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        # An entry may be read while the other worker still writes it: that program is compiled once more.
        config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache entry")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests wait for `--slow`."""
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def pytest_runtest_teardown() -> None:
    """Forget compiled programs before they fill the memory, or the 65530 memory maps that a process may have.

    Each program maps a few regions, which together take some 0.3 MB; beyond the limit of maps the compiler crashes.
    """
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision for one test, or for a module: `pytestmark = pytest.mark.usefixtures("float64")`."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of public data sets, kept outside the repository; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ONESCAN_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; set ONESCAN_DATA to where it is")
    return folder
