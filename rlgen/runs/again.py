"""One command that trains a run or goes on with it, for jobs that are queued again: where that run stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from rlgen.errors import UsageError
from rlgen.options.algorithms import find
from rlgen.options.config import options
from rlgen.options.derived import PERIODS
from rlgen.runs import checkpoint
from rlgen.runs.delete import delete
from rlgen.runs.run import Run


def standing(config: dict[str, Any]) -> Literal["new", "unfinished", "finished"]:
    """Where the run stands that a configuration names.

    What was killed before its first checkpoint is removed, and is new.

    Args:
        config: flat, with a `name`.

    Raises:
        UsageError: the run has other options than these, or a process trains it now.
    """
    path = Path(config["runs_dir"]) / config["name"]
    if not (path / "config.json").exists():
        return "new"
    run = Run.open(path)
    if other := _different(run.config, config):
        raise UsageError(f"run {run.name} has other options: {other}; give another --name, or rlgen fork {run.name}")
    if not checkpoint.steps(run.checkpoints):
        delete(path)
        return "new"
    return "finished" if run.finished else "unfinished"


def _different(ours: dict[str, Any], given: dict[str, Any]) -> str:
    """The options that differ, as "lr 0.001, not 0.01"; periods that are not given are the run's own."""
    given = json.loads(json.dumps(given, default=str))
    defaults = {name: option.default for name, option in options(find(given["algo"])).items()}
    ours = json.loads(json.dumps(defaults)) | ours  # an older run has not the options of today
    left_out = {
        "runs_dir",
        *("max_memory", "device"),  # are the machine's
        *(["compile"] if given.get("compile") == "auto" else []),  # it was chosen when the run began
        *(["steps"] if given.get("steps") is None else []),
        *(f"{what}_every" for what in PERIODS if given.get(f"{what}_every") is None),
    }
    return ", ".join(
        f"{name} {ours.get(name)}, not {value}"
        for name, value in given.items()
        if name not in left_out and ours.get(name) != value
    )
