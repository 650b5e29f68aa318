"""Figures on one sheet, a legend for each section: PNG for a screen, SVG and PDF for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlgen.compare.figures import Figure, Palette, legend, line_style
from rlgen.pictures import theme

WIDTH = 5  # inches of a figure
UNITS = 6  # columns that a row of one, two or three figures divides
CHARACTERS = 60  # of the legend that fit below a figure
DATES = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}  # left out: the same figures, the same file


def balanced(figures: Sequence[Figure], most: int = 3) -> list[list[Figure]]:
    """The figures in as few rows as hold at most so many each, none much emptier than another."""
    num_rows = -(-len(figures) // most)
    short, longer = divmod(len(figures), num_rows) if num_rows else (0, 0)
    rows, begin = [], 0
    for index in range(num_rows):
        end = begin + short + (index < longer)
        rows.append([*figures[begin:end]])
        begin = end
    return rows


def write_sheet(titles: Sequence[str], figures: Sequence[Sequence[Figure]], path: Path, kind: str) -> None:
    """Every figure; those of a section below its title, and its legend below them.

    Args:
        titles: of the sections.
        figures: of each section.
        path: of the file.
        kind: png, svg or pdf.
    """
    import matplotlib

    fonts = {"pdf.fonttype": 42, "svg.fonttype": "none"}  # text stays text
    with matplotlib.rc_context(theme() | fonts):
        canvas = drawn(titles, figures)
        canvas.savefig(path, format=kind, dpi=110, bbox_inches="tight", metadata=DATES[kind])


def drawn(titles: Sequence[str], figures: Sequence[Sequence[Figure]]) -> Any:
    """The sheet as a figure of matplotlib. A figure that is alone has no title: a paper has a caption."""
    from matplotlib.figure import Figure as Canvas

    sections = [(title, balanced(of_part)) for title, of_part in zip(titles, figures, strict=True) if of_part]
    widest = max((len(row) for _, rows in sections for row in rows), default=1)
    alone = len(sections) == 1 and widest == 1
    legends = [legend([figure for row in rows for figure in row]) for _, rows in sections]
    heights = [
        sum(max(figure.height for figure in row) + 0.5 for row in rows) + 0.7 + 0.2 * _legend_shape(names, widest)[1]
        for (_, rows), names in zip(sections, legends, strict=True)
    ]
    canvas = Canvas(figsize=(WIDTH * widest, sum(heights) or 1), facecolor="white", layout="constrained")
    bands: Any = canvas.subfigures(len(sections), 1, height_ratios=heights, squeeze=False) if sections else []
    for (band,), (title, rows), names in zip(bands, sections, legends, strict=True):
        if not alone:
            band.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", wrap=True)
        grid = band.add_gridspec(len(rows), UNITS)
        for index, row in enumerate(rows):
            width = UNITS // max(len(row), min(widest, 2))  # one figure takes half of a wide sheet
            for place, figure in enumerate(row):
                ax = band.add_subplot(grid[index, place * width : (place + 1) * width])
                figure.draw(ax)
                ax.set_title("" if alone else figure.title, fontsize=10)
        if names:
            _draw_legend(band, names, _legend_shape(names, widest)[0])
    return canvas


def _legend_shape(names: Palette, widest: int) -> tuple[int, int]:
    """Columns and rows of a legend below a row of so many figures."""
    if not names:
        return 0, 0
    columns = max(1, min(len(names), CHARACTERS * widest // (5 + max(map(len, names)))))
    return columns, -(-len(names) // columns)


def _draw_legend(band: Any, names: Palette, columns: int) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], label=name, **line_style(colour)) for name, colour in names.items()]
    band.legend(handles=lines, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
