"""`python -m benchmarks [name ...] [--quick] [--into FILE]`: run questions, print tables, write them into a page."""

import argparse
import importlib
import inspect
import pathlib
import sys

import jax

from benchmarks.timing import machine

HERE = pathlib.Path(__file__).parent
# The questions whose tables stand in the README, in order.
SHOWN = (
    "hmm_evidence_vs_peers",
    "hmm_gradient_vs_peers",
    "hmm_em_vs_peers",
    "emission_tables",
    "em_against_gradient",
    "kalman_evidence_vs_peers",
    "kalman_missing_vs_peers",
    "kalman_em_vs_peers",
    "kalman_gradient_vs_peers",
    "hmm_million_steps",
    "hmm_float32",
    "kalman_float32",
    "large_hmm",
)
NO_QUESTIONS = {"__init__", "__main__", "timing", "hmm_peers"}


def main() -> int:
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NO_QUESTIONS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Benchmarks, on whatever device JAX finds."
    )
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"one of: {', '.join(names)} (default: {', '.join(SHOWN)})"
    )
    parser.add_argument(
        "--into", metavar="FILE", help="write the tables between the benchmark markers of FILE, such as README.md"
    )
    parser.add_argument("--quick", action="store_true", help="a part of those that take minutes")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(names)
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    tables = []
    for name in arguments.names or SHOWN:
        try:
            question = importlib.import_module(f"benchmarks.{name}").main
            shorter = arguments.quick and "quick" in inspect.signature(question).parameters
            tables.append(question(quick=True) if shorter else question())
        except ModuleNotFoundError as error:
            print(f'{name}: {error.name} is missing; pip install -e ".[bench]"', file=sys.stderr)
            return 2
        except FileNotFoundError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        print(tables[-1], flush=True)
    print(machine())
    if arguments.into:
        foot = (
            f"Measured on {machine()}. Ratios of medians, the two taken in turn after five calls of each (the first "
            "ones after compiling are up to three times slower); above 1× onescan is faster."
        )
        others = "" if jax.default_backend() != "cpu" else " GPU and TPU: not measured."
        write(pathlib.Path(arguments.into), "\n".join([*tables, foot + others]))
    return 0


def write(path: pathlib.Path, text: str) -> None:
    """Put the tables between the markers."""
    begin, end = "<!-- benchmarks -->", "<!-- /benchmarks -->"
    page = path.read_text(encoding="utf-8")
    if begin not in page or end not in page:
        raise SystemExit(f"{path} has no markers {begin} ... {end}")
    before, after = page.split(begin)[0], page.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
