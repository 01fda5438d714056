"""The user's own files as arrays; every refusal is one line that says what came and what was expected."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssm.datasets import letters

MISSING = {"", "na", "n/a", "nan", "null", "."}


class InputError(Exception):
    """Something that the user can put right; its text is the one line shown."""


class Data(NamedTuple):
    """One sequence to be modelled: symbols (T,) of a text, or a series (T, N) with NaN where missing."""

    name: str
    ys: np.ndarray

    @property
    def is_text(self) -> bool:
        """Whether the observations are symbols."""
        return self.ys.dtype.kind == "i"


def read(path: Path) -> Data:
    """A .txt file as letters, a .csv file as its numeric columns. Raises InputError."""
    readers = {".txt": _read_text, ".csv": _read_table}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: expected a file that ends in .txt (text) or .csv (numbers)")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if not content.strip():
        raise InputError(f"{path}: the file is empty")
    return readers[path.suffix.lower()](path, content)


def _read_text(path: Path, content: str) -> Data:
    symbols = letters(content)
    if not symbols.any():
        raise InputError(f"{path}: no letters a to z in it")
    return Data(path.name, symbols)


def _read_table(path: Path, content: str) -> Data:
    """Numeric columns of a comma-separated table, with or without a header."""
    try:
        lines = list(enumerate(csv.reader(content.rstrip().splitlines()), 1))
    except csv.Error as error:
        raise InputError(f"{path}: not a comma-separated table ({error})") from error
    first, width = next((line, len(row)) for line, row in lines if row)
    # An empty line between others is a missing value of a single series, and nothing in a wider table.
    numbered = [(line, row or [""]) for line, row in lines if row or (width == 1 and line > first)]
    for line, row in numbered:
        if len(row) != width:
            raise InputError(f"{path}: line {line} has {len(row)} columns, line {first} has {width}")
    rows = [row for _, row in numbered]
    if all(math.isnan(_number(cell)) for cell in rows[0]):  # a header: nothing in it is a number
        header, cells = rows[0], rows[1:]
    else:
        header, cells = [f"column {n + 1}" for n in range(width)], rows
    columns = {name.strip(): [row[n] for row in cells] for n, name in enumerate(header)}
    numeric = {name: column for name, column in columns.items() if _is_numeric(column)}
    if not numeric:
        raise InputError(f"{path}: no column of numbers in it")
    ys = np.array([[_number(cell) for cell in column] for column in numeric.values()]).T
    if np.isinf(ys).any():
        raise InputError(f"{path}: an infinite number; leave a cell empty where the value is missing")
    return Data(f"{path.name}: {', '.join(numeric)}", ys)


def _is_numeric(column: list[str]) -> bool:
    """Whether every cell is a number or missing, and at least one is a number."""
    there = [cell for cell in column if cell.strip().lower() not in MISSING]
    return bool(there) and not any(math.isnan(_number(cell)) for cell in there)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
