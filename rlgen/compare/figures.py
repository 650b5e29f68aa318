"""The pictures of a comparison, a panel each: computed once, drawn wherever they are needed. matplotlib when drawn."""

from __future__ import annotations

import base64
import io
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.compare.collect import Entry
from rlgen.compare.judge import ARROWS, Group, Task
from rlgen.metrics import returns

COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#999933",
)  # Okabe and Ito 2008, less black
DASHES = ("-", "--", ":", "-.")  # after as many groups as there are colours
POINTS = 100  # of a learning curve
UNITS = dict.fromkeys(("eval/nll", "eval/elbo", "eval/kl", "eval/distortion", "losses/elbo"), " [nats per image]")
TIMES = (("s", 1.0, 180.0), ("min", 60.0, 3 * 3600.0), ("h", 3600.0, math.inf))  # unit, seconds in it, used up to
BLUES = ("#0072b2", "#56b4e9")  # change places on a dark page, where the first would be dim
INK, FAINT = ("#222222", "#d8d8d8"), ("#dddddd", "#3a3d42")  # text and grid, on a light page and on a dark one


Palette = dict[str, int]  # number of a group's colour, the same on every panel


@dataclass
class Figure:
    """A panel: `draw(ax)` puts it on matplotlib axes; `picture` is a PNG file to show as it is."""

    title: str
    draw: Callable[[Any], None]
    picture: Path | None = None
    height: float = 2.8  # inches, at a width of 4.3
    names: Sequence[str] = ()  # in the legend, which hangs below

    @property
    def legend(self) -> float:
        """Inches that the legend takes, beyond two lines."""
        return 0.2 * max(0, -(-len(self.names) // _columns(self.names)) - 2) if self.names else 0.0


def task_figures(task: Task, found: dict[str, Any], palette: Palette) -> list[Figure]:
    """Every panel of a task, sample grids last; `found` is what `compare` says about it."""
    label = _label(task.metric, task.direction)
    figures = [
        _curves(task, 0, "Learning curves", label, palette),
        _curves(task, 1, "The same against wall time", label, palette),
    ]
    for name in sorted(
        {name for row in found["groups"] for name in row["metrics"]}, key=lambda n: (n != task.metric, n)
    ):
        rows = [row for row in found["groups"] if name in row["metrics"]]
        stats = [row["metrics"][name] for row in rows]
        if stats[0]["direction"] and (name == task.metric or task.kind == "generative"):
            points = [
                (row["group"], (s["iqm"], s["low"], s["high"]), s["scores"]) for row, s in zip(rows, stats, strict=True)
            ]
            figures.append(intervals(f"Final {name}", _label(name, stats[0]["direction"]), points, palette))
    if task.kind == "agent" and task.direction:
        scores = {group.label: [group.scores] for group in task.groups if len(group.scores)}
        if scores:
            figures.append(profiles("Performance profiles", label, scores, task.direction, palette))
    if any(entry.series("eval/q_estimate").size for group in task.groups for entry in group.entries):
        figures.append(_overestimation(task, palette))
    return figures + [figure for group in task.groups if (figure := _samples(group))]


def _curves(task: Task, axis: int, title: str, label: str, palette: Palette) -> Figure:
    """IQM over seeds with its band; against steps (axis 0) or seconds (axis 1)."""
    lines: list[Any] = []
    for group in task.groups:
        shown = group.scored or group.entries
        line = _band([task.curve(entry) for entry in shown], axis)
        if line is not None:
            lines.append((palette[group.label], group.label + ("" if group.scored else " (unfinished)"), *line))
    longest = max((float(grid[-1]) for _, _, grid, *_ in lines), default=0.0)
    unit, seconds = next((name, size) for name, size, to in TIMES if longest < to) if axis else ("", 1.0)

    threshold = [] if task.threshold is None else [f"threshold {task.threshold:g}"]

    def draw(ax: Any) -> None:
        for index, name, grid, value, low, high in lines:
            ax.plot(grid / seconds, value, label=name, **_style(index))
            ax.fill_between(grid / seconds, low, high, color=_style(index)["color"], alpha=0.2, linewidth=0)
        for words in threshold:
            ax.axhline(task.threshold, color="#888888", linewidth=1, linestyle=":", label=words)
        ax.set(xlabel=f"wall time [{unit}]" if axis else _clock(task), ylabel=label)
        ax.locator_params(axis="x", nbins=6)
        if not axis:
            ax.xaxis.set_major_formatter(_engineering())
        _legend(ax)

    return Figure(title, draw, names=[*(name for _, name, *_ in lines), *threshold])


def _band(curves: list[np.ndarray], axis: int) -> tuple[np.ndarray, ...] | None:
    """Grid, IQM and interval, [K] each, from where every run has begun to where the median run has ended."""
    curves = [curve for curve in curves if curve.shape[1] and np.isfinite(curve[axis]).all()]
    if not curves:
        return None
    end = np.median([curve[axis, -1] for curve in curves])
    grid = np.linspace(min(max(curve[axis, 0] for curve in curves), end), end, POINTS)
    values = np.stack([np.interp(grid, curve[axis], curve[2]) for curve in curves], axis=-1)  # [K, runs]
    return grid, *map(np.asarray, returns.bootstrap([values], resamples=2_000))


def intervals(
    title: str,
    label: str,
    points: Sequence[tuple[str, Sequence[float | None], Sequence[float]]],
    palette: Palette,
) -> Figure:
    """A bar from low to high, a tick at the estimate, and a dot a seed."""
    names = [textwrap.fill(name, 26) for name, *_ in points]
    lines = max([1, *(name.count("\n") + 1 for name in names)])

    def draw(ax: Any) -> None:
        for index, (name, (value, low, high), scores) in enumerate(points):
            colour = _style(palette[name])["color"]
            if low is not None and high is not None and value is not None:
                ax.barh(index, high - low, left=low, height=0.5, color=colour, alpha=0.35, linewidth=0)
            ax.plot([value, value], [index - 0.25, index + 0.25], color=colour, linewidth=2.5)
            spread = np.linspace(-0.15, 0.15, len(scores)) if len(scores) > 1 else np.zeros(len(scores))
            ax.plot(scores, index + spread, "o", color=colour, markersize=3.5, alpha=0.9)
        ax.set(yticks=range(len(points)), yticklabels=names, xlabel=label)
        ax.tick_params(axis="y", labelsize=9.5 if lines == 1 else 8)
        ax.use_sticky_edges = False  # a bar need not touch the frame
        ax.autoscale()
        ax.set_ylim(len(points) - 0.4, -0.6)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="y", visible=False)

    return Figure(title, draw, height=max(2.4, 1.1 + max(0.42, 0.19 * lines) * len(points)))


def profiles(title: str, label: str, scores: dict[str, list[np.ndarray]], better: int, palette: Palette) -> Figure:
    """Share of runs better than every threshold; scores by group, one array a task."""
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
            style = _style(palette[name])
            ax.step(grid, value, where=step, label=name, **style)
            ax.fill_between(grid, low, high, step=step, color=style["color"], alpha=0.2, linewidth=0)
        ax.set(xlabel=f"{label}: threshold", ylabel="share of runs better", ylim=(-0.03, 1.03))
        _legend(ax)

    return Figure(title, draw, names=list(found))


def _overestimation(task: Task, palette: Palette) -> Figure:
    """What the agent expects beside what it gets (van Hasselt et al. 2016, figure 3)."""
    lines: list[Any] = []
    for group in task.groups:
        for name, words, dash in (("eval/q_estimate", "estimated", "-"), ("eval/q_realised", "obtained", "--")):
            line = _band([task.curve(entry, name) for entry in group.scored or group.entries], 0)
            if line is not None:
                lines.append((palette[group.label], f"{group.label}, {words}", dash, *line))

    def draw(ax: Any) -> None:
        for index, name, dash, grid, value, low, high in lines:
            colour = _style(index)["color"]
            ax.plot(grid, value, color=colour, linestyle=dash, label=name)
            ax.fill_between(grid, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.set(xlabel=_clock(task), ylabel="discounted return")
        ax.locator_params(axis="x", nbins=6)
        ax.xaxis.set_major_formatter(_engineering())
        _legend(ax)

    return Figure("Expected and obtained value", draw, names=[name for _, name, *_ in lines])


def _samples(group: Group) -> Figure | None:
    """The newest sample grid of the first seed that has one."""
    for entry in [*group.scored, *group.entries]:
        files = sorted(
            (entry.path / "samples").glob("*.png"), key=lambda path: (path.stem.startswith("grid"), path.name)
        )
        if files:
            return Figure(f"{group.label}: samples of {_sampled(entry, files[-1])}", _show(files[-1]), files[-1])
    return None


def _sampled(entry: Entry, file: Path) -> str:
    step = file.stem.rpartition("_")[2]
    return f"seed {entry.seed}" + (f" at step {int(step):,}" if step.isdecimal() else "")


def _show(file: Path) -> Callable[[Any], None]:
    def draw(ax: Any) -> None:
        import matplotlib.image

        image = matplotlib.image.imread(file)
        ax.imshow(image, cmap="gray", interpolation="nearest", vmin=0, vmax=1)
        ax.set_axis_off()

    return draw


def _label(metric: str, better: int) -> str:
    return metric + ARROWS[better] + UNITS.get(metric, "")


def _clock(task: Task) -> str:
    return "environment steps" if task.kind == "agent" else "training images"


def _style(index: int) -> dict[str, Any]:
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": dash, "linewidth": 1.8}


def _engineering() -> Any:
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")


def _legend(ax: Any) -> None:
    """Below the axes, where no curve runs; as many columns as the names leave room for."""
    names = ax.get_legend_handles_labels()[1]
    if names:
        place = {"loc": "upper center", "bbox_to_anchor": (0.45, -0.2), "ncols": _columns(names), "columnspacing": 1.2}
        ax.legend(**place, frameon=False, fontsize=8.5, handlelength=1.6)


def _columns(names: Sequence[str]) -> int:
    return max(1, min(len(names), 62 // (5 + max(map(len, names)))))


def theme() -> Any:
    """Settings of matplotlib for a light page."""
    coloured = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK[0])
    return coloured | {
        "grid.color": FAINT[0],
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "font.size": 9.5,
        "svg.hashsalt": "rlgen",  # the same comparison is the same file
    }


def svg(figure: Figure) -> tuple[str, str]:
    """A panel as two data addresses, for a light and for a dark page: one drawing, other ink."""
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
