"""Runs of a wandb project as a comparison reads them.

A project is given as `entity/project`, or with filters, as `entity/project?algo=dqn,ppo&env_id=CartPole-v1&tag=paper`.
CleanRL's names of options are known.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from rlgen.compare.entry import Entries, Entry, columns, left_out
from rlgen.compare.wandb_api import answers, connect, errors_in_one_line
from rlgen.errors import UsageError
from rlgen.metrics import SUBSET

PROJECT = re.compile(r"([\w.-]+)/([\w.-]+)(?:\?(\w[\w.]*=[^&]*(?:&\w[\w.]*=[^&]*)*))?")
FIELDS = {"tag": "tags", "state": "state", "user": "username", "group": "group", "name": "displayName", "id": "name"}
KEYS = {"algo": ("algo", "exp_name"), "env": ("env_id",)}  # where a filter looks in the configuration
STATES = {"crashed": "stopped", "killed": "interrupted", "preempted": "interrupted", "preempting": "running"}
NO_OPTION = "_.*|total_timesteps|track|wandb_.*|capture_video|cuda|(save|upload)_model|hf_entity|torch_deterministic"


def is_project(word: str) -> bool:
    """Whether the word is a wandb project and no path: its first part is no directory here, or it has filters."""
    return bool((match := PROJECT.fullmatch(word)) and (match[3] or not Path(match[1]).is_dir()))


def read_project(word: str) -> Entries:
    """The runs of a wandb project.

    Raises:
        UsageError: no account, no network, no answer, no such project, or no run that fits.
    """
    project, _, query = word.partition("?")
    doing = f"cannot read {project} from wandb"
    with errors_in_one_line(doing):
        api = connect(doing)
        runs = answers(lambda: api.runs(project, filters(query), lazy=False))
        found = [(run.name, WandbEntry.of(run)) for run in runs]
    entries = Entries(
        (entry for _, entry in found if entry),
        (left_out(name, f"{project} has no exp_name, env_id or data, or seed of it") for name, of in found if not of),
    )
    if not entries:
        raise UsageError(f"no run to compare in wandb's {word}; look at the project's page for names of options")
    return entries


def filters(query: str) -> dict[str, Any]:
    """The public API's filter for `key=a,b&key=c`.

    Commas are alternatives, and conditions add up. The text is tried as it stands and as a number or a truth value.
    """
    conditions = []
    for key, text in parse_qsl(query, keep_blank_values=True):
        values: list[Any] = text.split(",")
        for value in text.split(","):
            with contextlib.suppress(ValueError):
                values.append(json.loads(value.lower()))  # 1 and "1", true and "true"
        names = [FIELDS[key]] if key in FIELDS else [f"config.{name}" for name in KEYS.get(key, (key,))]
        conditions.append({"$or": [{name: {"$in": values}} for name in names]})
    return {"$and": conditions} if conditions else {}


class WandbEntry(Entry):
    """A run of a wandb project. Its history is read when it is first asked for."""

    _run: Any = None

    @classmethod
    def of(cls, run: Any) -> WandbEntry | None:
        """The entry of a `wandb.apis.public.Run`; None if its configuration does not say what it is."""
        given, summary = dict(run.config), run.summary_metrics
        config = {key: value for key, value in given.items() if not re.fullmatch(NO_OPTION, key)}
        config["algo"] = given.get("algo") or given.get("exp_name")
        step = _last_value(summary.get("global_step")) or 0
        config["steps"] = given.get("steps") or given.get("total_timesteps") or step
        if not (config["algo"] and config["steps"] and config.get("env_id", config.get("data")) and "seed" in config):
            return None
        # our own runs say in the summary how they ended
        status = summary.get("status") if run.state == "failed" else STATES.get(run.state, run.state)
        if status == "finished" and step >= 0.98 * config["steps"]:  # its last episode ends before its last step
            step = max(step, config["steps"])
        project = f"{run.entity}/{run.project}"
        row = {"name": run.name, "path": f"{project}/{run.id}", "status": status or "failed", "step": step}
        info = {"config": config, "wandb": project, "wandb_id": run.id, "exp_name": "algo" not in given}
        entry = cls(row, info)
        entry._run, entry._seconds = run, float(_last_value(summary.get("_runtime")) or math.nan)
        return entry

    def points(self, metric: str) -> np.ndarray:
        """Steps, seconds and values of a metric: [3, K]. Only rows that hold step and metric together count."""
        if metric not in self._series and self._run.summary_metrics.get(metric) is not None:
            self._series |= {metric: np.empty((3, 0))} | columns(self._read_history(metric), metric)
        return self._series.get(metric, np.empty((3, 0)))

    def _read_history(self, metric: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        with errors_in_one_line(f"cannot read {metric} of {self.name} from wandb"):
            for row in answers(lambda: self._run.scan_history(keys=["global_step", "_runtime", metric])):
                while rows and rows[-1]["step"] > row["global_step"]:
                    rows.pop()  # steps that a resumed run took again
                rows.append({"step": row["global_step"], "time": row["_runtime"], metric: row[metric]})
        counts_episodes = [row["step"] for row in rows] == [*range(len(rows))]
        if self.info["exp_name"] and metric.startswith("eval/") and counts_episodes:
            # CleanRL's evaluation logs its episodes at steps 0, 1, 2, ...: together they are one evaluation
            value = float(np.mean([row[metric] for row in rows]))
            rows = [{"step": self.step, "time": self.seconds, metric: value}]
        return rows

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics in its summary."""
        return [name for name in self._run.summary_metrics if not name.startswith("_")]

    @property
    def evaluations(self) -> list[str]:
        """Names of the eval/... metrics in its summary that are numbers; none of the first images alone."""
        return [
            name
            for name, value in sorted(self._run.summary_metrics.items())
            if name.startswith("eval/") and not SUBSET.match(name) and isinstance(_last_value(value), (int, float))
        ]


def _last_value(value: Any) -> Any:
    """A summary's value; the last one where it holds several, such as max and last."""
    return value if value is None or isinstance(value, (int, float, str)) else value.get("last", value.get("max"))
