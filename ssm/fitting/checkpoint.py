"""Interrupted fits go on where they stood, if they are the same fit."""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from ssm.fitting.fingerprint import Fingerprint, differences
from ssm.shapes import PyTree

# A file is one line that says what it is, one of JSON (fingerprint and checksum), and the arrays. Counted up whenever
# files, or what a fit makes of a state, change.
FORMAT = 2
_MAGIC = b"onescan checkpoint "


def save(path: str | Path, state: PyTree, history: np.ndarray, identity: Fingerprint) -> None:
    """Write the state of a fit (arrays of fixed shapes) and its history so far, in one atomic step."""
    path = Path(path)
    arrays = io.BytesIO()
    np.save(arrays, history)
    eqx.tree_serialise_leaves(arrays, state)
    written = arrays.getvalue()
    head = {"fingerprint": identity, "checksum": hashlib.blake2b(written).hexdigest()}
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(_MAGIC + f"{FORMAT}\n{json.dumps(head)}\n".encode())
        file.write(written)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def restore(path: str | Path | None, like: PyTree, identity: Fingerprint) -> tuple[PyTree, np.ndarray] | None:
    """The state and history saved at `path`, or None if there is none yet.

    Raises ValueError for a file of another fit, saying what differs, one that is damaged or of another format, and
    where no file can be written.
    """
    if path is None:
        return None
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
        raise ValueError(f"checkpoint: {path} {wrong}; name a file in a folder that exists")
    if not path.exists():
        return None
    head, arrays = _read(path)
    differing = differences(head["fingerprint"], identity)
    if differing:
        raise ValueError(
            f"checkpoint: {path} does not hold a fit of this model, data and method: {', '.join(differing)}; to go on "
            "with that fit, pass what it was begun with; to begin another, remove the file or name another"
        )
    try:
        file = io.BytesIO(arrays)
        history = np.load(file)
        return eqx.tree_deserialise_leaves(file, like), history
    except (RuntimeError, ValueError, EOFError, TypeError) as error:
        raise _damaged(path) from error


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """What the head of a file says, and its arrays, unchanged since they were written."""
    first, _, rest = path.read_bytes().partition(b"\n")
    if first.startswith(b"\x93NUMPY"):
        first = _MAGIC + b"1"  # that format had no head
    if not first.startswith(_MAGIC):
        raise ValueError(f"checkpoint: {path} is no checkpoint of ssm.fit, or is empty; remove it or name another file")
    if first != _MAGIC + str(FORMAT).encode():
        raise ValueError(
            f"checkpoint: {path} has format {first.removeprefix(_MAGIC).decode(errors='replace')[:20]}, this version "
            f"of the library reads format {FORMAT}; remove the file or name another, and the fit begins anew"
        )
    line, _, arrays = rest.partition(b"\n")
    try:
        head = json.loads(line)
        whole = head["checksum"] == hashlib.blake2b(arrays).hexdigest() and "fingerprint" in head
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if not whole:
        raise _damaged(path)
    return head, arrays


def _damaged(path: Path) -> ValueError:
    return ValueError(f"checkpoint: {path} is damaged; remove it, and the fit begins anew")
