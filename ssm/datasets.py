"""Real data that comes with Python itself or with the extra `demo`; nothing is downloaded.

Every function imports its source when called and returns plain NumPy arrays. What no package brings is looked for
where the user keeps it, by `public_file`.
"""

import os
import unicodedata
from pathlib import Path

import numpy as np

from ssm.numeric.optional import demo

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
CYCLE_COLUMNS = ("output", "consumption", "investment", "income", "unemployment, turned round")
MACRO_COLUMNS = ("GDP growth", "inflation", "unemployment")


def public_file(name: str, folder: str | Path | None = None) -> Path:
    """A file of public data that no package brings: `name` in `folder`, or else in the one that ONESCAN_DATA names.

    Without either, in `../shared/data`. Raises FileNotFoundError, in one line, where there is none.
    """
    place = Path(folder or os.environ.get("ONESCAN_DATA") or Path("..") / "shared" / "data")
    if not (place / name).is_file():
        raise FileNotFoundError(f"no file {place / name}; name the folder of the data by --data or in ONESCAN_DATA")
    return place / name


def english_text() -> str:
    """English prose: the paragraphs of Python's own documentation topics, without grammar, code and headings.

    The text differs a little between Python versions.
    """
    from pydoc_data import topics

    paragraphs = "\n\n".join(topics.topics.values()).split("\n\n")
    return " ".join(paragraph for paragraph in paragraphs if paragraph[:1].isalpha() and paragraph.endswith("."))


def letters(text: str) -> np.ndarray:
    """A text as symbols (T,): 0 for a space, 1 .. 26 for a .. z.

    Upper case becomes lower case, accents are dropped, and every run of other characters is one space.
    """
    plain = unicodedata.normalize("NFKD", text).lower()
    kept = "".join(c if c in ALPHABET else " " for c in plain if not unicodedata.combining(c))
    return np.array([ALPHABET.index(c) for c in " ".join(kept.split())], dtype=np.int32)


def nile() -> np.ndarray:
    """Annual flow of the Nile at Aswan, 1871-1970, in 10⁸ m³, (100,). Source: Durbin & Koopman 2012, section 2.2."""
    frame = demo("statsmodels.datasets.nile").load_pandas().data
    return frame["volume"].to_numpy(float)


def sunspots() -> np.ndarray:
    """Yearly number of sunspots, 1700-2008, (309,). Source: SIDC, Royal Observatory of Belgium, by statsmodels."""
    frame = demo("statsmodels.datasets.sunspots").load_pandas().data
    return frame["SUNACTIVITY"].to_numpy(float)


def state_crime() -> tuple[list[str], list[str], np.ndarray]:
    """Crime and people in the United States, 2009: names of the columns, of the 51 rows (with D.C.), and (51, 7).

    Violent crimes and murders per 100,000; percent with a high-school degree, in poverty, of single-parent families,
    white, and urban. Source: `statsmodels.datasets.statecrime`.
    """
    frame = demo("statsmodels.datasets.statecrime").load_pandas().data
    names = ["violent crime", "murder", "high school", "poverty", "single parents", "white", "urban"]
    return names, [str(place) for place in frame.index], frame.to_numpy(float)


def macro() -> np.ndarray:
    """Quarters of the United States' economy, 1959-2009, one column per entry of `MACRO_COLUMNS`, (202, 3).

    All in percent: growth of real GDP over the quarter, annualised inflation and the unemployment rate.
    Source: `statsmodels.datasets.macrodata`.
    """
    frame = demo("statsmodels.datasets.macrodata").load_pandas().data
    growth = 100 * np.diff(np.log(frame["realgdp"].to_numpy(float)))
    return np.column_stack([growth, frame[["infl", "unemp"]].to_numpy(float)[1:]])


def cycle() -> np.ndarray:
    """Quarters of the United States' economy, 1959-2009, one column per entry of `CYCLE_COLUMNS`, (202, 5).

    Growth of real output, consumption, investment and disposable income over the quarter in percent, and minus the
    change of the unemployment rate. Source: `statsmodels.datasets.macrodata`.
    """
    frame = demo("statsmodels.datasets.macrodata").load_pandas().data
    levels = frame[["realgdp", "realcons", "realinv", "realdpi"]].to_numpy(float)
    return np.column_stack([100 * np.diff(np.log(levels), axis=0), -np.diff(frame["unemp"].to_numpy(float))])
