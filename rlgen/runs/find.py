"""Finding runs in a directory of runs, and describing each in one row. No torch: listing answers at once."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import os
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.files import TEMPORARY
from rlgen.runs import checkpoint, health, lock
from rlgen.runs.best import final
from rlgen.runs.records import Best, Summary, read, read_config
from rlgen.runs.rows import last_evaluation, last_step


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
    if text and os.path.lexists(Path(text) / "config.json"):
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


def find_group(word: str, runs_dir: str | Path = "runs") -> list[Path]:
    """The directories that a word stands for: as of `find`, of all that fit a glob, or all inside a directory.

    None for the folders of wandb and of studies that lie among runs.

    Raises:
        UsageError: no run fits.
    """
    if any(mark in word for mark in "*?["):
        names = [path for path in directories(Path(runs_dir)) if fnmatch.fnmatch(path.name, word)]
        matched = names or [path for path in map(Path, sorted(glob.glob(word))) if (path / "config.json").is_file()]
        if not matched:
            raise UsageError(f"{word!r} fits no run in {runs_dir}; see rlgen list runs")
        return matched
    if Path(word).is_dir() and not (Path(word) / "config.json").is_file() and (inside := directories(Path(word))):
        return inside
    if Path(word).name in ("wandb", "studies") and Path(word).is_dir() and directories(Path(word).parent):
        return []  # no run of its own: a shell names it for `runs/*`
    return [find(word, runs_dir)]


def list_runs(runs_dir: str | Path = "runs") -> list[dict[str, Any]]:
    """One dict a run, oldest first: name, path, algo, env_id, data, seed, step, steps, status, created, final, best."""
    rows = [describe(path) for path in directories(Path(runs_dir))]
    return sorted(rows, key=lambda row: (row["created"] or "", row["name"]))


def describe(path: Path) -> dict[str, Any]:
    """A run's row in `list_runs`; `damaged` says what is wrong with one of its files, None where nothing is.

    `verdict` is what is thought of the run, as its summary or else its rows have it; None where they do not.
    """
    info: dict[str, Any] = {"config": {}}
    step, status, best, last, damaged = 0, "stopped", None, None, None
    verdict: Any = None
    try:
        info, _ = read_config(path)
        step = max(checkpoint.steps(path / "checkpoints"), default=0)
        step = last_step(path / "metrics.jsonl") or step
        best = read(path / "checkpoints/best.json", Best)
        if summary := read(path / "summary.json", Summary):
            status, best = summary["status"], best or summary.get("best")
            verdict = summary.get("health")
        last = final(last_evaluation(path / "metrics.jsonl"), best["metric"] if best else None)
        verdict = verdict or health.written(path / "metrics.jsonl")
    except UsageError as error:
        status, damaged = "damaged", str(error)
    status = "running" if lock.is_held(path) else status
    return (
        {"name": path.name, "path": str(path)}
        | {key: info["config"].get(key) for key in ("algo", "env_id", "data", "seed", "steps")}
        | {"step": step, "status": status, "created": info.get("created"), "final": last, "best": best}
        | {"verdict": verdict}
        | {"damaged": damaged}
    )


def directories(runs_dir: Path) -> list[Path]:
    """The directories of all runs in a directory, by name."""
    try:
        found = (path for path in runs_dir.iterdir() if not path.name.startswith(TEMPORARY))
        return sorted(path for path in found if os.path.lexists(path / "config.json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(f"cannot read {runs_dir}: {error.strerror}; give another --runs-dir") from error


def _last_touched(path: Path) -> int:
    files = (path / "config.json", path / "metrics.jsonl")
    return max(file.lstat().st_mtime_ns for file in files if os.path.lexists(file))
