"""What a new run begins with: a name, a directory of that name, and of a fork its parent's state."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.files import copy_file, writing
from rlgen.options.config import NAME
from rlgen.runs import checkpoint


def check_name(name: str) -> None:
    """Refuse a name that a run cannot have.

    Raises:
        UsageError: what a name may be.
    """
    if not NAME.fullmatch(name) or name == "last":
        raise UsageError(
            f"run name {name!r} is not valid: 1 to 80 of A-Z a-z 0-9 . _ -, "
            "not starting with . or -, and not 'last'; give another --name"
        )


def default_name(runs_dir: Path, config: dict[str, Any]) -> str:
    """A free name in `runs_dir`: `{env or data}__{algo}__{seed}__{time}`, with a number at its end if need be."""
    what = config.get("env_id") or Path(config["data"]).name  # data may be a path
    parts = (what, config["algo"], config["seed"], time.strftime("%Y%m%d-%H%M%S"))
    clean = [re.sub(r"[^A-Za-z0-9._-]+", "-", str(part)).strip(".-")[:40] for part in parts]
    name = unique = "__".join(clean)[:76]
    number = 2
    while (runs_dir / unique).exists():
        unique, number = f"{name}-{number}", number + 1
    return unique


def make_directory(runs_dir: Path, name: str) -> Path:
    """Make the directory of a run, and `runs_dir` if it is missing.

    Raises:
        UsageError: the name is taken, or no directory can be there.
        DiskError: the disk is full, or cannot be written.
    """
    path = runs_dir / name
    with writing(path, "free space, or give another --runs-dir"):
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
            raise UsageError(f"cannot make {runs_dir}: {error.strerror}; give another --runs-dir") from error
        try:
            path.mkdir()
        except FileExistsError as error:
            raise UsageError(f"run {name} exists in {runs_dir}; give another --name, or rlgen resume {name}") from error
    return path


def copy_state(parent: Path, step: int, path: Path) -> None:
    """Copy the rows and the checkpoint of `step` from a run's directory to that of its fork.

    Raises:
        UsageError: the parent trains on, and removed that checkpoint meanwhile.
        DiskError: it could not be written.
    """
    saved = checkpoint.directory(parent / "checkpoints", step)
    try:
        _copy(parent, saved, path)
    finally:
        if not (saved / "manifest.json").exists():
            raise UsageError(f"run {parent.name} removed its checkpoint of step {step} while it was copied; fork again")


def _copy(parent: Path, saved: Path, path: Path) -> None:
    with writing(path):
        copy = path / "checkpoints" / saved.name
        copy.mkdir(parents=True)
        for name in ("state.pt", "manifest.json"):  # and nothing else that somebody may have put there
            copy_file(saved / name, copy / name)
        if (parent / "metrics.jsonl").exists():
            copy_file(parent / "metrics.jsonl", path / "metrics.jsonl")
