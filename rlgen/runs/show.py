"""One run with its curves, and the difference of two. No torch here: looking answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.runs import checkpoint
from rlgen.runs.best import SCORES
from rlgen.runs.curve import Curve
from rlgen.runs.find import describe, find
from rlgen.runs.records import read_config
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run
from rlgen.runs.table import columns, size
from rlgen.text import Bytes, Rows

METRICS = (*SCORES, "charts/episodic_return")  # that matter; the first that a run has is drawn
HEIGHT = 4  # lines of its curve
LOSSES = 5  # losses drawn below it at most, one line each
OWN = ("config.name", "config.runs_dir", "command", "wandb_id", "created")  # differ between any two runs


def show(run: str, runs_dir: str) -> dict[str, Any]:
    """A run: where it stands, curves, last metrics, all of config.json, last checkpoint, lineage, commands."""
    opened = Run.open(find(run, runs_dir))
    row = describe(opened.path)
    row |= columns(row)
    last, points = metrics_of(opened.path)
    step = last.pop("step", opened.step)
    saved = checkpoint.steps(opened.checkpoints)
    about: dict[str, Any] = {"run": opened.name, "path": str(opened.path), "state": row["state"]}
    about |= {"health": row["verdict"]} if row["verdict"] else {}
    about |= {"step": step, "steps": opened.steps, "seconds": last.pop("time", 0.0)}
    about |= {"age": row["age"], "size": row["size"]}
    about |= {"checkpoints": saved, "best": row["best"], "lineage": lineage(opened)}
    if saved:
        folder = checkpoint.directory(opened.checkpoints, saved[-1])
        when = datetime.fromtimestamp(folder.stat().st_mtime).astimezone().isoformat(timespec="seconds")
        own = Bytes(size(folder) + sum(checkpoint.segments_of(folder).values()))
        about["last_checkpoint"] = {"step": saved[-1], "path": str(folder), "saved": when, "size": own}
    if row["damaged"]:
        about["damaged"] = row["damaged"]
    about["curves"] = curves(points, (row["best"] or {}).get("metric"), max(opened.steps, step))
    return about | {"metrics": last, **opened.info, "commands": commands(opened)}


def metrics_of(path: Path) -> tuple[dict[str, Any], dict[str, list[tuple[int, float]]]]:
    """The last value of every metric of a run, and the points of those that may be drawn."""
    last: dict[str, Any] = {}
    points: dict[str, list[tuple[int, float]]] = {}
    for row in read_metrics(path):
        last |= row
        for name, value in row.items():
            if (name in METRICS or name.startswith("losses/")) and isinstance(value, (int, float)):
                points.setdefault(name, []).append((row["step"], value))
    return last, points


def curves(points: dict[str, list[tuple[int, float]]], best: str | None, end: int) -> dict[str, Curve]:
    """The curve of the metric that was compared, or of the first that matters, and those of some losses.

    Args:
        points: (step, value) of each metric.
        best: the metric that was compared.
        end: step at the right edge.
    """
    drawn = [name for name in (best, *METRICS) if name in points][:1]
    losses = [name for name in points if name.startswith("losses/")][:LOSSES]
    return {name: Curve(points[name], end, HEIGHT) for name in drawn} | {
        name: Curve(points[name], end) for name in losses
    }


def commands(run: Run) -> list[str]:
    """Commands for the run, ready to paste."""
    draw = [run.command("sample", "--num", "64", "--out", "samples.png")] if "data" in run.config else []
    return [run.command("eval"), *draw, run.command("resume")]


def lineage(run: Run) -> list[str]:
    """What the run was forked from, and what that was, nearest first; `parent` in config.json is a name or a dict."""
    found: list[str] = []
    info: dict[str, Any] = run.info
    while parent := info.get("parent") or (info.get("config") or {}).get("parent"):
        name = str(parent.get("run") if isinstance(parent, dict) else parent)
        step = parent.get("step") if isinstance(parent, dict) else None
        if (line := name if step is None else f"{name}@{step}") in found:
            break
        found.append(line)
        path = Path(name) if Path(name).is_absolute() else run.path.parent / Path(name).name
        try:
            info, _ = read_config(path)
        except UsageError:  # it is gone, damaged, or of a newer version
            break
    return found


def diff(run: Sequence[str], runs_dir: str) -> Rows:
    """The entries of config.json in which two runs differ: `what`, `a`, `b`; None where a run lacks the entry.

    Raises:
        UsageError: not two runs.
    """
    if len(run) != 2:
        raise UsageError(f"{len(run)} run{'s' * (len(run) != 1)} given, two are compared: rlgen diff RUN RUN")
    a, b = (Run.open(find(word, runs_dir)) for word in run)
    if a.path == b.path:
        raise UsageError(f"{run[0]!r} and {run[1]!r} are the same run {a.name}; give two: rlgen diff RUN RUN")
    left, right = flattened(a.info), flattened(b.info)
    own = {*OWN, "resume.why"} if left.get("resume.level") == right.get("resume.level") else OWN  # it counts trials
    keys = [key for key in left | right if key not in own and left.get(key) != right.get(key)]
    result = Rows({"what": key, "a": left.get(key), "b": right.get(key)} for key in keys)
    names = (a.name, b.name) if a.name != b.name else (str(a.path), str(b.path))
    result.shown = [{"what": row["what"], names[0]: row["a"], names[1]: row["b"]} for row in result]
    return result


def flattened(info: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested dictionaries under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in info.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
