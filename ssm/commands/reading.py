"""The user's own files as arrays; every refusal is one line that says what came and what was expected."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssm.commands.table import TableError, read_table
from ssm.datasets import letters


class InputError(Exception):
    """Something that the user can put right; its text is the one line shown."""


class Data(NamedTuple):
    """One sequence to be modelled: symbols (T,) of a text, or a series (T, N) with NaN where missing."""

    name: str
    ys: np.ndarray
    about: str = ""  # what of the file was used

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
    """Columns of numbers."""
    try:
        table = read_table(content)
    except TableError as error:
        raise InputError(f"{path}: {error}") from error
    return Data(f"{path.name}: {', '.join(table.names)}", table.values, f"{path.name}: {table.about}.")
