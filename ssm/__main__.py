"""The command line: `python -m ssm compare`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ssm.commands.compare import Options, compare
from ssm.commands.reading import InputError


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def parser() -> argparse.ArgumentParser:
    """Commands and their options."""
    main = _Parser(prog="python -m ssm", description="One recursion for RNNs, HMMs and Kalman filters.")
    commands = main.add_subparsers(dest="command", required=True, metavar="command")
    about = "EM against gradient ascent on hidden Markov models of real data"
    details = (
        "Fits hidden Markov models by EM and by gradient ascent from the same starting points, prints a table and "
        "saves the learning curves. Without --data: English letters, and the economy of the United States."
    )
    command = commands.add_parser("compare", help=about, description=details)
    _add(
        command,
        "--data",
        Path,
        None,
        "FILE",
        "your own .txt (letters) or .csv (numbers; empty: missing)",
    )
    _add(command, "--states", _positive, None, "K", "hidden states (default: 8 for the built-in letters, 3 otherwise)")
    _add(command, "--restarts", _positive, 4, "R", "starting points (default: %(default)s)")
    _add(command, "--iterations", _positive, 400, "I", "at most, for each fit (default: %(default)s)")
    _add(command, "--seed", _seed, 0, "S", "of the starting points (default: %(default)s)")
    _add(command, "--out", Path, Path("compare.png"), "FILE", "the figure (default: %(default)s)")
    return main


def _add(command: argparse.ArgumentParser, name: str, kind: Callable, default: object, unit: str, about: str) -> None:
    command.add_argument(name, type=kind, default=default, metavar=unit, help=about)


def _positive(text: str) -> int:
    return _at_least(1, text)


def _seed(text: str) -> int:
    return _at_least(0, text)


def _at_least(lowest: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if number < lowest:
        raise argparse.ArgumentTypeError(f"expected an integer of at least {lowest}, got {text!r}")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 when done, 2 for bad input, with one line on stderr."""
    options = parser().parse_args(arguments)
    try:
        compare(Options(options.data, options.states, options.restarts, options.iterations, options.seed, options.out))
    except (InputError, ModuleNotFoundError) as error:
        print(f"python -m ssm {options.command}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
