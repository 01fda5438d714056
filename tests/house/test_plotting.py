"""What the figures show is what they were given."""

import matplotlib.dates
import numpy as np
import pandas
import pytest

from ssm import plotting


class Fan:
    """A forecast whose intervals are known: 5 ± 2 level, and as much around 6, 7, ... in further components."""

    def __init__(self, components=1):
        self.mean = 5.0 + np.arange(components) + np.zeros((4, 1))

    def interval(self, level):
        """Low and high bounds."""
        return self.mean - 2 * level, self.mean + 2 * level


def test_the_start_that_ends_highest_is_the_thick_one():
    curves = [plotting.Curve(np.arange(3.0), np.array([-3.0, -2.0, end])) for end in (-1.5, -1.0, -1.9)]
    lines = plotting.learning_curves({"data": {"EM": curves}}).axes[0].lines
    widths = [line.get_linewidth() for line in lines]
    assert [width > min(widths) for width in widths] == [False, True, False]
    np.testing.assert_array_equal(lines[1].get_ydata(), [-3, -2, -1])


def test_the_fan_starts_one_step_after_the_last_observation():
    ax = plotting.forecast_fan(np.zeros(3), Fan(), levels=(0.5, 1.0), times=np.array([1990, 1992, 1994])).axes[0]
    outlines = [band.get_paths()[0].vertices for band in ax.collections]
    for outline, level in zip(outlines, (0.5, 1.0), strict=True):
        np.testing.assert_allclose(outline.min(0), [1996, 5 - 2 * level])
        np.testing.assert_allclose(outline.max(0), [2002, 5 + 2 * level])


def test_state_bands_stack_to_one_and_name_the_components():
    probs = np.array([[0.25, 0.75], [1.0, 0.0]])
    series, bands = plotting.state_bands(np.zeros((2, 2)), probs, labels=["a", "b"]).axes
    assert [text.get_text() for text in series.get_legend().get_texts()] == ["a", "b"]
    assert [band.get_paths()[0].vertices[:, 1].max() for band in bands.collections] == [1.0, 1.0]
    assert bands.collections[1].get_paths()[0].vertices[:, 1].min() == 0.25


def test_a_series_without_labels_has_a_legend_for_its_states_alone():
    series, bands = plotting.state_bands(np.zeros(3), np.ones((3, 1))).axes
    assert series.get_legend() is None
    assert [text.get_text() for text in bands.get_legend().get_texts()] == ["state 0"]


def test_the_fan_has_a_panel_for_each_component():
    made = plotting.forecast_fan(np.zeros((3, 2)), Fan(2), label=pandas.Index(["east", "north"]))
    assert [ax.get_ylabel() for ax in made.axes] == ["east", "north"]
    assert len([ax for ax in made.axes if ax.get_legend()]) == 1
    for n, ax in enumerate(made.axes):
        observed, mean = ax.lines
        np.testing.assert_array_equal(observed.get_ydata(), 0)
        np.testing.assert_array_equal(mean.get_xydata(), [(t, 5 + n) for t in (3, 4, 5, 6)])
        assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == 5 + n + 2 * 0.5
    unnamed = plotting.forecast_fan(np.zeros((3, 2)), Fan(2)).axes
    assert [ax.get_ylabel() for ax in unnamed] == ["component 0", "component 1"]
    (alone,) = plotting.forecast_fan(pandas.Series([1.0, 2.0]), Fan(), label="level").axes
    assert alone.get_ylabel() == "level"


@pytest.mark.parametrize(
    "times",
    [
        pandas.period_range("2019-11", periods=3, freq="M"),
        pandas.date_range("2019-11", periods=3, freq="MS"),
        pandas.DatetimeIndex(["2019-11-01", "2019-12-01", "2020-01-01"]),
        pandas.date_range("2019-11", periods=3, freq="MS", tz="UTC"),
        np.arange("2019-11", "2020-02", dtype="datetime64[M]"),
    ],
    ids=lambda times: f"{type(times).__name__}",
)
def test_months_are_continued_by_months(times):
    (ax,) = plotting.forecast_fan(np.zeros(3), Fan(), times=times).axes
    months = np.arange("2019-11", "2020-06", dtype="datetime64[M]")
    drawn = [matplotlib.dates.date2num(line.get_xdata(orig=True)) for line in ax.lines]
    np.testing.assert_array_equal(np.concatenate(drawn), matplotlib.dates.date2num(months))


def test_names_and_times_may_be_an_index():
    times, names = pandas.period_range("2000", periods=3, freq="Y"), pandas.Index(["a", "b"])
    series, bands = plotting.state_bands(pandas.DataFrame(np.zeros((3, 2))), np.ones((3, 1)), times, names).axes
    assert [text.get_text() for text in series.get_legend().get_texts()] == ["a", "b"]
    assert matplotlib.dates.num2date(bands.get_xlim()[1]).year == 2002
    series, *_ = plotting.residuals(np.random.default_rng(0).normal(size=(9, 2)), labels=names).axes
    assert [text.get_text() for text in series.get_legend().get_texts()] == ["a", "b"]
    plotting.residuals(np.random.default_rng(0).normal(size=3), times=times)


def fan(ys, **options):
    return plotting.forecast_fan(ys, Fan(), **options)


@pytest.mark.parametrize(
    ("draw", "kind", "said"),
    [
        (lambda: fan(np.zeros((3, 2))), ValueError, "as many components as ys has, 2, got 1"),
        (lambda: fan(np.zeros((5, 3, 1))), ValueError, r"ys: expected one series .*\(5, 3, 1\)"),
        (lambda: fan(np.zeros(3), times=[0, 1, 3]), ValueError, "not evenly spaced.* ahead="),
        (lambda: fan(np.zeros(3), times=[0, 1]), ValueError, "times: expected one for each of 3"),
        (lambda: fan(np.zeros(3), times=list("abc")), TypeError, "numbers or dates, got .*a"),
        (lambda: plotting.forecast_fan(np.zeros((3, 2)), Fan(2), label="east"), ValueError, "2 names, .* got 1"),
        (lambda: plotting.state_bands(np.zeros(3), np.ones((2, 1))), ValueError, r"probs: expected .* with T = 3"),
        (lambda: plotting.state_bands(np.zeros((3, 2)), np.ones((3, 1)), labels=["a"]), ValueError, "2 names"),
    ],
)
def test_what_does_not_fit_is_said(draw, kind, said):
    with pytest.raises(kind, match=said):
        draw()


def test_times_of_the_forecast_may_be_given():
    (ax,) = plotting.forecast_fan(np.zeros(3), Fan(), times=[0, 1, 3], ahead=[5, 8, 9, 10]).axes
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [5, 8, 9, 10])
