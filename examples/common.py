"""The command line that examples share; no example needs more of this file to be understood."""

import argparse
import inspect
from collections.abc import Callable


def command_line(main: Callable, about: str) -> None:
    """Call main(out), or main(out, data), as the options say; without the data, one line and status 2."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--out", default="figures", help="folder of the figure (default: figures)")
    if "data" in inspect.signature(main).parameters:
        parser.add_argument("--data", help="folder of the data (default: $ONESCAN_DATA)")
    try:
        main(**vars(parser.parse_args()))
    except FileNotFoundError as error:
        parser.exit(2, f"{error}\n")
