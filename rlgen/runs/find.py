"""Finding runs in a directory of runs, and describing each in one row. No torch: listing answers at once."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.runs import checkpoint, lock
from rlgen.runs.files import read_json
from rlgen.runs.rows import last_step


def find(text: str, runs_dir: str | Path = "runs") -> Path:
    """The directory of a run given by name, directory, unique prefix, or `last` (the one trained last).

    Raises:
        UsageError: no run, or more than one, fits.
    """
    runs = directories(Path(runs_dir))
    if text == "last" and runs:
        return max(runs, key=lambda path: (_last_touched(path), path.name))
    names = [path.name for path in runs]
    if text in names:
        return Path(runs_dir) / text
    if text and (Path(text) / "config.json").is_file():
        return Path(text)
    matches = [name for name in names if text and name.startswith(text)]
    if len(matches) == 1:
        return Path(runs_dir) / matches[0]
    if matches:
        more = f" and {len(matches) - 5} more" if len(matches) > 5 else ""
        raise UsageError(f"{text!r} fits {len(matches)} runs: {', '.join(matches[:5])}{more}; give more of the name")
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "see rlgen list runs, or give --runs-dir"
    raise UsageError(f"no run {text!r} in {runs_dir}; {hint if names else 'it holds none yet: rlgen train ALGO'}")


def list_runs(runs_dir: str | Path = "runs") -> list[dict[str, Any]]:
    """One dict a run, oldest first: name, path, algo, env_id, data, seed, step, steps, status, created, best."""
    rows = [describe(path) for path in directories(Path(runs_dir))]
    return sorted(rows, key=lambda row: (row["created"] or "", row["name"]))


def describe(path: Path) -> dict[str, Any]:
    """A run's row in `list_runs`."""
    info = read_json(path / "config.json") or {}
    config = info.get("config") or {}
    summary = read_json(path / "summary.json") or {}
    saved = checkpoint.steps(path / "checkpoints")
    status = "running" if lock.is_held(path) else summary.get("status", "stopped") if config else "damaged"
    return (
        {"name": path.name, "path": str(path)}
        | {key: config.get(key) for key in ("algo", "env_id", "data", "seed", "steps")}
        | {"step": last_step(path / "metrics.jsonl") or max(saved, default=0), "status": status}
        | {"created": info.get("created"), "best": read_json(path / "checkpoints/best.json") or summary.get("best")}
    )


def directories(runs_dir: Path) -> list[Path]:
    """The directories of all runs in a directory, by name."""
    if not runs_dir.is_dir():
        return []
    return sorted(path for path in runs_dir.iterdir() if (path / "config.json").is_file())


def _last_touched(path: Path) -> int:
    files = (path / "config.json", path / "metrics.jsonl")
    return max(file.stat().st_mtime_ns for file in files if file.exists())
