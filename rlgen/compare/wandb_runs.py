"""Runs of wandb projects as `compare` reads them, and a comparison as wandb views. wandb is imported when asked for.

A source is `entity/project`, or `entity/project?algo=dqn,ppo&env_id=CartPole-v1&tag=paper`; CleanRL's names are known.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from rlgen.compare.collect import Entry, columns
from rlgen.errors import UsageError
from rlgen.runs.wandb_sink import first_line, why_offline

SOURCE = re.compile(r"([\w.-]+)/([\w.-]+)(?:\?(\w[\w.]*=[^&]*(?:&\w[\w.]*=[^&]*)*))?")
FIELDS = {"tag": "tags", "state": "state", "user": "username", "group": "group", "name": "displayName", "id": "name"}
KEYS = {"algo": ("algo", "exp_name"), "env": ("env_id",)}  # where a filter looks in the configuration
STATES = {"crashed": "stopped", "killed": "interrupted", "preempted": "interrupted", "preempting": "running"}
NO_OPTION = "_.*|total_timesteps|track|wandb_.*|capture_video|cuda|(save|upload)_model|hf_entity|torch_deterministic"


def is_source(word: str) -> bool:
    """Whether the word is a wandb project and no path: its first part is no directory here, or it has filters."""
    return bool((match := SOURCE.fullmatch(word)) and (match[3] or not Path(match[1]).is_dir()))


def collect(word: str) -> list[Entry]:
    """The runs of a wandb project; UsageError if no account, no network, no such project or no such run."""
    project, _, query = word.partition("?")
    with _one_line(f"cannot read {project} from wandb") as doing:
        found = [RemoteEntry.of(run) for run in connect(doing).runs(project, filters(query), lazy=False)]
    entries: list[Entry] = [entry for entry in found if entry]
    if lacking := len(found) - len(entries):
        print(f"note: {lacking} runs of {project} left out: no exp_name, env_id or data, or seed", file=sys.stderr)
    if not entries:
        raise UsageError(f"no run to compare in wandb's {word}; look at the project's page for names of options")
    return entries


def filters(query: str) -> dict[str, Any]:
    """The public API's filter for `key=a,b&key=c`: commas are alternatives, conditions add up; text may be a number."""
    conditions = []
    for key, text in parse_qsl(query, keep_blank_values=True):
        values: list[Any] = text.split(",")
        for value in text.split(","):
            with contextlib.suppress(ValueError):
                values.append(json.loads(value.lower()))  # 1 and "1", true and "true"
        names = [FIELDS[key]] if key in FIELDS else [f"config.{name}" for name in KEYS.get(key, (key,))]
        conditions.append({"$or": [{name: {"$in": values}} for name in names]})
    return {"$and": conditions} if conditions else {}


def connect(doing: str) -> Any:
    """The public API, or UsageError within 5 s: no account, no network, or another key. Never a prompt."""
    wandb = importlib.import_module("wandb")
    if reason := why_offline(wandb.setup().settings):
        raise UsageError(f"{doing}: {reason}")
    with _one_line(doing):
        wandb.Api(timeout=4)  # the key is looked at
        return wandb.Api(timeout=30)


class RemoteEntry(Entry):
    """A run of a wandb project; its history is read when first asked for."""

    _run: Any = None

    @classmethod
    def of(cls, run: Any) -> RemoteEntry | None:
        """The entry of a `wandb.apis.public.Run`; None if its configuration does not say what it is."""
        given, summary = dict(run.config), run.summary_metrics
        config = {key: value for key, value in given.items() if not re.fullmatch(NO_OPTION, key)}
        config["algo"] = given.get("algo") or given.get("exp_name")
        step = _last(summary.get("global_step")) or 0
        config["steps"] = given.get("steps") or given.get("total_timesteps") or step
        if not (config["algo"] and config["steps"] and config.get("env_id", config.get("data")) and "seed" in config):
            return None
        status = summary.get("status") if run.state == "failed" else STATES.get(run.state, run.state)  # see RunLog
        if status == "finished" and step >= 0.98 * config["steps"]:  # its last episode ends before its last step
            step = max(step, config["steps"])
        project = f"{run.entity}/{run.project}"
        row = {"name": run.name, "path": f"{project}/{run.id}", "status": status or "failed", "step": step}
        info = {"config": config, "wandb": project, "wandb_id": run.id, "exp_name": "algo" not in given}
        entry = cls(row, info)
        entry._run, entry._seconds = run, float(_last(summary.get("_runtime")) or math.nan)
        return entry

    def series(self, metric: str) -> np.ndarray:
        """Steps, seconds and finite values of a metric: [3, K]; only rows that hold step and metric together."""
        if metric not in self._series and self._run.summary_metrics.get(metric) is not None:
            rows: list[dict[str, Any]] = []
            with _one_line(f"cannot read {metric} of {self.name} from wandb"):
                for row in self._run.scan_history(keys=["global_step", "_runtime", metric]):
                    while rows and rows[-1]["step"] > row["global_step"]:
                        rows.pop()  # steps that a resumed run took again
                    rows.append({"step": row["global_step"], "time": row["_runtime"], metric: row[metric]})
            if (
                self.info["exp_name"]
                and metric.startswith("eval/")
                and [r["step"] for r in rows] == [*range(len(rows))]
            ):
                value = float(np.mean([row[metric] for row in rows]))  # CleanRL counts the episodes of one evaluation
                rows = [{"step": self.step, "time": self.seconds, metric: value}]
            self._series |= {metric: np.empty((3, 0))} | columns(rows, metric)
        return self._series.get(metric, np.empty((3, 0)))

    @property
    def evaluations(self) -> list[str]:
        """Names of the eval/... metrics in its summary that are numbers."""
        summary = sorted(self._run.summary_metrics.items())
        return [name for name, of in summary if name.startswith("eval/") and isinstance(_last(of), (int, float))]


def publish(comparison: Any, keys: Sequence[str] = ()) -> None:
    """Write a comparison as wandb views, one a task and project, grouped by `keys`; or print what they would hold."""
    views = [view for pair in zip(comparison.tasks, comparison["tasks"], strict=True) for view in _views(*pair, keys)]
    if not views:
        return print("wandb views not written: none of these runs is on wandb")
    try:
        api = connect("not written")
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces
    except (UsageError, ImportError) as error:
        reason = error if isinstance(error, UsageError) else 'not written: pip install "rlgen[workspaces]"'
        print(f"wandb views {reason}; they would be:")
        for entity, project, task, metrics, by, ids in views:
            print(f"  {entity or 'YOU'}/{project}: 'rlgen compare: {task}', {len(ids)} runs by {', '.join(by)}")
            print(f"    panels, mean with min and max against global_step: {', '.join(metrics)}")
        return None
    for entity, project, task, metrics, by, ids in views:
        with _one_line(f"cannot write the view of {task} to wandb's {project}"):
            line: Any = {"x": "global_step", "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
            line["groupby"] = panels.Config(by[0]) if len(by) == 1 else None  # None: as the list of runs is
            lines = [panels.LinePlot(title=metric, y=[metric], **line) for metric in metrics]
            only, group = workspaces.And(workspaces.Metric("ID").isin(ids)), [*map(workspaces.Config, by)]
            shown = [workspaces.Section(name=task, panels=lines, is_open=True)]
            view = workspaces.Workspace(entity or api.default_entity, project, f"rlgen compare: {task}", shown)
            view.settings = workspaces.WorkspaceSettings(x_axis="global_step")
            view.runset_settings = workspaces.RunsetSettings(filters=only, groupby=group)
            print(f"wandb view: {view.save().url}")


def _views(task: Any, found: dict[str, Any], keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Entity, project, task, metrics, options that group, and runs of a view for each project that has such runs."""
    projects: dict[tuple[str, str], list[Entry]] = {}
    for entry in [entry for group in task.groups for entry in group.entries if "wandb_id" in entry.info]:
        entity, _, project = entry.info.get("wandb", "").partition("/")
        where = entity or os.environ.get("WANDB_ENTITY", ""), project or entry.config.get("wandb_project", "rlgen")
        if entry.config.get("wandb") != "disabled":
            projects.setdefault(where, []).append(entry)
    differing = [key for key in found["differences"] if any(f" {key}=" in group.label for group in task.groups)]
    metrics = [*dict.fromkeys([task.metric, "charts/episodic_return" if task.kind == "agent" else "losses/elbo"])]
    for where, entries in projects.items():
        algo = "exp_name" if any(entry.info.get("exp_name") for entry in entries) else "algo"
        by = [algo if key == "algo" else key for key in keys or ("algo", *differing)]
        yield *where, task.name, metrics, by, [entry.info["wandb_id"] for entry in entries]


def _last(value: Any) -> Any:
    """A summary's value; the last one where it holds several, such as max and last."""
    return value if value is None or isinstance(value, (int, float, str)) else value.get("last", value.get("max"))


@contextlib.contextmanager
def _one_line(doing: str) -> Iterator[str]:
    try:
        yield doing
    except Exception as error:
        raise error if isinstance(error, UsageError) else UsageError(f"{doing}: {first_line(error)}") from None
