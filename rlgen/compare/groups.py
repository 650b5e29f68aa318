"""Tasks, and the groups of runs on them.

A task is an environment or a data set. A group is one algorithm with one set of options on it. Its runs are the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rlgen.compare.conditions import conditions, unlearned, written
from rlgen.compare.entry import Entry, left_out
from rlgen.compare.rules import TRAINING_METRICS, direction, usual_name
from rlgen.errors import UsageError
from rlgen.runs.best import SCORES


@dataclass
class Group:
    """The seeds of one algorithm, with one set of options, on one task."""

    label: str
    entries: list[Entry]
    scored: list[Entry] = field(default_factory=list)  # those that count: they reached the budget, or failed
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))  # of `scored`, [runs]


@dataclass
class Task:
    """An environment or data set, and the groups that were run on it."""

    name: str
    kind: str  # agent or generative
    metric: str  # it is ranked by this
    direction: int  # of the metric
    at: int | None  # compare at this step instead of at the end
    groups: list[Group]
    threshold: float | None = None
    worst: dict[str, float] = field(default_factory=dict)  # by metric: what a failed seed scores
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        """The runs of all groups."""
        return [entry for group in self.groups for entry in group.entries]

    @property
    def budget(self) -> int:
        """Steps that curves and areas extend to."""
        return self.at or max(entry.steps for entry in self.entries)

    @property
    def ranked(self) -> bool:
        """Whether there are several groups, and nothing forbids to rank them."""
        return len(self.groups) > 1 and not self.refusals

    def curve(self, entry: Entry, metric: str | None = None) -> np.ndarray:
        """Steps, seconds and values of a run: [3, K]. A failed run goes on at the worst score."""
        metric = metric or self.metric
        points = entry.series(metric)
        if self.at:
            points = points[:, points[0] <= self.at]
        if entry.failed and metric in self.worst:
            end, seconds, worst = max(entry.step, 1), entry.seconds, self.worst[metric]
            after = [[end, max(end, self.budget)], [seconds, seconds], [worst, worst]]
            points = np.concatenate([points[:, points[0] < end], after], axis=1)
        return points

    def scores(self, group: Group, metric: str) -> np.ndarray:
        """Scores of the group's runs that count: [runs].

        A failed run has the worst score; it has none if neither high nor low is better.
        """
        values = [
            self.worst.get(metric, math.nan) if entry.failed else entry.final(metric, self.at) for entry in group.scored
        ]
        return np.array([value for value in values if math.isfinite(value)])


def make_tasks(
    entries: Sequence[Entry], metric: str | None, keys: Sequence[str], at: int | None, threshold: float | None
) -> tuple[list[Task], list[dict[str, str]]]:
    """The tasks of these runs, grouped and scored, and the runs without a score. The arguments are those of `compare`.

    Raises:
        UsageError: the metric's direction is stated in other words than higher and lower.
    """
    name, _, stated = (metric or "").partition(":")
    if metric and not name:
        raise UsageError(f"--metric {metric}: before the colon comes the metric's name")
    if stated not in ("", "higher", "lower"):
        raise UsageError(f"--metric {metric}: after the colon comes higher or lower, whichever is better")
    stated_direction = {"": 0, "higher": 1, "lower": -1}[stated]
    by_task: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        by_task.setdefault((entry.kind, entry.task), []).append(entry)
    tasks, left = [], []
    for of_task in by_task.values():
        while reasons := _without_score(of_task, name, keys, at):
            left += [left_out(entry.name, reasons[id(entry)]) for entry in of_task if id(entry) in reasons]
            of_task = [entry for entry in of_task if id(entry) not in reasons]  # grouped as if the rest was not there
        if of_task:
            tasks.append(_make_task(of_task, name, stated_direction, keys, at, threshold))
    return tasks, left


def options(entries: Iterable[Entry]) -> dict[str, set[str]]:
    """Every option that matters, and the values it has in these runs; `-` where a run does not have it."""
    entries = list(entries)
    same = unlearned({entry.algo for entry in entries})
    keys = dict.fromkeys(key for entry in entries for key in entry.config if key not in same)
    return {key: {written(entry.config.get(key)) for entry in entries} for key in keys}


def known_metrics(entries: Sequence[Entry]) -> Iterator[str]:
    """Known scores that all of these runs have, the best first. Lazy, as reading a training metric takes time."""
    names = [*SCORES, TRAINING_METRICS[entries[0].kind]]
    return (name for name in names if all(entry.series(name).size for entry in entries))


def _make_task(
    entries: list[Entry],
    metric: str,
    stated_direction: int,
    keys: Sequence[str],
    at: int | None,
    threshold: float | None,
) -> Task:
    groups = _make_groups(entries, keys, at, metric)
    metric = metric or _default_metric(groups)
    better = stated_direction or direction(metric)
    kind, targets = entries[0].kind, list(dict.fromkeys(entry.target for entry in entries))
    if threshold is None and kind == "agent" and metric.endswith("episodic_return"):
        known = {_reward_threshold(target) for target in targets}
        threshold = known.pop() if len(known) == 1 else None  # of two versions, none is the task's
    task = Task(targets[0] if len(targets) == 1 else entries[0].task, kind, metric, better, at, groups, threshold)
    for name in {metric, *(each for entry in entries for each in entry.evaluations)}:
        sign = better if name == metric else direction(name)
        seen = [entry.series(name)[2] for group in groups for entry in group.scored]
        if sign and any(map(len, seen)):
            task.worst[name] = float(sign * np.min(sign * np.concatenate(seen)))
    for group in groups:
        group.scores = task.scores(group, metric)
    return task


def _make_groups(entries: list[Entry], keys: Sequence[str], at: int | None, metric: str) -> list[Group]:
    """Groups by the options `keys`, or by the algorithm and every option that differs between its runs.

    Runs of one group have the same task: where it differs, the group is divided, whatever the options.
    """
    labelled: dict[str, list[Entry]] = {}
    for algo in dict.fromkeys(entry.algo for entry in entries):
        same = [entry for entry in entries if entry.algo == algo]
        differing = [key for key, values in options(same).items() if len(values) > 1]
        for entry in same:
            values = {key: written(entry.config.get(key)) for key in (keys or differing)}
            parts = [value if key == "algo" else f"{key}={value}" for key, value in values.items()]
            label = " ".join(parts if keys else [algo, *parts])
            labelled.setdefault(label, []).append(entry)
    divided = [
        part for label, of_label in labelled.items() for part in _divided(label, of_label, usual_name(metric), at)
    ]
    groups = [Group(label, sorted(part, key=lambda entry: (entry.seed, entry.name))) for label, part in divided]
    for group in groups:
        group.scored = [entry for entry in group.entries if entry.failed or entry.step >= (at or entry.steps)]
    return groups


def _divided(label: str, entries: list[Entry], metric: str, at: int | None) -> Iterator[tuple[str, list[Entry]]]:
    """The parts of a group that have one task each, and one budget if scored at the end; and their labels."""
    budgets = {} if at else {"steps": [str(entry.steps) for entry in entries]}
    found = conditions(entries, metric or "eval/") | budgets
    name = next((name for name, values in found.items() if len(set(values)) > 1), None)
    if name is None:
        yield label, entries
        return
    for value in dict.fromkeys(found[name]):
        part = [entry for entry, of_entry in zip(entries, found[name], strict=True) if of_entry == value]
        yield from _divided(f"{label} {name}={value}", part, metric, at)


def _without_score(entries: list[Entry], metric: str, keys: Sequence[str], at: int | None) -> dict[int, str]:
    """The runs, by `id`, that have no score and will have none, and why; of a group that lacks the metric none."""
    if metric and not any(entry.points(metric).size for entry in entries):
        return {id(entry): f"it does not report {metric}" for entry in entries}
    groups = _make_groups(entries, keys, at, metric) if entries else []
    found = {}
    for group in groups:
        score = metric or _default_metric(groups)
        alive = [entry for entry in group.scored if not entry.failed]
        reported = any(entry.points(score).size for entry in alive)
        for entry in [entry for entry in group.entries if not entry.failed]:
            if at and entry.steps < at:
                found[id(entry)] = f"its {entry.steps:,} steps end before step {at:,}"
            elif entry.status == "finished" and entry.step < entry.steps:
                found[id(entry)] = f"it is finished, but its metrics end at step {entry.step:,} of {entry.steps:,}"
            elif reported and entry in alive and (reason := entry.score(score, at)[1]):
                found[id(entry)] = reason
    return found


def _default_metric(groups: Sequence[Group]) -> str:
    """The first known score that most runs of each group have, failed ones aside; else an evaluation metric like it."""
    scored = [[entry for entry in group.scored if not entry.failed] for group in groups]
    alive = [of_group for of_group in scored if of_group] or [group.entries for group in groups]

    def shared(name: str) -> bool:
        return all(2 * sum(entry.series(name).size > 0 for entry in some) >= len(some) for some in alive)

    kind = alive[0][0].kind
    others = dict.fromkeys(name for of_group in alive for entry in of_group for name in entry.evaluations)
    common = [name for name in others if shared(name)]
    ranked = [name for name in common if direction(name)]
    fallback = "eval/episodic_return" if kind == "agent" else "eval/nll"
    return next(filter(shared, (*SCORES, TRAINING_METRICS[kind])), (ranked or common or [fallback])[0])


def _reward_threshold(env_id: str) -> float | None:
    try:
        import gymnasium

        return gymnasium.spec(env_id).reward_threshold
    except MemoryError:
        raise
    except Exception:  # an environment that is not installed here has no known threshold
        return None
