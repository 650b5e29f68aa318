"""Compare runs: which algorithm is better, by how much, how sure, and whether the question can be asked at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlgen.compare.aggregate import aggregate
from rlgen.compare.collect import nothing_left
from rlgen.compare.describe import describe
from rlgen.compare.entry import Entry
from rlgen.compare.groups import Task, make_tasks, options
from rlgen.compare.judge import judge, nothing_shared
from rlgen.compare.more_seeds import more_seeds, why_not
from rlgen.compare.rules import RULES
from rlgen.errors import UsageError
from rlgen.metrics import returns
from rlgen.text import nearest


class Comparison(dict[str, Any]):
    """What `compare` found, as plain values for JSON. `tasks` holds the runs behind it, for figures."""

    tasks: list[Task]


@np.errstate(over="ignore", invalid="ignore")  # of scores near the largest number that there is
def compare(
    entries: Sequence[Entry],
    metric: str | None = None,
    group: Sequence[str] = (),
    steps: int | None = None,
    threshold: float | None = None,
    resamples: int = returns.RESAMPLES,
    until_decided: bool = False,
    left_out: Sequence[dict[str, str]] = (),
) -> Comparison:
    """Everything that can be said about these runs; `RULES` are the conventions.

    Args:
        entries: from `collect`.
        metric: ranked by this; `NAME:higher` or `NAME:lower` where the name does not tell. By default the first of
            the known scores that every finished run of a task has.
        group: options that make the groups; by default the algorithm and every option that differs between its runs.
        steps: score every run at this step instead of at its end.
        threshold: score to be reached, for steps and time to it; by default the environment's own.
        resamples: of the bootstrap.
        left_out: runs that were asked for and are not among the entries, as of `collect`.
        until_decided: say of each ranked task how many more seeds it needs: its entry `more_seeds`.

    Raises:
        UsageError: no run has this metric or one of these options, or none has a score.
    """
    _refuse_unknown(entries, (metric or "").partition(":")[0], group)
    tasks, without_score = make_tasks(entries, metric, group, steps, threshold)
    left = [*left_out, *without_score]
    if not tasks:
        raise nothing_left("no run to compare", left)
    for task in tasks:
        judge(task)
    aggregates = [aggregate(tasks, kind, resamples) for kind in ("agent", "generative")]
    result = Comparison(
        tasks=[describe(task, resamples) for task in tasks],
        aggregates=[each for each in aggregates if each],
        left_out=left,
        refusals=nothing_shared(tasks),
        rules=list(RULES),
        commands=_commands(tasks),
        versions=_versions(tasks),
        machines=sorted({entry.machine for task in tasks for entry in task.entries} - {""}),
    )
    if until_decided:
        for task, described in zip(tasks, result["tasks"], strict=True):
            reason = why_not(task)
            described["more_seeds"] = None if reason else more_seeds(task)
            described["warnings"] += [reason] if reason else []
    result.tasks = tasks
    return result


def _refuse_unknown(entries: Sequence[Entry], metric: str, group: Sequence[str]) -> None:
    """Refuse a metric or an option that no run has."""
    if metric and not any(entry.points(metric).size for entry in entries):
        there = sorted({name for entry in entries for name in entry.metrics})
        raise UsageError(f"--metric {metric}: no run reports it; there are {', '.join(there) or 'none'}")
    for key in group:
        if not any(key in entry.config for entry in entries):
            there = ["algo", *sorted(options(entries))]
            raise UsageError(
                f"--group {key}: no run has this option.{nearest(key, there)} There are {', '.join(there)}"
            )


def _commands(tasks: Sequence[Task]) -> list[str]:
    """The command of one run of each group."""
    groups = [group for task in tasks for group in task.groups]
    commands = [next(filter(None, (entry.info.get("command") for entry in group.entries)), "") for group in groups]
    return list(dict.fromkeys(filter(None, commands)))


def _versions(tasks: Sequence[Task]) -> dict[str, list[str]]:
    """Versions of packages, and commits, that the runs were made with."""
    versions: dict[str, set[str]] = {}
    for entry in [entry for task in tasks for entry in task.entries]:
        commit, dirty, _ = (entry.info.get("git_commit") or "").partition("-dirty")
        known = {"rlgen": entry.info.get("rlgen_version"), "git": commit[:12] + dirty}
        for name, version in (known | (entry.info.get("versions") or {})).items():
            if version:
                versions.setdefault(name, set()).add(str(version))
    return {name: sorted(found) for name, found in versions.items()}
