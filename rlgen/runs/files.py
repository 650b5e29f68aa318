"""Small files of a run: replaced in one piece, read without complaint."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlgen.errors import DiskError

TEMPORARY = ".tmp-"  # how the name of a half-written file or directory begins


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path to write to, whose file then takes the place of `path`: a reader sees the old content or the new.

    Raises:
        DiskError: it could not be written; the old file is as it was.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    try:
        yield temporary
        fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DiskError(f"cannot write {path}: {error.strerror or error}; free space or fix permissions") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one piece.

    Raises:
        DiskError: it could not be written.
    """
    with replaced(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object of a file; None where there is none to read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> dict[str, Any]:
    """The sha256 and the size of a file, as a manifest holds them."""
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def remove_stale(folder: Path) -> None:
    """Remove what a killed process left half-written. Only under the run's lock: it may be another's, in progress."""
    for path in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
