"""The type checker that the import hook in conftest.py puts on every function of the library."""

from collections.abc import Callable
from typing import Any, Self

from beartype import beartype

# What users call takes anything and answers with messages for people (test_bad_input.py); beartype would answer
# first. Behind these doors every annotation is checked.
DOORS = {
    "ssm.data.arguments",
    "ssm.data.models",
    "ssm.data.observations",
    "ssm.data.padding",
    "ssm.numeric.checks",
    "ssm.recursions.markov.structured",
    "ssm.schedules.auto",
}
DOOR_FOLDERS = ("ssm.diagnostics.", "ssm.fitting.", "ssm.inference.", "ssm.selection.")
CONSTRUCTORS = {"__init__", "__check_init__", "random", "from_data"}


def check(function: Callable) -> Callable:
    """beartype, except on what users call themselves.

    It knows `Self` only on whole classes, and the hook decorates methods one by one: `Self` is left unchecked.
    """
    module = function.__module__
    if module in DOORS or module.startswith(DOOR_FOLDERS) or function.__name__ in CONSTRUCTORS:
        return function
    hints = function.__annotations__
    function.__annotations__ = {name: Any if hint is Self else hint for name, hint in hints.items()}
    return beartype(function)
