"""Imports point down: a file knows its own room and those that the table in rooms.py names beside it, and no others."""

import ast
from pathlib import Path

import pytest
from rooms import FILES, MODULES, NAMES, ROOMS, ROOT, START, imported, into, module_of, room_of

MAY_IMPORT = {name: set(others.split()) for name, others, _ in ROOMS}
MOST_FILES = 20


def test_every_file_stands_in_a_room() -> None:
    assert {room_of(path) for path in FILES} - {"__init__"} == set(NAMES)


def test_rooms_stand_above_those_that_they_import() -> None:
    for place, (name, others, _) in enumerate(ROOMS):
        assert set(others.split()) <= set(NAMES[:place]), name


def test_no_room_is_too_full() -> None:
    for folder in {path.parent for path in FILES}:
        assert len([path for path in FILES if path.parent == folder]) <= MOST_FILES, folder
    assert len(list(ROOT.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room_of(path)
    if here == "__init__":
        return
    for name in imported(path):
        if name in MODULES and name != "ssm":
            there = room_of(MODULES[name])
            assert there == here or there in MAY_IMPORT[here], f"{path.relative_to(ROOT)} imports {name}"


def test_private_names_stay_in_their_room() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in MODULES and node.module != "ssm":
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private or room_of(MODULES[node.module]) == room_of(path), f"{path}: {private}"


def test_no_cycles() -> None:
    graph = {module_of(path): set(imported(path)) for path in FILES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module in done:
            return
        for name in graph.get(module, set()) - {module}:
            visit(name, (*above, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("name", [name for name in NAMES if (ROOT / name).is_dir()])
def test_a_room_says_what_lives_there(name: str) -> None:
    said = ast.get_docstring(ast.parse((ROOT / name / "__init__.py").read_text()))
    assert said and "mports" in said, f"{name}/__init__.py: say in three lines what it holds and what it may import"


def test_the_picture_in_the_readme_is_that_of_the_table() -> None:
    readme = (ROOT.parent / "README.md").read_text()
    assert START in readme and into(readme) == readme, "run: python tests/rooms.py --into"


DOORS = {"distrax": {"distributions"}, "tensorflow_probability": {"distributions"}, "matplotlib": {"plotting"}}


@pytest.mark.parametrize("package", DOORS)
def test_one_door_for_each_heavy_dependency(package: str) -> None:
    users = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if any(name.split(".")[0] == package for name in names):
                users.add(room_of(path))
    assert users <= DOORS[package]
