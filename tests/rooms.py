"""The rooms of the library, lowest first, and what each may import. `python tests/rooms.py` draws them, into README.md.

A file may import files of its own room, and of the rooms that are named beside it, which stand above it in the table.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "ssm"
START, END = "<!-- rooms: python tests/rooms.py -->\n", "<!-- /rooms -->"

GROUND = "shapes numeric"
PARTS = f"{GROUND} distributions parameters"
IDEA = f"{GROUND} steps model maps recursion schedules"
BELOW = f"{IDEA} distributions parameters beliefs data scan"
PASSES = f"{BELOW} passes"

# (room or file, what it may import, what it holds)
ROOMS = [
    ("shapes", "", "letters, axes and the time convention"),
    ("numeric", "shapes", "arithmetic that knows no model: roots, logarithms, trees, checks"),
    ("steps", "shapes", "what is known at one instant"),
    ("distributions", GROUND, "the one door to distrax"),
    ("parameters", GROUND, "what is stored under values; freezing, ties, replacing"),
    ("beliefs", f"{GROUND} distributions", "probabilities, normals, diffuse ones, particles, points"),
    ("model", f"{GROUND} parameters steps", "what every model is"),
    ("maps", f"{GROUND} beliefs", "functions between beliefs, as data, so that they can be composed"),
    ("recursion", f"{GROUND} steps model maps", "the idea: init, predict, update, emit"),
    ("cells", f"{GROUND} parameters", "cells of networks"),
    ("heads", PARTS, "what networks say of an observation"),
    ("durations", PARTS, "how long states last"),
    ("conjugate", PARTS, "families with a closed posterior"),
    ("transitions", f"{GROUND} parameters durations", "how chains move, with their structure"),
    ("emissions/common", f"{PARTS} beliefs", "what families of emissions share"),
    ("emissions/normals", f"{PARTS} beliefs emissions/common", "normals, shared, by factors, with heavy tails"),
    ("emissions/counts", f"{PARTS} beliefs emissions/common", "symbols, counts, angles, waiting times"),
    ("emissions/regressions", f"{PARTS} beliefs emissions/common emissions/normals", "observations that follow inputs"),
    ("emissions/combined", f"{PARTS} beliefs emissions/common", "products, mixtures, ties, labels"),
    (
        "emissions",
        "emissions/common emissions/normals emissions/counts emissions/regressions emissions/combined",
        "all",
    ),
    ("schedules", f"{GROUND} steps model maps recursion beliefs", "orders in which one recursion is walked"),
    ("scan", f"{IDEA} beliefs", "the one driver"),
    ("data", IDEA, "the boundary: what users pass, checked, as steps"),
    ("passes", BELOW, "ways through the data: evidence, its gradient, statistics"),
    ("recursions", f"{GROUND} model distributions", "any model as three functions"),
    (
        "recursions/markov",
        f"{PASSES} durations transitions emissions/common emissions/regressions emissions/combined",
        "chains of states",
    ),
    ("recursions/gaussian/regression", f"{GROUND} parameters", "regressions, their priors and starts"),
    (
        "recursions/gaussian/system",
        f"{PASSES} recursions/gaussian/regression",
        "parameters, dynamics and gains of linear systems",
    ),
    ("recursions/gaussian/adjoint", f"{PASSES} recursions/gaussian/system", "the way back: slopes, smoothing, draws"),
    (
        "recursions/gaussian/learning",
        f"{PASSES} emissions/normals recursions/gaussian/regression recursions/gaussian/adjoint",
        "moments and the M-step",
    ),
    (
        "recursions/gaussian/steady",
        f"{PASSES} recursions/gaussian/system recursions/gaussian/adjoint recursions/gaussian/learning",
        "constant matrices: gains until they rest, means in blocks",
    ),
    (
        "recursions/gaussian/varying",
        f"{PASSES} recursions/gaussian/system recursions/gaussian/adjoint recursions/gaussian/steady",
        "missing data, matrices that vary: covariances, too, in blocks",
    ),
    (
        "recursions/gaussian",
        f"{PASSES} recursions/gaussian/regression recursions/gaussian/system recursions/gaussian/adjoint "
        "recursions/gaussian/learning recursions/gaussian/steady recursions/gaussian/varying",
        "Kalman filters",
    ),
    ("recursions/networks", f"{PASSES} cells heads", "recurrent networks"),
    ("recursions/particles", PASSES, "particle filters"),
    ("recursions/variational", f"{PASSES} cells heads", "networks with random states"),
    ("recursions/changepoints", f"{PASSES} conjugate", "series that begin anew"),
    ("inference", PASSES, "the present, the past, the future"),
    ("fitting", f"{PASSES} inference", "learning"),
    ("diagnostics", f"{PASSES} inference", "do the data look like the model's"),
    ("selection", f"{PASSES} inference fitting", "which model, how sure"),
    ("datasets", GROUND, "data to learn from"),
    ("axes", GROUND, "what stands along the axes of a figure"),
    ("plotting", f"{GROUND} axes diagnostics", "figures"),
    ("commands", f"{GROUND} datasets emissions fitting inference plotting recursions/markov", "the command line"),
    ("__main__", "commands", "its door"),
]
NAMES = [name for name, _, _ in ROOMS]
STOREYS = [
    ("around", "datasets axes plotting commands __main__"),
    ("verbs", "inference fitting diagnostics selection"),
    ("members", "recursions"),
    ("ways", "scan data passes"),
    ("parts", "cells heads durations conjugate transitions emissions"),
    ("the idea", "model maps recursion schedules"),
    ("words", "shapes numeric steps distributions parameters beliefs"),
]


def module_of(path: Path) -> str:
    """The dotted name of a file; a package's own __init__ counts as the package."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


FILES = sorted(ROOT.rglob("*.py"))
MODULES = {module_of(path): path for path in FILES}


def room_of(path: Path) -> str:
    """The folder of a file, or itself where it stands in the hall."""
    inside = path.relative_to(ROOT).with_suffix("")
    return str(inside.parent) if len(inside.parts) > 1 else str(inside)


def imported(path: Path) -> list[str]:
    """Modules of the library that a file imports, wherever in it the import stands."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            children = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [child if child in MODULES else node.module for child in children]
    return [name for name in names if name.split(".")[0] == "ssm"]


def picture() -> str:
    """The rooms by storeys, highest first."""
    holds = {name: what for name, _, what in ROOMS}
    lines = []
    for storey, names in STOREYS:
        for name in names.split():
            inner = sorted(
                {other.removeprefix(f"{name}/").split("/")[0] for other in NAMES if other.startswith(f"{name}/")}
            )
            lines.append(f"{storey:<8}  {name:<14} {', '.join(inner) if inner else holds[name]}")
            storey = ""
    return "```text\n" + "\n".join(lines) + "\n```\n"


def into(text: str) -> str:
    """A README with the picture as it is now."""
    before, rest = text.split(START)
    return before + START + picture() + END + rest.split(END)[1]


if __name__ == "__main__":
    readme = ROOT.parent / "README.md"
    if "--into" in sys.argv:
        readme.write_text(into(readme.read_text()))
    else:
        print(picture())
