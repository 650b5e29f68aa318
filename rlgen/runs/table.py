"""Runs as rows of a table. No torch here: listing answers at once."""

from __future__ import annotations

import math
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from rlgen.runs.best import SCORES
from rlgen.runs.find import list_runs
from rlgen.text import Bytes, Seconds, warn

COLUMNS = ("name", "algo", "env/data", "seed", "step", "score", "best", "state", "health", "age", "size")
SEARCHED = ("name", "algo", "env/data", "seed", "state", "health")  # columns that a word is looked for in


def rows(runs_dir: str) -> list[dict[str, Any]]:
    """A row for every run, oldest first: that of `list_runs` and the `COLUMNS`. Warns on stderr of damaged runs."""
    found = list_runs(runs_dir)
    for row in found:
        if row["damaged"]:
            warn(row["damaged"])
    return [row | columns(row) for row in found]


def columns(row: dict[str, Any]) -> dict[str, Any]:
    """What a row of `list_runs` lacks: `env/data`, final `score`, `state`, `health`, `age` in s, `size` in bytes."""
    try:
        age = Seconds(max(0.0, time.time() - datetime.fromisoformat(row["created"]).timestamp()))
    except (TypeError, ValueError, OverflowError):  # a damaged config.json
        age = None
    return {
        "env/data": row["env_id"] or row["data"],
        "score": (row["final"] or {}).get("value"),
        "state": row["status"],
        "health": (row["verdict"] or {}).get("verdict"),
        "age": age,
        "size": size(Path(row["path"])),
    }


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as people read it: scores with their metric, and beside the step of an unfinished run its length."""
    best = row["best"] and f"{row['best']['value']:.5g} at {row['best']['step']:,}"
    step = f"{row['step']:,}" + (f" of {row['steps']:,}" if row["step"] < (row["steps"] or 0) else "")
    return {column: row[column] for column in COLUMNS} | {"score": score(row["final"]), "best": best, "step": step}


def score(found: dict[str, Any] | None) -> str | None:
    """A score as people read it: its value and what it is of."""
    if found is None:
        return None
    return f"{found['value']:.5g} {found['metric'].rpartition('/')[2].removeprefix('episodic_')}"


def sort_runs(rows: list[dict[str, Any]], column: str, reverse: bool) -> None:
    """Sort by the final or best score: metric by metric, and within one the worst run first, or the best if reverse."""
    key = "final" if column == "score" else column

    def height(row: dict[str, Any]) -> float:
        value = SCORES.get(row[key]["metric"], 1) * row[key]["value"]
        return -math.inf if math.isnan(value) else value

    rows.sort(key=height, reverse=reverse)
    rows.sort(key=lambda row: row[key]["metric"])


def size(path: Path) -> Bytes:
    """Bytes of all files below a directory; one that goes away meanwhile counts nothing."""
    total, folders = 0, [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return Bytes(total)
