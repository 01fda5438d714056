"""Interrupted fits go on where they stood."""

import os
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from ssm.shapes import PyTree


def save(path: str | Path, state: PyTree, history: np.ndarray) -> None:
    """Write the state of a fit (arrays of fixed shapes) and its history so far, in one atomic step."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        np.save(file, history)
        eqx.tree_serialise_leaves(file, state)
    os.replace(partial, path)


def restore(path: str | Path | None, like: PyTree) -> tuple[PyTree, np.ndarray] | None:
    """The state and history saved at `path`, or None if there is none yet.

    Raises ValueError for a file of another model, method or data shape.
    """
    if path is None or not Path(path).exists():
        return None
    try:
        with open(path, "rb") as file:
            history = np.load(file)
            return eqx.tree_deserialise_leaves(file, like), history
    except (RuntimeError, ValueError, EOFError, TypeError) as error:
        shapes = [leaf.shape for leaf in jax.tree.leaves(like) if eqx.is_array(leaf)]
        raise ValueError(
            f"checkpoint: {path} does not hold a fit of this model and method (arrays of shapes {shapes}); "
            "remove it or name another file"
        ) from error
