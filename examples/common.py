"""The command line that the examples on public data share; no example needs more of this file to be understood."""

import argparse
from collections.abc import Callable


def command_line(main: Callable, about: str) -> None:
    """Call main(out, data) as the options say; without the data, one line instead of a traceback, and status 2."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--out", default="figures", help="folder of the figure (default: figures)")
    parser.add_argument("--data", help="folder of the data (default: $ONESCAN_DATA)")
    try:
        main(**vars(parser.parse_args()))
    except FileNotFoundError as error:
        parser.exit(2, f"{error}\n")
