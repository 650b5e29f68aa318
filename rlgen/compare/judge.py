"""Why the groups of a task cannot be ranked, and what weakens the answer where they can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rlgen.compare.conditions import WORDS, conditions, other_scores
from rlgen.compare.entry import Entry
from rlgen.compare.groups import Group, Task, known_metrics, options
from rlgen.compare.rules import FEW_SEEDS, SIMULATORS, usual_name
from rlgen.metrics import returns


def judge(task: Task) -> None:
    """Set the task's refusals and warnings. Where nothing is refused, put the best group first."""
    task.refusals = [*_other_tasks(task), *_missing_scores(task)]
    task.warnings = [
        *(warning for group in task.groups for warning in _group_warnings(task, group)),
        *_machine_warnings(task),
    ]
    if task.ranked:
        task.groups.sort(key=lambda group: _rank(task, group))


def nothing_shared(tasks: Sequence[Task]) -> list[str]:
    """Why there is nothing to rank, where no two groups were run on the same task."""
    labels = {group.label for task in tasks for group in task.groups}
    if len(labels) < 2 or any(len(task.groups) > 1 for task in tasks):
        return []
    where = "; ".join(f"{task.name}: {', '.join(group.label for group in task.groups)}" for task in tasks)
    return [f"no two groups share an environment or data set ({where})"]


def _other_tasks(task: Task) -> Iterator[str]:
    """Environments, images or evaluations that are not the same; a metric of unknown direction; other step budgets."""
    if len(task.groups) == 1:
        return
    # a run without the metric has no score that could mean something else, but it has an environment
    reporting = [entry for entry in task.entries if entry.series(task.metric).size]
    scores = other_scores({entry.algo for entry in task.entries})
    for name in conditions(task.entries, usual_name(task.metric)):
        if name == "sha256":
            yield f"different data under the name {task.name}: other images, by their checksums in config.json"
        elif name not in scores:
            yield f"different {WORDS.get(name, name)}: {_by_group(task, name, task.entries)}"
    by_what: dict[str, list[str]] = {}  # several options may say one thing, such as which images are held out
    for name in conditions(reporting, usual_name(task.metric)):
        if name in scores:
            by_what.setdefault(scores[name].what, []).append(_by_group(task, name, task.entries))
    for what, of_groups in by_what.items():
        yield f"different evaluation protocol, {what}: {'; '.join(dict.fromkeys(of_groups))}"
    if not task.direction:
        yield f"it is not known whether {task.metric} should be high or low: --metric {task.metric}:higher or :lower"
    budgets = {entry.steps for entry in task.entries}
    if len(budgets) > 1 and not task.at:
        by = _listed(task, lambda entry: f"{entry.steps:,}", "steps")
        yield f"different step budgets: {by}; --steps {min(budgets)} compares at that step"


def _missing_scores(task: Task) -> Iterator[str]:
    """Groups that do not have the metric, or no score at all."""
    if len(task.groups) == 1:
        return
    for group in task.groups:
        if lacking := _without_metric(task, group):
            has = ", ".join([*known_metrics(lacking)] or lacking[0].evaluations[:4]) or "no metric that is known"
            yield f"{group.label} does not report {task.metric}; it has {has}"
        elif not len(group.scores) and not _others_ranked(task):
            yield _no_score(group)


def _no_score(group: Group) -> str:
    failed = all(entry.failed for entry in group.entries)
    return f"{group.label} has no score: " + ("every run failed" if failed else "no run has reached its budget")


def _group_warnings(task: Task, group: Group) -> Iterator[str]:
    several = len(task.groups) > 1
    if several and not len(group.scores) and not _without_metric(task, group) and _others_ranked(task):
        yield _no_score(group)
    failed = sum(entry.failed for entry in group.entries)
    if failed:
        counted = ", counted with the worst score" if len(group.scores) else ""
        yield f"{group.label}: {failed} of {len(group.entries)} seeds failed{counted}"
    if rest := [entry for entry in group.entries if entry not in group.scored]:
        states = ", ".join(f"{entry.name} ({entry.status}, {entry.step / entry.steps:.0%})" for entry in rest)
        yield f"{group.label}: {len(rest)} unfinished, not scored: {states}"
    if 0 < len(group.scored) < FEW_SEEDS:
        seeds = f"{len(group.scored)} seed{'s' * (len(group.scored) > 1)}"
        yield f"{group.label}: only {seeds}; take {FEW_SEEDS} or more before believing a difference"
    used = [entry.seed for entry in group.entries]
    if twice := sorted({seed for seed in used if used.count(seed) > 1}):
        yield f"{group.label}: seed {', '.join(map(str, twice))} more than once; such runs are not independent"
    if pooled := [key for key, values in options(group.entries).items() if len(values) > 1]:
        yield f"{group.label} pools runs that differ in {', '.join(pooled)}"


def _machine_warnings(task: Task) -> Iterator[str]:
    """What makes wall times or environments differ."""
    several = len(task.groups) > 1
    together = {entry.algo for entry in task.entries if "--seeds" in (entry.info.get("command") or "").split()}
    if together:
        yield f"seeds of {', '.join(sorted(together))} trained side by side; alone, each would take less time"
    for package in SIMULATORS if several and task.kind == "agent" else ():
        found = sorted({str((entry.info.get("versions") or {}).get(package, "")) for entry in task.entries} - {""})
        if len(found) > 1:
            yield f"runs of different versions of {package}: {', '.join(found)}"
    of_files = [entry.info.get("own_files") or {} for entry in task.entries]
    for name in dict.fromkeys(name for files in of_files for name in files):
        if len({files[name] for files in of_files if name in files}) > 1:
            yield f"runs of different contents of {name}, a file of the environment"
    machines = {entry.machine for entry in task.entries}
    if several and len(machines) > 1:
        yield f"wall times are of {len(machines)} different machines"


def _without_metric(task: Task, group: Group) -> list[Entry]:
    """Runs of the group that count and do not report the task's metric; failed ones aside."""
    return [entry for entry in group.scored if not entry.failed and not entry.series(task.metric).size]


def _others_ranked(task: Task) -> bool:
    """Whether there are scores of two groups, so that one without a score does not matter."""
    return sum(len(group.scores) > 0 for group in task.groups) > 1


def _rank(task: Task, group: Group) -> float:
    """The smaller, the better; groups without scores come last."""
    return -task.direction * returns.iqm(group.scores) if len(group.scores) else float("inf")


def _by_group(task: Task, name: str, entries: Sequence[Entry]) -> str:
    """What each group has of a condition that differs."""
    values = dict(zip(map(id, entries), conditions(entries, usual_name(task.metric))[name], strict=True))
    return _listed(task, lambda entry: values[id(entry)], name)


def _listed(task: Task, value: Callable[[Entry], str], name: str) -> str:
    """The values of each group, where its label does not say them."""
    found = {group.label: "/".join(sorted({value(entry) for entry in group.entries})) for group in task.groups}
    return ", ".join(label if f" {name}={of}" in label else f"{label} {of}" for label, of in found.items())
