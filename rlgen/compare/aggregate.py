"""Scores of groups over several tasks, each task normalised."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rlgen.compare.describe import pairs, plain
from rlgen.compare.groups import Task
from rlgen.compare.rules import ARROWS
from rlgen.metrics import returns

STATISTICS: dict[str, tuple[str, Callable[[returns.Tasks], np.ndarray]]] = {
    "iqm": ("IQM", returns.pooled_iqm),
    "median": ("median", returns.median),
    "mean": ("mean", returns.mean),
    "optimality_gap": (f"optimality gap{ARROWS[-1]}", returns.optimality_gap),
}


def aggregate(tasks: Sequence[Task], kind: str, resamples: int) -> dict[str, Any] | None:
    """The groups that have scores on every task of a kind, as plain values for JSON.

    Returns:
        None if there are fewer than two tasks or two such groups. No groups if a task cannot be ranked.
    """
    tasks = [task for task in tasks if task.kind == kind]
    scored = [{group.label for group in task.groups if len(group.scores)} for task in tasks]
    labels = [group.label for group in tasks[0].groups] if tasks else []
    everywhere = [label for label in labels if all(label in of_task for of_task in scored)]
    if len(tasks) < 2 or len(everywhere) < 2:
        return None
    result: dict[str, Any] = {
        "kind": kind,
        "tasks": [task.name for task in tasks],
        "refusals": [f"{task.name}: {reason}" for task in tasks for reason in task.refusals],
        "left_out": sorted({group.label for task in tasks for group in task.groups} - set(everywhere)),
        "groups": [],
        "pairs": [],
    }
    if result["refusals"] or any(not task.direction for task in tasks):
        return result
    ranges = [_range(task) for task in tasks]
    scores = {label: [_normalised(*pair, label) for pair in zip(tasks, ranges, strict=True)] for label in everywhere}
    result["range"] = {task.name: list(ends) for task, ends in zip(tasks, ranges, strict=True)}
    for label, of_tasks in scores.items():
        row: dict[str, Any] = {"group": label, "runs": sum(map(len, of_tasks))}
        for name, (_, statistic) in STATISTICS.items():
            row[name] = plain(returns.bootstrap(of_tasks, statistic, resamples))
        row["scores"] = [task.tolist() for task in of_tasks]
        result["groups"].append(row)
    result["groups"].sort(key=lambda row: -row["iqm"][0])
    result["pairs"] = pairs({row["group"]: scores[row["group"]] for row in result["groups"]}, resamples)
    return result


def _range(task: Task) -> tuple[float, float]:
    """The scores that become 0 and 1: see `RULES`."""
    seen = task.direction * np.concatenate([group.scores for group in task.groups])
    goal = task.direction * (math.nan if task.threshold is None else task.threshold)
    low = task.direction * task.worst[task.metric]
    high = goal if goal > low else float(seen.max())
    return task.direction * low, task.direction * high


def _normalised(task: Task, ends: tuple[float, float], label: str) -> np.ndarray:
    """Scores of a group, [runs]; higher is better."""
    scores = next(group.scores for group in task.groups if group.label == label)
    low, high = ends
    return returns.normalise(task.direction * scores, task.direction * low, task.direction * high)
