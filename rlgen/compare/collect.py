"""Runs as a comparison reads them: found by words, their metrics streamed when first asked for. No torch here."""

from __future__ import annotations

import fnmatch
import glob
import json
import math
import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.errors import UsageError
from rlgen.runs import run as runs

FAILED = ("diverged", "failed")
SAMPLED_ROWS = 1_000  # of a run, where the metric is in every row


def collect(
    words: Sequence[str] = (), runs_dir: str = "runs", algo: str = "", env: str = "", data: str = ""
) -> list[Entry]:
    """The runs that were asked for.

    Args:
        words: names, directories of a run or of runs, unique prefixes, `last`, globs, wandb projects as
            `entity/project?key=value`; none of them takes every run.
        runs_dir: where names are looked for.
        algo: only these algorithms; commas and globs, as in the next two.
        env: only these environments.
        data: only these data sets.

    Raises:
        UsageError: a word fits nothing, or nothing is left.
    """
    from rlgen.compare import wandb_runs as remote

    paths: list[Path] = [] if words else _runs_in(Path(runs_dir))
    projects = [word for word in dict.fromkeys(words) if remote.is_source(word)]
    for word in words:
        if word in projects:
            continue
        if any(mark in word for mark in "*?["):
            names = [path for path in _runs_in(Path(runs_dir)) if fnmatch.fnmatch(path.name, word)]
            matched = names or [path for path in map(Path, sorted(glob.glob(word))) if (path / "config.json").is_file()]
            if not matched:
                raise UsageError(f"{word!r} fits no run in {runs_dir}; see rlgen list runs")
            paths += matched
        elif Path(word).is_dir() and not (Path(word) / "config.json").is_file() and _runs_in(Path(word)):
            paths += _runs_in(Path(word))
        else:
            paths.append(runs.find(word, runs_dir))
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    parents = {path.parent for path in paths}
    rows = {Path(row["path"]): row for parent in parents for row in runs.list_runs(parent)}
    found = [
        entry
        for word in projects
        for entry in remote.collect(word)
        if _fits(entry.algo, algo) and _fits(entry.config.get("env_id"), env) and _fits(entry.config.get("data"), data)
    ]
    for path in paths:
        row = rows[path]
        if row["status"] == "damaged" or None in (row["algo"], row["seed"], row["steps"]):
            continue
        if _fits(row["algo"], algo) and _fits(row["env_id"], env) and _fits(row["data"], data):
            found.append(Entry(row, json.loads((path / "config.json").read_text(encoding="utf-8"))))
    if not found:
        asked = " ".join(f"--{name} {value}" for name, value in (("algo", algo), ("env", env), ("data", data)) if value)
        raise UsageError(f"no run to compare in {runs_dir} {asked}".rstrip() + "; see rlgen list runs")
    return found


def scan(path: Path, needle: bytes, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a metrics.jsonl that hold `needle`; the others are never parsed, nor copied.

    Args:
        path: the file; a torn last line is skipped.
        needle: what the line must contain, such as b'"eval/'.
        limit: about so many rows at most, evenly spaced in the file; None takes all.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            stride = size // limit if limit else 0
            at, end = 0, text.rfind(b"\n") + 1
            while (hit := text.find(needle, at, end)) >= 0:
                start, stop = text.rfind(b"\n", 0, hit) + 1, text.find(b"\n", hit) + 1
                at = max(stop, start + stride)
                try:
                    row = json.loads(text[start:stop])
                except ValueError:
                    continue
                if isinstance(row, dict) and "step" in row:
                    yield row


class Entry:
    """One run, as far as a comparison reads it: metrics are read when first asked for.

    Args:
        row: of `runs.list_runs`.
        info: config.json, whole.
    """

    def __init__(self, row: dict[str, Any], info: dict[str, Any]) -> None:
        self.name, self.path, self.status, self.step = row["name"], Path(row["path"]), row["status"], row["step"]
        self.info: dict[str, Any] = info
        self.config: dict[str, Any] = info["config"]
        self.steps: int = self.config["steps"]
        self.algo, self.seed = self.config["algo"], self.config["seed"]
        self.kind = "agent" if self.config.get("env_id") else "generative"
        self.target: str = self.config.get("env_id") or str(self.config.get("data"))  # environment id or data set
        self.task = _base(self.target) if self.kind == "agent" else self.target
        self.failed = self.status in FAILED
        self._series: dict[str, np.ndarray] = {}
        self._read = False
        self._seconds = math.nan

    def series(self, metric: str) -> np.ndarray:
        """Steps, seconds and finite values of a metric: [3, K]."""
        file = self.path / "metrics.jsonl"
        if file.is_file() and not self._read:
            self._read = True
            self._series |= columns(scan(file, b'"eval/'), "eval/")
        if file.is_file() and metric not in self._series and not metric.startswith("eval/"):
            self._series |= columns(scan(file, json.dumps(metric).encode(), SAMPLED_ROWS), metric)
        return self._series.get(metric, np.empty((3, 0)))

    @property
    def seconds(self) -> float:
        """Wall time of the newest row."""
        if math.isnan(self._seconds):
            self._seconds = _last_time(self.path / "metrics.jsonl")
        return self._seconds

    @property
    def evaluations(self) -> list[str]:
        """Names of the eval/... metrics it has."""
        self.series("eval/")  # read them
        return [name for name in self._series if name.startswith("eval/")]

    def final(self, metric: str, at: int | None) -> float:
        """The score (see RULES), or that at step `at`; NaN if there is none."""
        steps, _, values = self.series(metric)
        end = at or self.steps
        if not len(steps):
            return math.nan
        if metric.startswith("eval/"):
            return float(values[np.abs(steps - end).argmin()] if at else values[-1])
        late = (steps > 0.9 * end) & (steps <= end)
        return float(values[late].mean()) if late.any() else float(values[-1])


def columns(rows: Iterable[dict[str, Any]], prefix: str) -> dict[str, np.ndarray]:
    """Steps, seconds and values of a metric, or of all under `prefix/`: [3, K] each; what is not finite is left out."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            wanted = name.startswith(prefix) if prefix.endswith("/") else name == prefix
            if wanted and isinstance(value, (int, float)) and math.isfinite(value):
                found.setdefault(name, []).append((row["step"], row.get("time", math.nan), value))
    return {name: np.array(points, dtype=np.float64).T for name, points in found.items()}


def _base(env_id: str) -> str:
    """The environment whatever its version: `ALE/Pong-v5` and `PongNoFrameskip-v4` are both Pong."""
    return re.sub(r"(NoFrameskip|Deterministic)?(-v\d+)?$", "", env_id.rpartition(":")[2].removeprefix("ALE/"))


def _last_time(file: Path) -> float:
    """Seconds of the last whole row that has them, from the end of the file alone."""
    if not file.is_file():
        return math.nan
    with open(file, "rb") as opened:
        opened.seek(max(0, opened.seek(0, 2) - 65_536))
        found = re.findall(rb'"time": ([0-9.eE+-]+)[,}].*\n', opened.read())
    return float(found[-1]) if found else math.nan


def _fits(value: str | None, patterns: str) -> bool:
    return not patterns or any(fnmatch.fnmatch(value or "", pattern.strip()) for pattern in patterns.split(","))


def _runs_in(directory: Path) -> list[Path]:
    return sorted(path.parent for path in directory.glob("*/config.json"))
