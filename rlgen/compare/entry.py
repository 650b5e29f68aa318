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

from rlgen.errors import DamagedError
from rlgen.metrics import SUBSET
from rlgen.runs.rows import MAX_LINE, last_row, parse

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
        self.config: dict[str, Any] = info["config"]
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
            DamagedError: a line of metrics.jsonl is no row, so that an evaluation may be missing.
        """
        if (self.path / "metrics.jsonl").is_file():
            find_damage(self.path / "metrics.jsonl")
            self.series("eval/")

    def series(self, metric: str) -> np.ndarray:
        """Steps, seconds and values of a metric: [3, K]. Values that are not finite are left out."""
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
        """Names of its eval/... metrics. Those of the first 1,000 images alone are no metrics of their own."""
        self.series("eval/")  # reads them all
        return [name for name in self._series if name.startswith("eval/") and not name.startswith(SUBSET)]

    @property
    def machine(self) -> str:
        """Processor cores, GPUs and platform. The host's name is left out, as reports are passed on."""
        hardware = self.info.get("hardware") or {}
        cores = f"{hardware['cpu_cores']} CPU cores" if hardware.get("cpu_cores") else ""
        return ", ".join(filter(None, [cores, *(hardware.get("gpus") or []), hardware.get("platform")]))

    def final(self, metric: str, at: int | None) -> float:
        """The score (see `RULES`), or the score at step `at`; NaN if there is none."""
        steps, _, values = self.series(metric)
        end = at or self.steps
        if not len(steps):
            return math.nan
        if metric.startswith("eval/"):
            return float(values[np.abs(steps - end).argmin()] if at else values[-1])
        late = (steps > 0.9 * end) & (steps <= end)
        return float(values[late].mean()) if late.any() else float(values[-1])


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
    """Steps, seconds and finite values of a metric, or of each metric under `prefix/`: [3, K] each."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            wanted = name.startswith(prefix) if prefix.endswith("/") else name == prefix
            if wanted and isinstance(value, (int, float)) and math.isfinite(value):
                found.setdefault(name, []).append((row["step"], row.get("time", math.nan), value))
    return {name: np.array(points, dtype=np.float64).T for name, points in found.items()}
