"""What a new run begins with: a name, a directory of that name, and of a fork its parent's state."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlgen.errors import DiskError, UsageError
from rlgen.files import TEMPORARY, copy_file, writing
from rlgen.options.config import NAME
from rlgen.runs import checkpoint, lock, segments

HOUR = 3600.0  # seconds


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


@contextlib.contextmanager
def directory(path: Path) -> Iterator[Path]:
    """A directory to fill, which then gets the name of the run: killed at any moment, there is a run or there is none.

    Args:
        path: of the run; the directory it lies in is made if it is missing.

    Raises:
        UsageError: the name is taken, perhaps by a run that trains now, or no directory can be there.
        DiskError: the disk is full, or cannot be written.
    """
    if os.path.lexists(path) and not _is_empty(path):
        raise _taken(path)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    with writing(path, "free space, or give another --runs-dir"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
            raise UsageError(f"cannot make {path.parent}: {error.strerror}; give another --runs-dir") from error
        for left in path.parent.glob(f"{TEMPORARY}*-{path.name}"):  # by a process that was killed long ago
            if left == temporary or time.time() - left.lstat().st_mtime > HOUR:
                shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            try:
                os.rename(temporary, path)  # which may take the place of an empty directory
            except OSError as error:
                raise (
                    _taken(path) if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) else error
                ) from error
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, DiskError):
                raise DiskError(str(error).replace(str(temporary), str(path))) from error
            raise


def _taken(path: Path) -> UsageError:
    if lock.is_held(path):
        return UsageError(f"{lock.in_use(path)}, or give another --name")
    return UsageError(f"run {path.name} exists in {path.parent}; give another --name, or rlgen resume {path.name}")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


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
        segments.give(saved.parent / segments.FOLDER, checkpoint.segments_of(saved), copy.parent / segments.FOLDER)
        for name in ("state.pt", "manifest.json"):  # and nothing else that somebody may have put there
            copy_file(saved / name, copy / name)
        if (parent / "metrics.jsonl").exists():
            copy_file(parent / "metrics.jsonl", path / "metrics.jsonl")
