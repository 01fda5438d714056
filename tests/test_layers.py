"""Imports point down: a file knows its own layer and those below it, and nothing above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "ssm"

# Layer by layer, lowest first; a folder stands for all its files. See the README's architecture section.
LAYERS = [
    # 0  words and arithmetic
    [
        "shapes",
        "trees",
        "logspace",
        "linalg",
        "derivatives",
        "transposing",
        "roots",
        "lane_roots",
        "conditioning",
        "checks",
        "compiling",
        "distributions",
        "parameters",
        "covariances",
        "freezing",
        "stability",
        "tying",
        "extras",
        "climbing",
        "ranks",
        "unwritten",
        "replacing",
        "missing",
    ],
    # 1  what is known at one instant
    ["steps", "beliefs", "diffuse", "likelihoods"],
    # 2  functions between beliefs, as data
    ["maps"],
    # 3  the idea: one step, the ways to walk, the one driver
    ["model", "recursion", "expectation", "schedules", "scan", "forward"],
    # 4  the members
    ["emissions", "durations", "transitions", "conjugate", "cells", "heads", "recursions"],
    # 5  the verbs
    [
        "arguments",
        "data",
        "packing",
        "statistics",
        "filtering",
        "smoothing",
        "lagging",
        "pairs",
        "predictive_checks",
        "simulating",
        "forecasts",
        "forecasting",
        "decoding",
        "best_paths",
        "fitting",
        "comparing",
        "uncertainty",
        "selecting",
        "aligning",
        "diagnosing",
        "residual_tests",
        "standardising",
    ],
    # 6  what stands around them
    ["datasets", "axes", "plotting", "commands", "__main__", "__init__"],
]
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))

# Inside a layer, what may not import what: the members do not know each other's families.
APART = {
    "emissions": {"recursions", "transitions", "cells", "heads"},
    "transitions": {"recursions", "emissions", "cells", "heads"},
    "durations": {"recursions", "transitions", "emissions", "cells", "heads"},
    "cells": {"recursions", "emissions"},
    "heads": {"recursions", "emissions"},
}


def unit(module: str) -> str:
    """The file or folder directly under ssm that a dotted module name belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    """The dotted name of a file; a package's own __init__ counts as the package."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {module_of(path) for path in FILES}


def imported(path: Path) -> list[str]:
    """Modules of the library that a file imports, wherever in it the import stands."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            children = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [child if child in MODULES else node.module for child in children]
    return [name for name in names if name.split(".")[0] == "ssm"]


def test_every_file_has_a_layer() -> None:
    assert {unit(module_of(path)) for path in FILES} <= set(DEPTH)
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = unit(module_of(path))
    for name in imported(path):
        there = unit(name)
        assert DEPTH[there] <= DEPTH[here], f"{here} (layer {DEPTH[here]}) imports {name} (layer {DEPTH[there]})"
        assert there not in APART.get(here, ()), f"{here} imports {name}"


def test_no_cycles() -> None:
    graph = {module_of(path): set(imported(path)) for path in FILES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module in done:
            return
        for name in graph[module] - {module}:
            visit(name, (*above, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


DOORS = {"distrax": {"distributions"}, "tensorflow_probability": {"distributions"}, "matplotlib": {"plotting"}}


@pytest.mark.parametrize("package", DOORS)
def test_one_door_for_each_heavy_dependency(package: str) -> None:
    users = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if any(name.split(".")[0] == package for name in names):
                users.add(unit(module_of(path)))
    assert users <= DOORS[package]
