"""How a figure is drawn: intervals, profiles, curves, pictures. matplotlib is imported when one is."""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.metrics import returns
from rlgen.pictures import COLOURS, FAINT, INK, theme

DASHES = ("-", "--", ":", "-.")  # the next one after as many groups as there are colours
BLUES = ("#0072b2", "#56b4e9")  # change places on a dark page, where the first would be dim
FLOOR = "#888888"  # of what real images score

Palette = dict[str, int]  # number of a group's colour, the same in every figure


@dataclass
class Figure:
    """One plot: `draw(ax)` puts it on matplotlib axes. A section has one legend, of the `colours` of all its plots."""

    name: str  # `--figure` takes it
    title: str
    draw: Callable[[Any], None]
    picture: Path | None = None  # a PNG file that is shown unchanged
    height: float = 2.8  # inches, at a width of 4.3
    colours: Palette = field(default_factory=dict)  # of the groups that are drawn as lines


@dataclass
class Line:
    """A curve over seeds with its band: [K] each."""

    name: str
    colour: int
    x: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    dash: str = ""  # empty: that of the colour


def curves(
    name: str,
    title: str,
    xlabel: str,
    ylabel: str,
    lines: Sequence[Line],
    level: float | None = None,
    band: float = 0.2,
    steps: bool = True,
    floors: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    log: bool = False,
) -> Figure:
    """Lines with their bands; a line that was evaluated once is a dot.

    Args:
        name: of the figure.
        title: above it.
        xlabel: what x is, with its unit.
        ylabel: what the values are, with their unit.
        lines: from the first colour to the last.
        level: a threshold to be drawn across.
        band: opacity of the bands.
        steps: whether x counts steps, which are written as 10k.
        floors: x and value of what real images score, [K] each.
        log: whether the values are on a logarithmic axis.
    """

    def draw(ax: Any) -> None:
        for line in lines:
            style = line_style(line.colour) | ({"linestyle": line.dash, "linewidth": 1.5} if line.dash else {})
            ax.plot(line.x, line.value, **style, marker="" if line.x[0] < line.x[-1] else "o")
            ax.fill_between(line.x, line.low, line.high, color=style["color"], alpha=band, linewidth=0)
        if level is not None:
            ax.axhline(level, color="#888888", linewidth=1, linestyle=":")
            at = {"xy": (1, level), "xycoords": ("axes fraction", "data"), "xytext": (-2, -2)}
            ax.annotate(f"threshold {level:g}", **at, textcoords="offset points", fontsize=8, ha="right", va="top")
        for x, value in floors:
            if x[0] < x[-1]:
                ax.plot(x, value, color=FLOOR, linewidth=1.2, linestyle="--")
            else:  # of one evaluation
                ax.axhline(value[-1], color=FLOOR, linewidth=1.2, linestyle="--")
            below = any(value[0] > line.value[0] for line in lines)  # between the line and where the curves begin
            place: dict[str, Any] = {"textcoords": "offset points", "va": "top" if below else "bottom"}
            ax.annotate("real images", (x[0], value[0]), (2, -2 if below else 2), fontsize=8, **place)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        if log:
            from matplotlib.ticker import LogFormatter

            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(LogFormatter())
            ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
        ax.locator_params(axis="x", nbins=6)
        if steps:
            from matplotlib.ticker import EngFormatter

            ax.xaxis.set_major_formatter(EngFormatter(sep=""))

    return Figure(name, title, draw, colours={line.name: line.colour for line in lines})


def intervals(
    name: str,
    title: str,
    label: str,
    points: Sequence[tuple[str, Sequence[float | None], Sequence[float]]],
    palette: Palette,
) -> Figure:
    """A bar from low to high, a tick at the estimate, and a dot for each seed.

    Args:
        name: of the figure.
        title: above it.
        label: of the axis.
        points: for each group its name, (estimate, low, high), and the scores of its seeds.
        palette: of the groups.
    """
    labels = [textwrap.fill(group, 26) for group, *_ in points]
    lines = max([1, *(each.count("\n") + 1 for each in labels)])

    def draw(ax: Any) -> None:
        for index, (group, (value, low, high), scores) in enumerate(points):
            colour = line_style(palette[group])["color"]
            if low is not None and high is not None and value is not None:
                ax.barh(index, high - low, left=low, height=0.5, color=colour, alpha=0.35, linewidth=0)
            ax.plot([value, value], [index - 0.25, index + 0.25], color=colour, linewidth=2.5)
            spread = np.linspace(-0.15, 0.15, len(scores)) if len(scores) > 1 else np.zeros(len(scores))
            ax.plot(scores, index + spread, "o", color=colour, markersize=3.5, alpha=0.9)
        ax.set(yticks=range(len(points)), yticklabels=labels, xlabel=label)
        ax.tick_params(axis="y", labelsize=9.5 if lines == 1 else 8)
        ax.use_sticky_edges = False  # a bar need not touch the frame
        ax.autoscale()
        ax.set_ylim(len(points) - 0.4, -0.6)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="y", visible=False)

    return Figure(name, title, draw, height=max(2.4, 1.1 + max(0.42, 0.19 * lines) * len(points)))


def profiles(title: str, label: str, scores: dict[str, list[np.ndarray]], better: int, palette: Palette) -> Figure:
    """Share of runs that are better than each threshold.

    Args:
        title: above it.
        label: of the axis.
        scores: by group, one array a task: [runs].
        better: 1 if higher is better, -1 if lower.
        palette: of the groups.
    """
    every = np.concatenate([task for tasks in scores.values() for task in tasks])
    margin = (every.max() - every.min()) * 0.03 or 1.0
    grid = np.unique([every.min() - margin, *every, every.max() + margin])  # it changes at the scores, nowhere else
    step = "post" if better > 0 else "pre"  # a run is better than a threshold short of its score, not at it
    found = {
        name: returns.performance_profile([better * task for task in tasks], better * grid)
        for name, tasks in scores.items()
    }

    def draw(ax: Any) -> None:
        for name, (value, low, high) in found.items():
            style = line_style(palette[name])
            ax.step(grid, value, where=step, **style)
            ax.fill_between(grid, low, high, step=step, color=style["color"], alpha=0.2, linewidth=0)
        ax.set(xlabel=f"{label}: threshold", ylabel="share of runs better", ylim=(-0.03, 1.03))

    return Figure("profiles", title, draw, colours={name: palette[name] for name in found})


def picture(title: str, file: Path) -> Figure:
    """A PNG file."""

    def draw(ax: Any) -> None:
        import matplotlib.image

        ax.imshow(matplotlib.image.imread(file), cmap="gray", interpolation="nearest", vmin=0, vmax=1)
        ax.set_axis_off()

    return Figure("samples", title, draw, file)


def line_style(index: int) -> dict[str, Any]:
    """How the lines of a group look, by the number of its colour."""
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": dash, "linewidth": 1.8}


def legend(figures: Sequence[Figure]) -> Palette:
    """The groups of several figures, by colour."""
    found = {name: colour for figure in figures for name, colour in figure.colours.items()}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def svg(figure: Figure) -> tuple[str, str]:
    """The figure as two data addresses, for a light and for a dark page: one drawing, other ink."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(theme()):
        canvas = Canvas(figsize=(4.3, figure.height))
        figure.draw(canvas.add_subplot())
        out = io.StringIO()
        canvas.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    light = out.getvalue()
    other = dict([INK, FAINT, BLUES, BLUES[::-1]])
    dark = re.sub("|".join(other), lambda match: other[match[0]], light)
    head = "data:image/svg+xml;base64,"
    return head + base64.b64encode(light.encode()).decode(), head + base64.b64encode(dark.encode()).decode()
