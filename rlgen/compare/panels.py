"""Which figures a comparison has: those of each task, and those over all tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlgen.compare import figures
from rlgen.compare.aggregate import STATISTICS
from rlgen.compare.comparison import Comparison
from rlgen.compare.figures import Figure, Line, Palette
from rlgen.compare.groups import Group, Task
from rlgen.compare.rules import ARROWS, direction, usual_name
from rlgen.metrics import FLOOR, OF_SAMPLES, returns

POINTS = 100  # of a learning curve
MOST_CURVES = 4  # metrics that no group is ranked by
OF_INTEREST = ("fd", "precision", "recall", "coverage")  # scores of samples that have curves, beside the ranked metric
PICTURES = {"grid": "samples", "raw": "samples of the weights that train"}  # in files of a run
BAND_RESAMPLES = 2_000  # of the bootstrap at each point
UNITS = dict.fromkeys(("eval/nll", "eval/elbo", "eval/kl", "eval/distortion", "losses/elbo"), " [nats per image]")
TIMES = {"s": (1.0, 180.0), "min": (60.0, 3 * 3600.0), "h": (3600.0, math.inf)}  # unit: seconds in it, used up to
CLOCKS = {"agent": "environment steps", "generative": "training images"}
VALUES = {"eval/q_estimate": "-", "eval/q_realised": "--"}  # dashes


def panels(comparison: Comparison) -> list[list[Figure]]:
    """The figures of each section, in the order of `tables.sections`."""
    palettes = {kind: _palette(comparison.tasks, kind) for kind in ("agent", "generative")}
    found: list[list[Figure]] = [[] for words in ("refusals", "left_out") if comparison[words]]
    found += [over_tasks(described, palettes[described["kind"]]) for described in comparison["aggregates"]]
    for task, described in zip(comparison.tasks, comparison["tasks"], strict=True):
        found.append(of_task(task, described, palettes[task.kind]))
    return [*found, []]  # the last section explains


def of_task(task: Task, described: dict[str, Any], palette: Palette) -> list[Figure]:
    """The figures of a task, pictures of samples last.

    Args:
        task: with its runs.
        described: what `describe` says about it.
        palette: of the groups.
    """
    label = axis_label(task.metric, task.direction)
    found = [_curves_over_steps(task, label, palette), _curves_over_time(task, label, palette)]
    found += _other_curves(task, palette) + _scores_of_samples(task, palette)
    names = {name for row in described["groups"] for name in row["metrics"]}
    for name in sorted(names, key=lambda name: (name != task.metric, name)):
        rows = [row for row in described["groups"] if name in row["metrics"]]
        better = rows[0]["metrics"][name]["direction"]
        if better and (name == task.metric or task.kind == "generative"):
            points = []
            for row in rows:
                of_group = row["metrics"][name]
                interval = (of_group["iqm"], of_group["low"], of_group["high"])
                points.append((row["group"], interval, of_group["scores"]))
            if sum(len(scores) for *_, scores in points) < 2:  # the table has it
                continue
            short = "final" if name == task.metric else f"final-{name.rpartition('/')[2]}"
            found.append(figures.intervals(short, f"Final {name}", axis_label(name, better), points, palette))
    scores = {group.label: [group.scores] for group in task.groups if len(group.scores)}
    if task.kind == "agent" and task.direction and sum(len(each) for (each,) in scores.values()) > 1:
        found.append(figures.profiles("Performance profiles", label, scores, task.direction, palette))
    if any(entry.series("eval/q_estimate").size for entry in task.entries):
        found.append(_expected_and_obtained(task, palette))
    return found + [grid for group in task.groups for grid in _sample_grids(group)]


def over_tasks(described: dict[str, Any], palette: Palette) -> list[Figure]:
    """The figures of an aggregate."""
    groups = described["groups"]
    if not groups:
        return []
    found = []
    for name, (title, _) in STATISTICS.items():
        points: list[Any] = [(row["group"], row[name], []) for row in groups]
        found.append(figures.intervals(name, title[0].upper() + title[1:], "normalised score", points, palette))
    scores = {row["group"]: [np.array(task) for task in row["scores"]] for row in groups}
    return [*found, figures.profiles("Performance profiles", "normalised score", scores, 1, palette)]


def axis_label(metric: str, better: int) -> str:
    """The metric, an arrow to where it is better, and its unit."""
    return metric + ARROWS[better] + UNITS.get(usual_name(metric), "")


def _palette(tasks: Sequence[Task], kind: str) -> Palette:
    labels = dict.fromkeys(group.label for task in tasks if task.kind == kind for group in task.groups)
    return {label: i for i, label in enumerate(labels)}


def _curves_over_steps(task: Task, label: str, palette: Palette) -> Figure:
    lines = _learning_curves(task, 0, palette)
    floors, log = _floors(task, task.metric), _spans_magnitudes(task.metric)
    title, clock = "Learning curves", CLOCKS[task.kind]
    return figures.curves("curves", title, clock, label, lines, task.threshold, floors=floors, log=log)


def _curves_over_time(task: Task, label: str, palette: Palette) -> Figure:
    lines = _learning_curves(task, 1, palette)
    longest = max((float(line.x[-1]) for line in lines), default=0.0)
    unit, seconds = next((unit, seconds) for unit, (seconds, up_to) in TIMES.items() if longest < up_to)
    for line in lines:
        line.x = line.x / seconds
    title, xlabel = "The same against wall time", f"wall time [{unit}]"
    log = _spans_magnitudes(task.metric)
    return figures.curves("time", title, xlabel, label, lines, task.threshold, steps=False, log=log)


def _other_curves(task: Task, palette: Palette) -> list[Figure]:
    """The curves of models that have none of the ranked metric, or of several that none ranks: a GAN's evaluations."""
    if task.kind != "generative":
        return []
    without = [
        group
        for group in task.groups
        if not task.direction or not any(entry.series(task.metric).size for entry in group.entries)
    ]
    names = sorted({name for group in without for entry in group.entries for name in entry.evaluations})
    shown = [name for name in names if name != task.metric and not OF_SAMPLES.fullmatch(name)][:MOST_CURVES]
    drawn = [(name, _learning_curves(task, 0, palette, name)) for name in shown]
    return [
        figures.curves(
            f"curves-{name.rpartition('/')[2]}", f"Curves of {name}", CLOCKS[task.kind], axis_label(name, 0), lines
        )
        for name, lines in drawn
        if lines
    ]


def _scores_of_samples(task: Task, palette: Palette) -> list[Figure]:
    """The curves of how good samples are, each with what real images score."""
    names = {name for entry in task.entries for name in entry.evaluations if OF_SAMPLES.fullmatch(name)}
    found = []
    for word in OF_INTEREST:
        for name in sorted(name for name in names - {task.metric} if name.startswith(f"eval/{word}_")):
            short, label = f"curves-{name.rpartition('/')[2]}", axis_label(name, direction(name))
            lines, floors = _learning_curves(task, 0, palette, name), _floors(task, name)
            log, title = _spans_magnitudes(name), f"Curves of {name}"
            found.append(figures.curves(short, title, CLOCKS[task.kind], label, lines, floors=floors, log=log))
    return found


def _spans_magnitudes(metric: str) -> bool:
    """Whether a metric is positive and falls by magnitudes."""
    return metric.startswith("eval/fd_")


def _floors(task: Task, metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps and values of what real images score; of runs that agree about it the longest."""
    floors: dict[tuple[float, ...], tuple[np.ndarray, np.ndarray]] = {}
    for entry in task.entries:
        steps, _, values = task.curve(entry, FLOOR + metric.removeprefix("eval/"))
        if len(steps):
            same = tuple(sorted({float(f"{value:.4g}") for value in values}))
            if same not in floors or steps[-1] > floors[same][0][-1]:
                floors[same] = steps, values
    return [*floors.values()]


def _learning_curves(task: Task, axis: int, palette: Palette, metric: str | None = None) -> list[Line]:
    """A line for each group that has one; against steps (axis 0) or seconds (axis 1)."""
    lines = []
    for group in task.groups:
        band = _band([task.curve(entry, metric) for entry in group.scored or group.entries], axis)
        if band is not None:
            name = group.label + ("" if group.scored else " (unfinished)")
            lines.append(Line(name, palette[group.label], *band))
    return lines


def _expected_and_obtained(task: Task, palette: Palette) -> Figure:
    """What the agent expects beside what it gets (van Hasselt et al. 2016, figure 3)."""
    lines = []
    for group in task.groups:
        for metric, dash in VALUES.items():
            band = _band([task.curve(entry, metric) for entry in group.scored or group.entries], 0)
            if band is not None:
                lines.append(Line(group.label, palette[group.label], *band, dash=dash))
    title = "Expected (solid) and obtained value (dashed)"
    return figures.curves("values", title, CLOCKS[task.kind], "discounted return", lines, band=0.15)


def _band(curves: list[np.ndarray], axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Grid, IQM and interval over runs, [K] each; from where every run has begun to where the median run has ended."""
    curves = [curve for curve in curves if curve.shape[1] and np.isfinite(curve[axis]).all()]
    if not curves:
        return None
    end = np.median([curve[axis, -1] for curve in curves])
    grid = np.linspace(min(max(curve[axis, 0] for curve in curves), end), end, POINTS)
    values = np.stack([np.interp(grid, curve[axis], curve[2]) for curve in curves], axis=-1)  # [K, runs]
    value, low, high = map(np.asarray, returns.bootstrap([values], resamples=BAND_RESAMPLES))
    return grid, value, low, high


def _sample_grids(group: Group) -> list[Figure]:
    """The newest pictures of samples of the first seed that has one."""
    for entry in [*group.scored, *group.entries]:
        found = []
        for kind, words in PICTURES.items():
            newest = max((entry.path / "samples").glob(f"{kind}_*.png"), key=lambda path: path.name, default=None)
            if newest:
                step = newest.stem.rpartition("_")[2]
                when = f" at step {int(step):,}" if step.isdecimal() else ""
                found.append(figures.picture(f"{group.label}: {words}, seed {entry.seed}{when}", newest))
        if found:
            return found
    return []
