"""What the figures show is what they were given."""

import numpy as np

from ssm import plotting


class Fan:
    """A forecast whose intervals are known: 5 ± 2 level."""

    mean = np.full((4, 1), 5.0)

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
