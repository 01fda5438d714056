"""What stands along the axes of a figure: times and names, as users have them."""

import warnings
from typing import Any

import numpy as np

from ssm.numeric.optional import demo


def times_of(times: Any, total: int) -> np.ndarray:
    """`times` as matplotlib takes them: numbers, dates, or a pandas index of either; 0, 1, ... unless given.

    Raises ValueError unless there are `total` of them, TypeError for what is neither number nor date.
    """
    if times is None:
        return np.arange(total)
    times = _local(times)
    found = np.asarray(times.to_timestamp() if hasattr(times, "to_timestamp") else times)  # a period: where it begins
    if found.shape != (total,):
        raise ValueError(f"times: expected one for each of {total} observations, got shape {found.shape}")
    if found.dtype.kind not in "iufMO" or (found.dtype == object and not hasattr(found[0], "year")):
        raise TypeError(f"times: expected numbers or dates, got {found[0]!r}")
    return found


def continued(times: Any, ahead: Any, total: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Times of observations and those of the steps after them: `ahead`, or as far apart as those before.

    An index of pandas goes on in its own frequency. Raises ValueError where times are not evenly spaced.
    """
    times = _local(times)
    past = times_of(times, total)
    if ahead is not None:
        return past, times_of(ahead, steps)
    offset = _frequency(times)
    if offset is not None:
        index = [times[-1] + k * offset for k in range(1, steps + 1)]
        each = [time.to_timestamp() if hasattr(time, "to_timestamp") else time for time in index]
        return past, np.array(each, "datetime64[ns]")
    gaps = np.diff(past)
    step = gaps[0] if total > 1 else 1
    # Numbers that stand for even steps, such as 0.1, 0.2, ..., differ by their roundings.
    if total > 1 and not all(abs(gap - step) <= 1e-6 * abs(step) for gap in gaps):
        raise ValueError("times: not evenly spaced, so those of the forecast do not follow; pass them as ahead=")
    return past, past[-1] + np.arange(1, steps + 1) * step


def _local(times: Any) -> Any:
    """An index of pandas by the clocks of its time zone; anything else as it is."""
    return times.tz_localize(None) if getattr(times, "tz", None) is not None else times


def _frequency(times: Any) -> Any:
    """That of an index of dates of pandas; None where there is none."""
    if not hasattr(times, "freq"):
        return None
    if times.freq is not None:
        return times.freq
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer ones announce that they will return what `to_offset` returns
        name = times.inferred_freq if len(times) > 2 else None
    return None if name is None else demo("pandas.tseries.frequencies").to_offset(name)


def names_of(labels: Any, count: int) -> list[str]:
    """Names of components as text: none, or `count` of them, as one text for one or anything that holds several."""
    if labels is None or isinstance(labels, str):
        labels = [labels] if labels else []
    names = [str(label) for label in labels]
    if len(names) not in (0, count):
        raise ValueError(f"labels: expected {count} names, one for each component, got {len(names)}")
    return names


def columns_of(name: str, values: Any) -> np.ndarray:
    """A series (T,) or (T, N) as (T, N); ValueError for batches and other shapes."""
    array = np.asarray(values)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"{name}: expected one series (T,) or (T, N), got shape {array.shape}")
    return array.reshape(len(array), -1)
