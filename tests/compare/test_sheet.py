"""Figures on one sheet."""

import pytest

from rlgen.compare import panels, sheet, tables
from rlgen.compare.figures import Figure


def plots(num, names=("a",)):
    colours = {name: index for index, name in enumerate(names)}
    return [Figure(f"figure{i}", f"title {i}", lambda ax: ax.plot([0, 1]), colours=colours) for i in range(num)]


@pytest.mark.parametrize(
    ("num", "rows"), [(0, []), (1, [1]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (7, [3, 2, 2]), (10, [3, 3, 2, 2])]
)
def test_rows_are_about_equally_full(num, rows):
    assert [len(row) for row in sheet.balanced(plots(num))] == rows


def test_a_figure_alone_has_no_title_and_is_as_wide_as_a_column():
    pytest.importorskip("matplotlib")
    canvas = sheet.drawn(["section"], [plots(1)])
    assert [ax.get_title() for ax in canvas.axes] == [""] and canvas.get_size_inches()[0] == sheet.WIDTH
    two = sheet.drawn(["one", "two"], [plots(1), plots(1)])
    assert [ax.get_title() for ax in two.axes] == ["title 0"] * 2 and two.get_size_inches()[0] == sheet.WIDTH


def test_legends_lie_over_no_axes_and_inside_the_sheet(comparison):
    pytest.importorskip("matplotlib")
    figures = panels.panels(comparison)
    names = [f"a group with a name as long as this one, number {i}" for i in range(9)]
    titles = [part.title for part in tables.sections(comparison)]
    canvas = sheet.drawn([*titles, "many"], [*figures, plots(5, names)])
    canvas.draw_without_rendering()
    legends = [legend for band in canvas.subfigs for legend in band.legends]
    assert len(legends) == len(canvas.subfigs) == 5  # over tasks, two environments, images, and the one of many
    for legend in legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(ax.get_tightbbox()) for ax in canvas.axes)
        assert canvas.bbox.x0 <= box.x0 and box.x1 <= canvas.bbox.x1 and canvas.bbox.y0 <= box.y0
