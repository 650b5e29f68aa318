"""Small files of a run: replaced in one piece, read without complaint."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from rlgen.files import TEMPORARY, replaced, writing


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


def digest(path: Path) -> dict[str, Any]:
    """The sha256 and the size of a file, as a manifest holds them."""
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def remove_stale(folder: Path) -> None:
    """Remove what a killed process left half-written. Only under the run's lock: it may be another's, in progress.

    Raises:
        DiskError: it cannot be removed.
    """
    with writing(folder):
        for path in folder.glob(f"{TEMPORARY}*"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
