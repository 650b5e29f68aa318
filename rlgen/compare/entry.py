"""One run as a comparison reads it. Its metrics are read from the file when they are first asked for."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.errors import DamagedError, UsageError
from rlgen.metrics import SUBSET
from rlgen.runs.rows import MAX_LINE, last_row, parse

PLAIN = ((1, "float32"), (3, "uint8"))  # axes and type of observations that were never seen otherwise
FAILED = ("diverged", "failed")
NO_ROW = re.compile(rb"\n(?:(?<!\}\n)|(?!\{|\Z))")  # a line's end without a brace, or with none behind it
SAMPLED_ROWS = 1_000  # read of a metric that is in every row of a run


class Entry:
    """One run: what it was asked to do, how far it came, and its metrics.

    Args:
        row: of `list_runs`.
        info: config.json, whole.
    """

    def __init__(self, row: dict[str, Any], info: dict[str, Any]) -> None:
        self.name, self.path, self.status, self.step = row["name"], Path(row["path"]), row["status"], row["step"]
        self.info: dict[str, Any] = info
        self.config: dict[str, Any] = info["config"] | _seen_as_today(info)
        self.steps: int = self.config["steps"]
        self.algo, self.seed = self.config["algo"], self.config["seed"]
        self.kind = "agent" if self.config.get("env_id") else "generative"
        self.target: str = self.config.get("env_id") or str(self.config.get("data"))  # environment id or data set
        self.task = without_version(self.target) if self.kind == "agent" else self.target
        self.failed = self.status in FAILED
        self._series: dict[str, np.ndarray] = {}
        self._evaluations_read = False
        self._seconds = math.nan

    def check(self) -> None:
        """Read the evaluations.

        Raises:
            DamagedError: a line of metrics.jsonl is no row, so that an evaluation may be missing, or steps go back.
            UsageError: it is finished, and has no metrics.
        """
        file = self.path / "metrics.jsonl"
        if file.is_file():
            find_damage(file)
            self.points("eval/")
            for name, (steps, *_) in self._series.items():
                if len(back := np.flatnonzero(np.diff(steps) < 0)):
                    raise DamagedError(file, f"its {name} go back from step {steps[back[0]]:,.0f}")
        if self.status == "finished" and not self.evaluations and not self.metrics:
            raise UsageError("it is finished, but there are no metrics in metrics.jsonl")

    def series(self, metric: str) -> np.ndarray:
        """Steps, seconds and values of a metric: [3, K]. Values that are not finite are left out."""
        points = self.points(metric)
        return points[:, np.isfinite(points[2])]

    def points(self, metric: str) -> np.ndarray:
        """As `series`, with the values that are not finite."""
        file = self.path / "metrics.jsonl"
        if file.is_file() and not self._evaluations_read:
            self._evaluations_read = True
            self._series |= columns(scan(file, b'"eval/'), "eval/")
        if file.is_file() and metric not in self._series and not metric.startswith("eval/"):
            self._series |= columns(scan(file, json.dumps(metric).encode(), SAMPLED_ROWS), metric)
        return self._series.get(metric, np.empty((3, 0)))

    @property
    def seconds(self) -> float:
        """Wall time of the newest row."""
        if math.isnan(self._seconds):
            seconds = last_row(self.path / "metrics.jsonl").get("time", math.nan)
            self._seconds = seconds if math.isfinite(seconds) else math.nan
        return self._seconds

    @property
    def evaluations(self) -> list[str]:
        """Names of its eval/... metrics. Those of the first images alone are no metrics of their own."""
        self.points("eval/")  # reads them all
        names = [name for name in self._series if name.startswith("eval/") and not SUBSET.match(name)]
        return [name for name in names if self.series(name).size]

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics that a sample of its rows has."""
        file = self.path / "metrics.jsonl"
        rows = scan(file, b'"', SAMPLED_ROWS) if file.is_file() else ()
        return [*dict.fromkeys(name for row in rows for name in row if name not in ("step", "time"))]

    @property
    def machine(self) -> str:
        """Processor cores, GPUs and platform. The host's name is left out, as reports are passed on."""
        hardware = self.info.get("hardware") or {}
        cores = f"{hardware['cpu_cores']} CPU cores" if hardware.get("cpu_cores") else ""
        return ", ".join(filter(None, [cores, *(hardware.get("gpus") or []), hardware.get("platform")]))

    def final(self, metric: str, at: int | None) -> float:
        """The score (see `RULES`), or the score at step `at`; NaN if there is none."""
        return self.score(metric, at)[0]

    def score(self, metric: str, at: int | None) -> tuple[float, str]:
        """As `final`, and why there is none; empty where there is one."""
        steps, _, values = self.points(metric)
        end = at or self.step
        if not len(steps):
            return math.nan, f"it does not report {metric}"
        if not metric.startswith("eval/"):
            late = (steps > 0.9 * end) & (steps <= end) & np.isfinite(values)
            if late.any():
                return float(values[late].mean()), ""
            return math.nan, f"it has no finite {metric} in the last tenth before step {end:,}"
        nearest = int(np.abs(steps - end).argmin()) if at else -1
        step, value, period = int(steps[nearest]), float(values[nearest]), self._evaluation_period(steps)
        if abs(step - end) > period:
            found = f"the {'nearest' if at else 'last'} {metric} is at step {step:,}"
            return math.nan, f"{found}, more than one evaluation period ({period:,}) from {end:,}"
        return value, "" if math.isfinite(value) else f"its {metric} at step {step:,} is {value}"

    def _evaluation_period(self, steps: np.ndarray) -> int:
        """Steps between evaluations: what was asked for, or more where they come less often."""
        usual = float(np.median(np.diff(steps))) if len(steps) > 1 else self.steps / 10
        return int(max(self.config.get("eval_every") or 0, usual))


class Entries(list[Entry]):
    """Runs that can be compared, and of those that cannot be the name and the reason: `run` and `reason`."""

    def __init__(self, entries: Iterable[Entry] = (), left_out: Iterable[dict[str, str]] = ()) -> None:
        super().__init__(entries)
        self.left_out = [*left_out]


def left_out(run: str, reason: object) -> dict[str, str]:
    """A run that is not compared."""
    return {"run": run, "reason": str(reason)}


def _seen_as_today(info: dict[str, Any]) -> dict[str, Any]:
    """What a run from before observations had parts has in common with one of today: where there are none, `obs`."""
    spec = info.get("spec") or {}
    is_plain = (len(spec.get("obs_shape") or ()), spec.get("obs_dtype")) in PLAIN
    return {"obs": "auto"} if info["config"].get("obs") == "old" and is_plain else {}


def without_version(env_id: str) -> str:
    """The environment's name without its version: `ALE/Pong-v5` and `PongNoFrameskip-v4` are both Pong."""
    return re.sub(r"(NoFrameskip|Deterministic)?(-v\d+)?$", "", env_id.rpartition(":")[2].removeprefix("ALE/"))


def scan(path: Path, needle: bytes, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a metrics.jsonl that hold `needle`. Other rows are neither parsed nor copied.

    Args:
        path: the file; a torn last line is skipped.
        needle: what the line must contain, such as b'"eval/'.
        limit: at most about so many rows, evenly spaced in the file; None takes all.

    Raises:
        DamagedError: of all, one is no row; a sample does without it.
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
                row = parse(text[start:stop]) if stop - start <= MAX_LINE else None
                if row is not None:
                    yield row
                elif limit is None:
                    raise DamagedError(path, f"the line at byte {start:,} is no row of metrics")


def find_damage(path: Path) -> None:
    """Look, without parsing, for lines of a metrics.jsonl that cannot be rows.

    Raises:
        DamagedError: there is one; the message has the byte where it begins.
    """
    with open(path, "rb") as file:
        if file.seek(0, 2) == 0:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            end = text.rfind(b"\n") + 1
            found = NO_ROW.search(text, 0, end)
            at = 0 if end and text[:1] != b"{" else text.find(b"\0", 0, end) if found is None else found.end()
    if at >= 0:
        raise DamagedError(path, f"the line at or before byte {at:,} is no row of metrics")


def columns(rows: Iterable[dict[str, Any]], prefix: str) -> dict[str, np.ndarray]:
    """Steps, seconds and values of a metric, or of each metric under `prefix/`: [3, K] each."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            wanted = name.startswith(prefix) if prefix.endswith("/") else name == prefix
            if wanted and isinstance(value, (int, float)):
                found.setdefault(name, []).append((row["step"], row.get("time", math.nan), value))
    return {name: np.array(points, dtype=np.float64).T for name, points in found.items()}
