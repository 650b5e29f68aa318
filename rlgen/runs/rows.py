"""Rows of metrics.jsonl: one JSON object a line, strict JSON, read while they are still being written.

NaN and infinities are the strings "NaN", "Infinity" and "-Infinity", so that every JSON parser reads every line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.runs.files import replaced


def read_metrics(path: str | Path) -> Iterator[dict[str, Any]]:
    """Rows of a run's metrics.jsonl, one at a time; "NaN" and "Infinity" come back as floats.

    A torn last line, left by a killed process, is skipped.

    Args:
        path: the run's directory, or the file.

    Raises:
        UsageError: a line in the middle is not a JSON object.
    """
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            row = parse(line)
            if row is not None:
                yield row
            elif line.endswith(b"\n") and file.peek(1):
                raise UsageError(f"{path} line {number} is no row of metrics: {line[:40]!r}; mend or remove it")


def parse(line: bytes) -> dict[str, Any] | None:
    """The row in a line; None where the line is torn or holds none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int) or not line.endswith(b"\n"):
        return None
    return {k: float(v) if v in ("NaN", "Infinity", "-Infinity") else v for k, v in row.items()}


def strict(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become strings, which `float` and JavaScript's `Number` read."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def last_step(path: Path) -> int:
    """Step of the last whole row of a metrics.jsonl, from the end of the file alone; 0 without one."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 65536))
        rows = [row for line in file.readlines()[-3:] if (row := parse(line))]
    return rows[-1]["step"] if rows else 0


def truncate(path: Path, step: int) -> None:
    """Cut, in one piece, the rows past `step` and a torn line: a resumed run writes them again.

    Raises:
        DiskError: it could not be written; the file is as it was.
    """
    if not path.exists():
        return
    keep = 0  # bytes
    with open(path, "rb") as file:
        for line in file:
            row = parse(line)
            if row is None or row["step"] > step:
                break
            keep += len(line)
        if keep == path.stat().st_size:
            return
        file.seek(0)
        with replaced(path) as temporary:
            temporary.write_bytes(file.read(keep))
