"""A task as plain values: statistics of its groups, pairs of groups, options that differ, and its runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rlgen.compare.groups import Group, Task, options
from rlgen.compare.rules import direction
from rlgen.metrics import returns
from rlgen.metrics.returns import Interval


def describe(task: Task, resamples: int) -> dict[str, Any]:
    """The task as plain values for JSON."""
    scores = {group.label: [task.direction * group.scores] for group in task.groups if len(group.scores)}
    return {
        "task": task.name,
        "kind": task.kind,
        "metric": task.metric,
        "direction": task.direction,
        "steps": task.budget,
        "threshold": task.threshold,
        "worst": task.worst.get(task.metric),
        "ranked": task.ranked,
        "refusals": task.refusals,
        "warnings": task.warnings,
        "groups": [_describe_group(task, group, resamples) for group in task.groups],
        "pairs": pairs(scores, resamples) if task.ranked else [],
        "differences": _differences(task),
        "runs": _describe_runs(task),
    }


def pairs(scores: dict[str, list[np.ndarray]], resamples: int) -> list[dict[str, Any]]:
    """Probability of improvement of each group over every group that follows.

    Args:
        scores: by group, one array a task: [runs]; higher is better.
        resamples: of the bootstrap.
    """
    found = []
    groups = list(scores.items())
    for i, (x, scores_x) in enumerate(groups):
        for y, scores_y in groups[i + 1 :]:
            value, low, high = plain(returns.probability_of_improvement(scores_x, scores_y, resamples))
            seeds = min(map(len, (*scores_x, *scores_y)))  # on the task with fewest, of the one with fewer
            found.append({"x": x, "y": y, "probability": value, "low": low, "high": high, "seeds": seeds})
    return found


def plain(interval: Interval) -> list[float | None]:
    """Value, low and high as numbers; None where there is none."""
    return [float(value) if math.isfinite(value) else None for value in interval]


def _describe_group(task: Task, group: Group, resamples: int) -> dict[str, Any]:
    curves = [curve for entry in group.scored if (curve := task.curve(entry)).shape[1]]
    budget = task.at or max(entry.steps for entry in group.entries)
    described: dict[str, Any] = {
        "group": group.label,
        "algo": group.entries[0].algo,
        "steps": budget,
        "runs": len(group.entries),
        "seeds": len(group.scored),
        "failed": sum(entry.failed for entry in group.entries),
        "unfinished": len(group.entries) - len(group.scored),
        "running": sum(entry.status == "running" for entry in group.entries),
        **_statistics(group.scores, resamples),
        "worst": _worst(group.scores, task.direction),
        "area": _mean([returns.area_under_curve(steps, values, budget) for steps, _, values in curves]),
        "steps_per_second": _median([entry.step / max(entry.seconds, 1e-9) for entry in group.scored]),
        "seconds": _median([entry.seconds for entry in group.scored]),
    }
    if task.threshold is not None and task.direction:
        for axis, unit in enumerate(("steps", "seconds")):
            at = [returns.first_reaching(curve[axis], curve[2], task.threshold, task.direction) for curve in curves]
            described[f"{unit}_to_threshold"] = _median(at)  # over all seeds: infinite if most never reach it
            described["reached"] = sum(map(math.isfinite, at))
    described["metrics"] = {}
    for name in sorted({task.metric, *(name for entry in group.entries for name in entry.evaluations)}):
        scores = task.scores(group, name)
        if len(scores):
            better = task.direction if name == task.metric else direction(name)
            described["metrics"][name] = {"direction": better, **_statistics(scores, resamples)}
    return described


def _differences(task: Task) -> dict[str, dict[str, list[str]]]:
    """Options that differ between runs: the values that each group has."""
    own = {group.label: options(group.entries) for group in task.groups}
    return {
        key: {label: sorted(values.get(key, {"-"})) for label, values in own.items()}
        for key, found in options(task.entries).items()
        if len(found) > 1
    }


def _describe_runs(task: Task) -> list[dict[str, Any]]:
    described = []
    for group in task.groups:
        for entry in group.entries:
            last = entry.final(task.metric, task.at)
            score = task.worst.get(task.metric) if entry.failed else last
            described.append(
                {
                    "run": entry.name,
                    "group": group.label,
                    "seed": entry.seed,
                    "status": entry.status,
                    "step": entry.step,
                    "steps": entry.steps,
                    "seconds": entry.seconds,
                    "last": last,
                    "score": score if entry in group.scored else None,
                }
            )
    return described


def _statistics(scores: np.ndarray, resamples: int) -> dict[str, Any]:
    """Mean, median, IQM and its interval, and the scores; all None where there are none."""
    if not len(scores):
        return dict.fromkeys(("mean", "median", "iqm", "low", "high"))
    value, low, high = plain(returns.bootstrap([scores], resamples=resamples))
    return {
        "mean": float(scores.mean()),
        "median": float(np.median(scores)),
        "iqm": value,
        "low": low,
        "high": high,
        "scores": scores.tolist(),
    }


def _worst(scores: np.ndarray, better: int) -> float | None:
    return better * float(min(better * scores)) if better and len(scores) else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: list[float]) -> float | None:
    """Of the runs that have a value: rows without a time have none."""
    values = [value for value in values if not math.isnan(value)]
    return float(np.median(values)) if values else None
