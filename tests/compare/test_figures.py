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
