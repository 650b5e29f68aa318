"""Compare runs: which algorithm is better, by how much, how sure, and whether the question can be asked at all.

A task is an environment or a data set; a group is an algorithm on it, its runs the seeds. Runs of one algorithm whose
options differ are different groups. `RULES` says what counts as a score; every report carries them. No torch here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlgen.compare.collect import Entry
from rlgen.errors import UsageError
from rlgen.metrics import returns
from rlgen.metrics.returns import Interval
from rlgen.runs import run as runs

FEW_SEEDS = 5
RULES = (
    "A score is the last evaluation of a run (eval/...), or the mean over the last tenth of its steps (other metrics); "
    "with --steps, the evaluation nearest to that step.",
    "A seed that diverged or failed counts: its score is the worst that any run had at any step on the same task, and "
    "so is the rest of its learning curve.",
    "A model is evaluated on all held-out images at its end, on the first 1,000 before: its curve may step there.",
    "Runs that are running, interrupted or killed are shown and not scored until they reach the step budget.",
    "IQM: mean of the middle half of the scores. Intervals: 95 %, percentile, stratified bootstrap over seeds, "
    f"{returns.RESAMPLES:,} resamples (2,000 for bands and profiles), seed 0; with few seeds they are too narrow.",
    "P(X > Y): probability that a run of X beats a run of Y, ties one half (Mann-Whitney); averaged over tasks. No "
    f"verdict under {FEW_SEEDS} seeds a side, where chance alone often separates two groups.",
    "Area: mean height of the learning curve over the step budget, in units of the score.",
    "Normalised: 0 is the worst that any run had at any step on a task, 1 the task's threshold, or the best run where "
    "there is none or everything is beyond it.",
)
ARROWS = {1: " \N{UPWARDS ARROW}", -1: " \N{DOWNWARDS ARROW}", 0: ""}  # higher, lower is better
DIRECTIONS = runs.SCORES | {  # 1: higher is better, -1: lower, 0: neither
    "charts/episodic_return": 1,
    "charts/SPS": 1,
    "losses/elbo": 1,
    "eval/episodic_return_std": 0,
    "eval/episodic_length": 0,
    "eval/kl": 0,  # the two parts of the ELBO trade off against each other
    "eval/distortion": 0,
    "eval/d_gap": 0,  # a weak discriminator makes it small as well
}
LOWER = {"nll", "loss", "fd", "fid", "kid", "mmd", "bpd", "mse", "error", "distance", "gap"}
HIGHER = {"return", "reward", "score", "success", "elbo", "accuracy", "precision", "recall", "density", "coverage"}
IGNORED = {  # options that do not change what is learned, so that runs that differ in them are seeds of one group
    *("seed", "name", "algo", "exp_name", "env_id", "data", "data_dir", "runs_dir", "device", "threads", "wandb"),
    *("wandb_project", "wandb_private", "log_every", "eval_every", "checkpoint_every", "vectorization"),
}
SIMULATORS = ("gymnasium", "ale-py", "mujoco")  # another version of one may be another environment of the same name
PROTOCOL = {  # options that change what a score means: the metrics they matter to, and in words
    "eval_episodes": ("eval/", "evaluation episodes"),
    "nll_samples": ("eval/nll", "importance samples behind the NLL"),
    "sticky_actions": ("", "sticky actions"),
    "repeat_action_probability": ("", "sticky action probability"),
    "frame_skip": ("", "frame skip"),
    "max_episode_steps": ("", "episode length limit"),
}


def direction(metric: str) -> int:
    """1 if higher is better, -1 if lower, 0 if neither is known: by name, else by the words in it."""
    words = set(re.split(r"[/_.\-]", metric.lower()))
    return DIRECTIONS.get(metric, -1 if words & LOWER else 1 if words & HIGHER else 0)


@dataclass
class Group:
    """The seeds of one algorithm, with one set of options, on one task."""

    label: str
    entries: list[Entry]
    scored: list[Entry] = field(default_factory=list)  # those that count: they reached the budget, or failed
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))  # [runs], of `scored`


@dataclass
class Task:
    """An environment or data set, and the groups that were run on it."""

    name: str
    kind: str
    metric: str
    direction: int
    at: int | None  # compare at this step instead of the end
    groups: list[Group]
    threshold: float | None = None
    worst: dict[str, float] = field(default_factory=dict)  # by metric: what a failed seed scores
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def budget(self) -> int:
        """Steps that curves and areas extend to."""
        return self.at or max(entry.steps for group in self.groups for entry in group.entries)

    def curve(self, entry: Entry, metric: str | None = None) -> np.ndarray:
        """Steps, seconds and values of a run; a failed one goes on at the worst score: [3, K]."""
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
        """Scores of the group's runs that count, [runs]; failed ones have the worst, or none if neither is better."""
        values = [
            self.worst.get(metric, math.nan) if entry.failed else entry.final(metric, self.at) for entry in group.scored
        ]
        return np.array([value for value in values if math.isfinite(value)])


class Comparison(dict[str, Any]):
    """What `compare` found, as plain values for JSON; `tasks` holds the runs behind it, for pictures."""

    tasks: list[Task]

    def text(self) -> str:
        """The tables for a terminal."""
        from rlgen.compare import report

        return report.text(self)


def compare(
    entries: Sequence[Entry],
    metric: str | None = None,
    group: Sequence[str] = (),
    steps: int | None = None,
    threshold: float | None = None,
    resamples: int = returns.RESAMPLES,
) -> Comparison:
    """Everything that can be said about these runs; `RULES` are the conventions.

    Args:
        entries: from `reading.collect`.
        metric: ranked by this; `NAME:higher` or `NAME:lower` where the name does not tell. By default the first of
            the known scores that every finished run of a task has.
        group: options that make the groups; by default the algorithm and every option that differs between its runs.
        steps: score every run at this step instead of at its end.
        threshold: score to be reached, for steps and time to it; by default the environment's own.
        resamples: of the bootstrap.
    """
    by_task: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        by_task.setdefault((entry.kind, entry.task), []).append(entry)
    tasks = [_task(kind, of, metric, group, steps, threshold) for (kind, _), of in by_task.items()]
    result = Comparison(
        tasks=[_describe(task, resamples) for task in tasks],
        aggregates=[found for kind in ("agent", "generative") if (found := _aggregate(tasks, kind, resamples))],
        refusals=_nothing_shared(tasks),
        rules=list(RULES),
        **_origins([each.entries for task in tasks for each in task.groups]),
    )
    result.tasks = tasks
    return result


def _task(
    kind: str, entries: list[Entry], metric: str | None, keys: Sequence[str], at: int | None, threshold: float | None
) -> Task:
    groups: dict[str, Group] = {}
    for algo in dict.fromkeys(entry.algo for entry in entries):
        same = [entry for entry in entries if entry.algo == algo]
        differing = [key for key, values in _options(same).items() if len(values) > 1]
        for entry in same:
            shown = {key: _shown(entry.config.get(key)) for key in (keys or differing)}
            parts = [f"{key}={value}" if key != "algo" else value for key, value in shown.items()]
            label = " ".join(parts if keys else [algo, *parts])
            groups.setdefault(label, Group(label, [])).entries.append(entry)
    for each in groups.values():
        each.entries.sort(key=lambda entry: (entry.seed, entry.name))
        each.scored = [entry for entry in each.entries if entry.failed or entry.step >= (at or entry.steps)]
    name, _, stated = (metric or "").partition(":")
    name = name or _default_metric([entry for each in groups.values() for entry in each.scored] or entries)
    if stated not in ("", "higher", "lower"):
        raise UsageError(f"--metric {metric}: after the colon comes higher or lower, whichever is better")
    better = {"higher": 1, "lower": -1}.get(stated) or direction(name)
    targets = list(dict.fromkeys(entry.target for entry in entries))
    task = Task(
        targets[0] if len(targets) == 1 else entries[0].task, kind, name, better, at, list(groups.values()), threshold
    )
    if threshold is None and kind == "agent" and name.endswith("episodic_return"):
        task.threshold = _reward_threshold(targets[0])
    for each_metric in {name, *(m for entry in entries for m in entry.evaluations)}:
        sign = better if each_metric == name else direction(each_metric)
        seen = [entry.series(each_metric)[2] for each in task.groups for entry in each.scored]
        if sign and any(map(len, seen)):
            task.worst[each_metric] = float(sign * np.min(sign * np.concatenate(seen)))
    for each in task.groups:
        each.scores = task.scores(each, name)
    _judge(task)
    return task


def _judge(task: Task) -> None:
    """Say why groups cannot be ranked, and what weakens the answer where they can."""
    refuse, warn = task.refusals.append, task.warnings.append
    several = len(task.groups) > 1
    if several and len({entry.target for group in task.groups for entry in group.entries}) > 1:
        refuse(f"different versions of the environment: {_by_group(task, lambda entry: entry.target)}")
    if several and not task.direction:
        refuse(f"it is not known whether {task.metric} should be high or low: --metric {task.metric}:higher or :lower")
    entries = [entry for group in task.groups for entry in group.entries]
    if len({digest for entry in entries if (digest := (entry.info.get("spec") or {}).get("sha256"))}) > 1:
        refuse(f"different data under the name {task.name}: other images, by their checksums in config.json")
    for key, (prefix, words) in PROTOCOL.items():
        if several and task.metric.startswith(prefix):
            reporting = [entry for group in task.groups for entry in group.entries if entry.series(task.metric).size]
            if len({_shown(entry.config.get(key)) for entry in reporting}) > 1:
                by = _by_group(task, lambda entry, key=key: _shown(entry.config.get(key)))
                refuse(f"different evaluation protocol, {words}: {by}")
    budgets = {entry.steps for group in task.groups for entry in group.entries}
    if several and len(budgets) > 1 and not task.at:
        by = _by_group(task, lambda entry: f"{entry.steps:,}")
        refuse(f"different step budgets: {by}; --steps {min(budgets)} compares at that step")
    rest_ranked = sum(len(group.scores) > 0 for group in task.groups) > 1
    for group in task.groups:
        missing = [entry for entry in group.scored if not entry.series(task.metric).size and not entry.failed]
        if missing and several:
            has = ", ".join([*_known_metrics(missing)] or missing[0].evaluations[:4]) or "no metric that is known"
            refuse(f"{group.label} does not report {task.metric}; it has {has}")
        elif several and not len(group.scores):
            (warn if rest_ranked else refuse)(f"{group.label} has no scored run yet")
        failed = sum(entry.failed for entry in group.entries)
        if failed:
            warn(f"{group.label}: {failed} of {len(group.entries)} seeds failed, counted with the worst score")
        if rest := [entry for entry in group.entries if entry not in group.scored]:
            states = ", ".join(f"{entry.name} ({entry.status}, {entry.step / entry.steps:.0%})" for entry in rest[:3])
            more = f" and {len(rest) - 3} more" if len(rest) > 3 else ""
            warn(f"{group.label}: {len(rest)} unfinished, not scored: {states}{more}")
        if 0 < len(group.scored) < FEW_SEEDS:
            seeds = f"{len(group.scored)} seed{'s' * (len(group.scored) > 1)}"
            warn(f"{group.label}: only {seeds}; take {FEW_SEEDS} or more before believing a difference")
        used = [entry.seed for entry in group.entries]
        if twice := sorted({seed for seed in used if used.count(seed) > 1}):
            warn(f"{group.label}: seed {', '.join(map(str, twice))} more than once; such runs are not independent")
        if pooled := [key for key, values in _options(group.entries).items() if len(values) > 1]:
            warn(f"{group.label} pools runs that differ in {', '.join(pooled)}")
    if together := {entry.algo for entry in entries if "--seeds" in entry.info.get("command", "").split()}:
        warn(f"seeds of {', '.join(sorted(together))} trained side by side; alone, each would take less time")
    for package in SIMULATORS if several and task.kind == "agent" else ():
        found = sorted({str((entry.info.get("versions") or {}).get(package, "")) for entry in entries} - {""})
        if len(found) > 1:
            warn(f"runs of different versions of {package}: {', '.join(found)}")
    machines = {json.dumps(_machine(entry.info)) for entry in entries}
    if several and len(machines) > 1:
        warn(f"wall times are of {len(machines)} different machines")


def _describe(task: Task, resamples: int) -> dict[str, Any]:
    """One task as plain values."""
    described = []
    for group in task.groups:
        curves = [task.curve(entry) for entry in group.scored]
        curves = [curve for curve in curves if curve.shape[1]]
        budget = task.at or max(entry.steps for entry in group.entries)
        scores = task.direction * group.scores
        row: dict[str, Any] = {
            "group": group.label,
            "algo": group.entries[0].algo,
            "runs": len(group.entries),
            "seeds": len(group.scored),
            "failed": sum(entry.failed for entry in group.entries),
            "unfinished": len(group.entries) - len(group.scored),
            "running": sum(entry.status == "running" for entry in group.entries),
            **_statistics(group.scores, resamples),
            "worst": task.direction * float(min(scores)) if task.direction and len(scores) else None,
            "area": _mean([returns.area_under_curve(curve[0], curve[2], budget) for curve in curves]),
            "steps_per_second": _median([entry.step / max(entry.seconds, 1e-9) for entry in group.scored]),
            "seconds": _median([entry.seconds for entry in group.scored]),
        }
        if task.threshold is not None and task.direction:
            for axis, what in ((0, "steps"), (1, "seconds")):
                at = [returns.first_reaching(c[axis], c[2], task.threshold, task.direction) for c in curves]
                row[f"{what}_to_threshold"] = _median(at)  # over all seeds: infinite if most never reach it
                row["reached"] = sum(map(math.isfinite, at))
        names = sorted({task.metric, *(name for entry in group.entries for name in entry.evaluations)})
        row["metrics"] = {
            name: {"direction": task.direction if name == task.metric else direction(name), **stats}
            for name in names
            if (stats := _statistics(task.scores(group, name), resamples))["iqm"] is not None
        }
        described.append(row)
    ranked = len(task.groups) > 1 and not task.refusals
    if ranked:
        described.sort(key=lambda row: math.inf if row["iqm"] is None else -task.direction * row["iqm"])
    order = {row["group"]: position for position, row in enumerate(described)}
    task.groups.sort(key=lambda group: order[group.label])
    return {
        "task": task.name,
        "kind": task.kind,
        "metric": task.metric,
        "direction": task.direction,
        "steps": task.budget,
        "threshold": task.threshold,
        "worst": task.worst.get(task.metric),
        "ranked": ranked,
        "refusals": task.refusals,
        "warnings": task.warnings,
        "groups": described,
        "pairs": _pairs([(g.label, [task.direction * g.scores]) for g in task.groups if len(g.scores)], resamples)
        if ranked
        else [],
        "differences": {
            key: {group.label: sorted(_options(group.entries, every=True).get(key, {"-"})) for group in task.groups}
            for key, values in _options([entry for group in task.groups for entry in group.entries]).items()
            if len(values) > 1
        },
        "runs": [
            {
                "run": entry.name,
                "group": group.label,
                "seed": entry.seed,
                "status": entry.status,
                "step": entry.step,
                "steps": entry.steps,
                "seconds": entry.seconds,
                "last": entry.final(task.metric, task.at),
                "score": None
                if entry not in group.scored
                else task.worst.get(task.metric)
                if entry.failed
                else entry.final(task.metric, task.at),
            }
            for group in task.groups
            for entry in group.entries
        ],
    }


def _aggregate(tasks: list[Task], kind: str, resamples: int) -> dict[str, Any] | None:
    """Scores of two groups or more over several tasks, each normalised: see RULES."""
    tasks = [task for task in tasks if task.kind == kind]
    labels = [group.label for group in tasks[0].groups] if tasks else []
    scored = [{group.label for group in task.groups if len(group.scores)} for task in tasks]
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
    result["range"] = {}
    scores: dict[str, list[np.ndarray]] = {label: [] for label in everywhere}
    for task in tasks:
        seen = task.direction * np.concatenate([group.scores for group in task.groups])
        goal = task.direction * (math.nan if task.threshold is None else task.threshold)
        low = task.direction * task.worst[task.metric]
        high = goal if goal > low else float(seen.max())
        result["range"][task.name] = [task.direction * low, task.direction * high]
        for label in everywhere:
            own = next(group.scores for group in task.groups if group.label == label)
            scores[label].append(returns.normalise(task.direction * own, low, high))
    for label, of_tasks in scores.items():
        row: dict[str, Any] = {"group": label, "runs": sum(map(len, of_tasks))}
        for name, statistic in (
            ("iqm", returns.pooled_iqm),
            ("median", returns.median),
            ("mean", returns.mean),
            ("optimality_gap", returns.optimality_gap),
        ):
            row[name] = _interval(returns.bootstrap(of_tasks, statistic, resamples))
        row["scores"] = [task.tolist() for task in of_tasks]
        result["groups"].append(row)
    result["groups"].sort(key=lambda row: -row["iqm"][0])
    result["pairs"] = _pairs([(row["group"], scores[row["group"]]) for row in result["groups"]], resamples)
    return result


def _pairs(groups: list[tuple[str, list[np.ndarray]]], resamples: int) -> list[dict[str, Any]]:
    """Probability of improvement of each over every one that follows; scores with higher the better."""
    pairs = []
    for i, (x, of_x) in enumerate(groups):
        for y, of_y in groups[i + 1 :]:
            value, low, high = _interval(returns.probability_of_improvement(of_x, of_y, resamples))
            seeds = min(map(len, (*of_x, *of_y)))  # on the task with fewest, of the one with fewer
            pairs.append({"x": x, "y": y, "probability": value, "low": low, "high": high, "seeds": seeds})
    return pairs


def _nothing_shared(tasks: list[Task]) -> list[str]:
    """Why there is nothing to rank, where no two groups were run on the same task."""
    if len({group.label for task in tasks for group in task.groups}) < 2 or any(len(t.groups) > 1 for t in tasks):
        return []
    where = "; ".join(f"{task.name}: {', '.join(group.label for group in task.groups)}" for task in tasks)
    return [f"no two groups share an environment or data set ({where})"]


def _statistics(scores: np.ndarray, resamples: int) -> dict[str, Any]:
    if not len(scores):
        return dict.fromkeys(("mean", "median", "iqm", "low", "high"))
    value, low, high = _interval(returns.bootstrap([scores], resamples=resamples))
    return {
        "mean": float(scores.mean()),
        "median": float(np.median(scores)),
        "iqm": value,
        "low": low,
        "high": high,
        "scores": scores.tolist(),
    }


def _interval(interval: Interval) -> list[Any]:
    return [float(value) if math.isfinite(value) else None for value in interval]


def _options(entries: Iterable[Entry], every: bool = False) -> dict[str, set[str]]:
    """Every option that matters, and the values it has in these runs; `-` where a run does not have it."""
    entries = list(entries)
    keys = dict.fromkeys(key for entry in entries for key in entry.config if key not in IGNORED)
    return {key: {_shown(entry.config.get(key)) for entry in entries} for key in keys}


def _by_group(task: Task, value: Any) -> str:
    found = {group.label: sorted({value(entry) for entry in group.entries}) for group in task.groups}
    return ", ".join(f"{label} {'/'.join(values)}" for label, values in found.items())


def _known_metrics(entries: Sequence[Entry]) -> Iterator[str]:
    """Known scores that all of these runs have, the best first; lazily, as reading a training metric takes time."""
    names = [*runs.SCORES, "charts/episodic_return" if entries[0].kind == "agent" else "losses/elbo"]
    return (name for name in names if all(entry.series(name).size for entry in entries))


def _default_metric(entries: Sequence[Entry]) -> str:
    """The first known score that every run has, failed ones aside; else an evaluation figure that they share."""
    alive = [entry for entry in entries if not entry.failed] or list(entries)
    shared = [name for name in alive[0].evaluations if all(name in entry.evaluations for entry in alive)]
    ranked = [name for name in shared if direction(name)]
    fallback = "eval/episodic_return" if alive[0].kind == "agent" else "eval/nll"
    return next(_known_metrics(alive), (ranked or shared or [fallback])[0])


def _reward_threshold(env_id: str) -> float | None:
    try:
        import gymnasium

        return gymnasium.spec(env_id).reward_threshold
    except Exception:  # an environment that is not installed here has no known threshold
        return None


def _origins(groups: Sequence[Sequence[Entry]]) -> dict[str, Any]:
    """Where the runs came from: a command of each group, versions, commits and machines."""
    versions: dict[str, set[str]] = {}
    entries = [entry for group in groups for entry in group]
    for entry in entries:
        commit, dirty, _ = (entry.info.get("git_commit") or "").partition("-dirty")
        known = {"rlgen": entry.info.get("rlgen_version"), "git": commit[:12] + dirty}
        for name, version in (known | (entry.info.get("versions") or {})).items():
            if version:
                versions.setdefault(name, set()).add(str(version))
    commands = [next((entry.info["command"] for entry in group if entry.info.get("command")), "") for group in groups]
    return {
        "commands": [command for command in dict.fromkeys(commands) if command],
        "versions": {name: sorted(found) for name, found in versions.items()},
        "machines": sorted({_machine(entry.info) for entry in entries} - {""}),
    }


def _machine(info: dict[str, Any]) -> str:
    """Processor cores, GPUs and platform; not the host's name, as reports are passed on."""
    hardware = info.get("hardware") or {}
    parts = [f"{hardware['cpu_cores']} CPU cores"] if hardware.get("cpu_cores") else []
    return ", ".join([*parts, *(hardware.get("gpus") or []), *filter(None, [hardware.get("platform")])])


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
