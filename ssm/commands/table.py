"""Tables of numbers as people have them: which columns are data, which an index, and which text."""

import csv
import math
import re
from typing import NamedTuple

import numpy as np

MISSING = {"", "na", "n/a", "nan", "null", "."}
INDEX = {"index", "id", "t", "time", "date", "day", "month", "year", "row", "step"}  # what an index may be called
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([ T]\d{1,2}(:\d{2}).*)?"  # 2001-01, 2001-01-31, 2001-01-31 12:00
    r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([ T]\d{1,2}(:\d{2}).*)?"  # 31.01.2001
    r"|\d{4}[- ]?[QqWwMm]\d{1,2}"  # 2001Q1
    r"|(\d{1,2}[- ])?[A-Za-z]{3,9}\.?[- ]\d{2,4}"  # 31 Jan 2001
)


class TableError(Exception):
    """What is wrong with a table, and where."""


class Table(NamedTuple):
    """The columns of numbers (T, N), NaN where a cell is empty, their names, and what was made of the others."""

    names: list[str]
    values: np.ndarray
    about: str


class _Column(NamedTuple):
    name: str
    lines: list[int]
    cells: list[str]

    def numbers(self, comma: bool) -> list[float]:
        return [_number(cell, comma) for cell in self.cells]

    @property
    def there(self) -> list[tuple[int, str]]:
        """Line and text of the cells that are not empty."""
        return [(line, cell) for line, cell in zip(self.lines, self.cells, strict=True) if not _is_missing(cell)]


def read_table(content: str) -> Table:
    """A table with or without a header, its cells separated by commas, semicolons or tabs.

    Beside semicolons and tabs, numbers may have decimal commas. Dates, and numbers that rise from line to line as only
    an index does, are an index. Raises TableError for what cannot be read as that.
    """
    separator = _separator(content)
    columns, comma = _columns(content, separator)
    kinds = {i: _kind(column, comma) for i, column in enumerate(columns)}
    data = [i for i, kind in kinds.items() if kind == "data"]
    if not data:  # a trend by itself is data
        data = [i for i, kind in kinds.items() if kind == "count"][:1]
    if not data:
        raise TableError("no column of numbers in it")
    values = np.array([columns[i].numbers(comma) for i in data]).T
    others = {"index": [], "left out, as they are text": [], "left out, as they are empty": []}
    of_kind = {"date": "index", "count": "index", "text": "left out, as they are text"}
    for i in sorted(set(kinds) - set(data)):
        others[of_kind.get(kinds[i], "left out, as they are empty")].append(columns[i].name)
    names = [columns[i].name for i in data]
    parts = [f"columns used: {', '.join(names)}" + (" (decimal commas)" if comma else "")]
    parts += [f"{what}: {', '.join(found)}" for what, found in others.items() if found]
    if np.isnan(values).any():
        parts.append(f"empty cells, taken for missing: {np.isnan(values).sum()} of {values.size}")
    return Table(names, values, "; ".join(parts))


def _separator(content: str) -> str:
    """A semicolon or a tab, if each line has as many of them and some; else a comma."""
    lines = [line for line in content.splitlines() if line.strip()]
    for separator in ";\t":
        counts = {len(row) for row in csv.reader(lines, delimiter=separator)}
        if len(counts) == 1 and counts != {1}:
            return separator
    return ","


def _columns(content: str, separator: str) -> tuple[list[_Column], bool]:
    """The columns without their header, and whether numbers have decimal commas."""
    try:
        lines = list(enumerate(csv.reader(content.rstrip().splitlines(), delimiter=separator), 1))
    except csv.Error as error:
        raise TableError(f"not a table of separated values ({error})") from error
    first, width = next((line, len(row)) for line, row in lines if row)
    # An empty line between others is a missing value of a single series, and nothing in a wider table.
    numbered = [(line, row or [""]) for line, row in lines if row or (width == 1 and line > first)]
    for line, row in numbered:
        if len(row) != width:
            raise TableError(f"line {line} has {len(row)} columns, line {first} has {width}")
    cells = [cell for _, row in numbered for cell in row]
    comma = separator != "," and any(re.fullmatch(r"\s*[-+]?\d*,\d+\s*", cell) for cell in cells)
    top = numbered[0][1]
    header = all(math.isnan(_number(cell, comma)) for cell in top) and not all(map(_is_missing, top))
    names = [cell.strip() if header else "" for cell in top]
    below = numbered[header:]
    read = lambda n: [row[n] for _, row in below]
    numbers = [line for line, _ in below]
    unnamed = "unnamed column" if header else "column"
    return [_Column(name or f"{unnamed} {n + 1}", numbers, read(n)) for n, name in enumerate(names)], comma


def _kind(column: _Column, comma: bool) -> str:
    """ "data", "count" (see `_counts`), "date", "text" or "empty"; TableError for what is nearly data."""
    there = column.there
    if not there:
        return "empty"
    bad = [(line, cell) for line, cell in there if math.isnan(_number(cell, comma))]
    if not bad:
        infinite = [(line, cell) for line, cell in there if math.isinf(_number(cell, comma))]
        if infinite:
            line, cell = infinite[0]
            raise TableError(
                f"line {line}, column {column.name}: an infinite number; leave a cell empty where the value is missing"
            )
        return "count" if _counts(column.name, column.numbers(comma)) else "data"
    if sum(bool(_DATE.fullmatch(cell.strip())) for _, cell in bad) > len(there) / 2:
        return "date"
    if len(bad) > len(there) / 2:
        return "text"
    line, cell = bad[0]
    raise TableError(
        f"line {line}, column {column.name}: expected a number, or nothing where it is missing, got {cell.strip()!r}"
    )


def _counts(name: str, numbers: list[float]) -> bool:
    """Whether these rise by one step from each line to the next, or by whole numbers under the name of an index."""
    steps = np.diff(numbers)
    if len(steps) < 2 or not (steps > 0).all():
        return False
    even = np.abs(steps - steps[0]).max() <= 1e-6 * steps[0]  # 0.1, 0.2, ... differ by their roundings
    called = name.lower().startswith("unnamed") or name.lower() in INDEX
    return bool(even) or (called and all(number.is_integer() for number in numbers))


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _number(cell: str, comma: bool) -> float:
    """NaN for what is no number."""
    text = cell.strip()
    if comma:
        text = "" if "." in text else text.replace(",", ".", 1)  # 1.234 may be a thousand, and is refused
    try:
        return float(text)
    except ValueError:
        return math.nan
