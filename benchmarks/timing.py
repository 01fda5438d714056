"""Fair measurements on a noisy machine: two things in turn, medians, ratios."""

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def finished(function: Callable[[], Any]) -> Any:
    """The result of a call, computed."""
    return jax.block_until_ready(function())


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    finished(function)
    return time.perf_counter() - began


def cold(function: Callable[[], Any]) -> float:
    """Seconds of a first call, with everything JAX has compiled forgotten."""
    jax.clear_caches()
    return seconds(function)


def warm_up(function: Callable[[], Any]) -> None:
    """Five calls: the first ones after compiling touch their memory for the first time, and take up to three times."""
    for _ in range(5):
        finished(function)


def in_turn(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int = 25) -> tuple[float, float]:
    """Median seconds of each, the two called alternately after five calls each to warm up."""
    warm_up(ours)
    warm_up(theirs)
    pairs = np.array([(seconds(ours), seconds(theirs)) for _ in range(repeats)])
    return tuple(np.median(pairs, axis=0))


def same(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    """Raise AssertionError unless two results agree to a relative tolerance, before anything is timed."""
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=tolerance, err_msg=what)


def machine() -> str:
    """Where this runs, for the foot of a table."""
    device = jax.devices()[0]
    name = device.device_kind if device.platform != "cpu" else _processor()
    return (
        f"{device.platform}: {name}, {os.cpu_count()} cores; Python {platform.python_version()}, JAX {jax.__version__}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def versions(*packages: str) -> str:
    """Names and versions of installed packages."""
    from importlib.metadata import version

    return ", ".join(f"{package} {version(package)}" for package in packages)


def table(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table under a bold title."""
    lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def microseconds(value: float) -> str:
    """Three significant digits."""
    return f"{value * 1e6:.3g} µs" if value < 1e-3 else f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def ratio(theirs: float, ours: float) -> str:
    """How many times faster ours is."""
    return f"{theirs / ours:.2g}×" if theirs / ours < 10 else f"{theirs / ours:.0f}×"
