"""Optional packages: imported when used, and missed in one clear line."""

import importlib
from types import ModuleType


def demo(module: str) -> ModuleType:
    """A module that the extra `demo` brings. Raises ModuleNotFoundError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{error.name} is not installed; the extra "demo" brings it: pip install -e ".[demo]"', name=error.name
        ) from error
