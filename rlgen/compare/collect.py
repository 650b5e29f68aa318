"""Find the runs that are to be compared: directories on this machine, and runs of wandb projects."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from rlgen.compare import wandb_runs
from rlgen.compare.entry import Entry
from rlgen.errors import UsageError
from rlgen.runs.find import describe, directories, find_group
from rlgen.runs.records import read_config
from rlgen.text import warn


def collect(
    words: Sequence[str] = (), runs_dir: str = "runs", algo: str = "", env: str = "", data: str = ""
) -> list[Entry]:
    """The runs that were asked for.

    Args:
        words: names, directories of a run or of runs, unique prefixes, `last`, globs, wandb projects as
            `entity/project?key=value`; without any, every run is taken.
        runs_dir: where names are looked for.
        algo: only these algorithms; commas and globs, as in the next two.
        env: only these environments.
        data: only these data sets.

    Raises:
        UsageError: a word fits nothing, or nothing is left.
    """
    projects = [word for word in dict.fromkeys(words) if wandb_runs.is_project(word)]
    local_words = [word for word in words if word not in projects]
    paths = [path for word in local_words for path in find_group(word, runs_dir)]
    local = _read_directories(paths if words else directories(Path(runs_dir)))
    found = [
        entry
        for entry in [*(entry for word in projects for entry in wandb_runs.read_project(word)), *local]
        if _matches(entry.algo, algo)
        and _matches(entry.config.get("env_id"), env)
        and _matches(entry.config.get("data"), data)
    ]
    if not found:
        filters = {"algo": algo, "env": env, "data": data}
        asked = " ".join(f"--{name} {value}" for name, value in filters.items() if value)
        raise UsageError(f"no run to compare in {runs_dir} {asked}".rstrip() + "; see rlgen list runs")
    return found


def _read_directories(paths: Sequence[Path]) -> list[Entry]:
    """An entry for each directory, each once. Damaged runs are left out, and said."""
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    entries = []
    for path in paths:
        try:
            if (row := describe(path))["damaged"]:
                raise UsageError(row["damaged"])
            entry = Entry(row, read_config(path)[0])
            entry.check()
            entries.append(entry)
        except UsageError as error:
            warn(f"run {path.name} is left out: {error}")
    return entries


def _matches(value: str | None, patterns: str) -> bool:
    """Whether the value fits one of the patterns, which are separated by commas; no pattern takes all."""
    return not patterns or any(fnmatch.fnmatch(value or "", pattern.strip()) for pattern in patterns.split(","))
