"""Looking at runs from the terminal: a table of them, one with its curves, the difference of two. No torch here."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.options.algorithms import nearest
from rlgen.runs import checkpoint
from rlgen.runs import run as runs

COLUMNS = ("name", "algo", "env/data", "seed", "step", "score", "state", "age", "size")  # of the table of runs
WIDTH, HEIGHT, LOSSES = 60, 4, 5  # columns of a curve at most, lines of the first one, curves of one line below it
BESIDE = 63  # columns that the names and the numbers beside a curve take
FIGURES = (*runs.SCORES, "charts/episodic_return")  # that matter, the first that a run has
OWN = ("config.name", "config.runs_dir", "command", "wandb_id", "created")  # differ between any two runs


class Seconds(int):
    """A time span: a number in JSON, `3 h` for people."""

    def __str__(self) -> str:
        for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
            if self >= length:
                return f"{self / length:.0f} {unit}"
        return f"{self:d} s"


class Bytes(int):
    """A size: a number in JSON, `1.2 MiB` for people."""

    def __str__(self) -> str:
        power = min(3, max(0, self.bit_length() - 1) // 10)
        return f"{self / 1024**power:.{1 if power else 0}f} {('B', 'KiB', 'MiB', 'GiB')[power]}"


class Table(list[dict[str, Any]]):
    """Rows, with raw values for JSON; `shown` is the same as people read it."""

    shown: list[dict[str, Any]]


class Curve:
    """A metric over the run as text, `height` lines of blocks: the mean of each column, held where nothing was logged.

    Args:
        points: (step, value), in order.
        last: step at the right edge.
        height: lines; the first curve of several gets more, and a line with the steps.
    """

    def __init__(self, points: Sequence[tuple[int, float]], last: int, height: int = 1) -> None:
        self.points, self.last, self.height = points, last, height

    def tolist(self) -> list[list[Any]]:
        """At most a thousand points, for JSON: [step, value] each."""
        stride = -(-len(self.points) // 1000)
        return [list(point) for point in self.points[::-stride][::-1]] if self.points else []

    def __str__(self) -> str:
        width = min(WIDTH, max(20, shutil.get_terminal_size((WIDTH + BESIDE, 24)).columns - BESIDE))
        columns: list[list[float]] = [[] for _ in range(width)]
        for step, value in self.points:
            if math.isfinite(value):
                columns[min(width - 1, width * step // max(1, self.last))].append(value)
        means = [sum(column) / len(column) if column else math.nan for column in columns]
        finite = [value for value in means if math.isfinite(value)]
        end = f"{self.points[-1][1]:.4g}"
        if not finite:
            return f"no finite value, last {end}"
        low, high = min(finite), max(finite)
        encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
        marks = " ▁▂▃▄▅▆▇█" if encoding.startswith("utf") else " ..::--=#"
        lines = [""] * self.height
        level, until = 0, max(index for index, value in enumerate(means) if math.isfinite(value))
        for index, value in enumerate(means):
            if math.isfinite(value):
                share = (value - low) / (high - low) if high - low > 1e-9 * abs(high) else 0.5  # else it is rounding
                level = 1 + round(share * (8 * self.height - 1))
            for line in range(self.height):
                filled = level - 8 * (self.height - 1 - line) if index <= until else 0
                lines[line] += marks[min(8, max(0, filled))]
        if self.height == 1:
            return f"{lines[0]} {low:.4g} to {high:.4g}, last {end}"
        lines[0] += f" {high:.4g}"
        lines[-1] += f" {low:.4g}, last {end}"
        return "\n".join([*lines, f"0{f'{self.last:,} steps':>{width - 1}}"])


def rows(runs_dir: str) -> list[dict[str, Any]]:
    """`runs.list_runs` and its `COLUMNS` beside: `env/data`, `score` (the best figure), `state`, `age` s, `size` B."""
    return [row | _columns(row) for row in runs.list_runs(runs_dir)]


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    score = (row["best"] or {}).get("value")
    try:
        age = Seconds(max(0.0, time.time() - datetime.fromisoformat(row["created"]).timestamp()))
    except (TypeError, ValueError):  # a damaged config.json
        age = None
    about = {"env/data": row["env_id"] or row["data"], "score": score, "state": row["status"], "age": age}
    return about | {"size": size(Path(row["path"]))}


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


def table(found: list[dict[str, Any]], word: str = "", sort: str | None = None, reverse: bool = False) -> Table:
    """The rows that hold every word, sorted by a column; empty cells come last either way.

    Raises:
        UsageError: there is no such column.
    """
    is_runs = bool(found) and "env/data" in found[0]
    columns = COLUMNS if is_runs else tuple(found[0]) if found else ()
    if sort and columns and sort not in columns:
        raise UsageError(f"--sort {sort}: must be one of {', '.join(columns)}.{nearest(sort, columns)}")

    def text(row: dict[str, Any]) -> str:
        cells = [row[column] for column in ((*COLUMNS[:4], "state") if is_runs else columns)]
        return " ".join(map(str, cells)).lower()

    kept = [row for row in found if all(part in text(row) for part in word.lower().split())]
    if sort and columns:
        full = [row for row in kept if row[sort] is not None]
        numeric = all(isinstance(row[sort], (int, float)) for row in full)
        full.sort(key=lambda row: row[sort] if numeric else str(row[sort]).lower(), reverse=reverse)
        kept = full + [row for row in kept if row[sort] is None]
    elif reverse:
        kept.reverse()
    result = Table(kept)
    result.shown = [_shown(row) for row in kept] if is_runs else kept
    return result


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    figure = str((row["best"] or {}).get("metric")).rpartition("/")[2].removeprefix("episodic_")
    score = None if row["score"] is None else f"{row['score']:.5g} {figure}"
    step = f"{row['step']:,}" + (f" of {row['steps']:,}" if row["step"] < (row["steps"] or 0) else "")
    return {column: row[column] for column in COLUMNS} | {"score": score, "step": step}


def show(run: str, runs_dir: str) -> dict[str, Any]:
    """A run: where it stands, curves, last metrics, all of config.json, last checkpoint, lineage, commands."""
    opened = runs.Run.open(runs.find(run, runs_dir))
    row = runs.describe(opened.path)
    row |= _columns(row)
    metrics: dict[str, Any] = {}
    points: dict[str, list[tuple[int, float]]] = {}
    for line in runs.read_metrics(opened.path):
        metrics |= line
        for name, value in line.items():
            if (name in FIGURES or name.startswith("losses/")) and isinstance(value, (int, float)):
                points.setdefault(name, []).append((line["step"], value))
    step = metrics.pop("step", opened.step)
    last = max(opened.steps, step)
    names = [(row["best"] or {}).get("metric"), *FIGURES]
    figure = [name for name in names if name in points][:1]
    losses = [name for name in points if name.startswith("losses/")][:LOSSES]
    saved = checkpoint.steps(opened.checkpoints)
    about = {"run": opened.name, "path": str(opened.path), "state": row["status"], "step": step, "steps": opened.steps}
    about |= {"seconds": metrics.pop("time", 0.0), "age": row["age"], "size": row["size"]}
    about |= {"checkpoints": saved, "best": row["best"], "lineage": _lineage(opened)}
    if saved:
        folder = checkpoint.directory(opened.checkpoints, saved[-1])
        when = datetime.fromtimestamp(folder.stat().st_mtime).astimezone().isoformat(timespec="seconds")
        about["last_checkpoint"] = {"step": saved[-1], "path": str(folder), "saved": when, "size": size(folder)}
    curves = {name: Curve(points[name], last, HEIGHT) for name in figure}
    curves |= {name: Curve(points[name], last) for name in losses}
    draw = [opened.command("sample", "--num", "64", "--out", "samples.png")] if "data" in opened.config else []
    commands = [opened.command("eval"), *draw, opened.command("resume")]
    return about | {"curves": curves, "metrics": metrics, **opened.info, "commands": commands}


def _lineage(run: runs.Run) -> list[str]:
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
        info = runs.read_json(path / "config.json") or {}
    return found


def diff(run: Sequence[str], runs_dir: str) -> Table:
    """What two runs' config.json do not agree on: `what`, `a`, `b`; None where one does not have it.

    Raises:
        UsageError: not two runs.
    """
    if len(run) != 2:
        raise UsageError(f"{len(run)} runs given, two are compared: rlgen diff RUN RUN")
    a, b = (runs.Run.open(runs.find(word, runs_dir)) for word in run)
    if a.path == b.path:
        raise UsageError(f"{run[0]!r} and {run[1]!r} are the same run {a.name}; give two: rlgen diff RUN RUN")
    left, right = _flat(a.info), _flat(b.info)
    keys = [key for key in left | right if key not in OWN and left.get(key) != right.get(key)]
    result = Table({"what": key, "a": left.get(key), "b": right.get(key)} for key in keys)
    names = (a.name, b.name) if a.name != b.name else (str(a.path), str(b.path))
    result.shown = [{"what": row["what"], names[0]: row["a"], names[1]: row["b"]} for row in result]
    return result


def _flat(info: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in info.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
