"""How figures are drawn."""

import numpy as np
import pytest

from rlgen.compare import figures


@pytest.mark.parametrize("better", [1, -1])
def test_a_performance_profile_falls_exactly_at_the_scores(better):
    """On an even grid, ten runs at 500 would be better than 500.2."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    scores = np.array([470.0, 499.9, 500.0])
    ax = Figure().add_subplot()
    figures.profiles("", "", {"dqn": [scores]}, better, {"dqn": 0}).draw(ax)
    line = ax.get_lines()[0]
    x, y = line.get_data()
    assert set(scores) < set(x) and line.get_drawstyle() == {1: "steps-post", -1: "steps-pre"}[better]
    inside = np.interp([480, 499.95], *((x[:-1], np.arange(len(x) - 1)))).astype(int) + (better < 0)
    assert y[inside].tolist() == pytest.approx([2 / 3, 1 / 3] if better > 0 else [1 / 3, 2 / 3])


def test_a_curve_of_one_evaluation_is_a_dot_and_its_floor_a_line():
    """A run that was evaluated once had empty axes."""
    once, twice = np.full(3, 128.0), np.array([64.0, 96.0, 128.0])
    value = np.full(3, 2.0)
    lines = [figures.Line(name, i, x, value, value, value) for i, (name, x) in enumerate((("a", once), ("b", twice)))]
    floors = [(once[:1], np.array([0.5])), (twice, np.full(3, 0.6))]
    ax = pytest.importorskip("matplotlib.figure").Figure().add_subplot()
    figures.curves("curves", "Curves", "steps", "score", lines, floors=floors).draw(ax)
    dot, line, level, dashes = ax.get_lines()
    assert dot.get_marker() == "o" and line.get_marker() in ("", "None")
    assert [*level.get_xdata()] == [0, 1] and {*level.get_ydata()} == {0.5}, "across the axes"
    assert [*dashes.get_xdata()] == [*twice]
