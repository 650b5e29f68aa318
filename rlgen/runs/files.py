"""Small files of a run: replaced in one piece, and read with care, as anybody may have changed them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import stat
from pathlib import Path
from typing import Any, NoReturn

from rlgen.errors import DamagedError, UsageError
from rlgen.files import TEMPORARY, made, open_file, replaced, writing
from rlgen.secret import scrubbed

MAX_JSON = 2**24  # bytes of a file that is read whole; config.json has some thousands
MAX_DEPTH = 16  # of a JSON value in others
FILES = (
    *("config.json", "metrics.jsonl", "summary.json", "error.txt", "weights.safetensors"),
    *("checkpoints/best.json", ".lock"),
)
FOLDERS = ("checkpoints", "checkpoints/segments", "samples", "videos", "wandb")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one piece; secrets are not in it.

    Raises:
        DiskError: it could not be written.
    """
    with replaced(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(scrubbed(value), file, indent=2, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file; None where there is no file.

    Raises:
        DamagedError: it is no file or too large, it holds no object, or what is in it is nothing that we write.
    """
    try:
        with open_file(path) as file:
            text = file.read(MAX_JSON + 1)
        if len(text) > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON:,} bytes")
        value = json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant)
        _check(value)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(path, f"{error.strerror or error}") from error
    except RecursionError as error:
        raise DamagedError(path, "its values are nested too deeply") from error
    except UnicodeDecodeError as error:
        raise DamagedError(path, f"byte {error.start} is no UTF-8") from error
    except ValueError as error:  # JSONDecodeError among them
        raise DamagedError(path, str(error)) from error
    if not isinstance(value, dict):
        raise DamagedError(path, "it holds no JSON object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:40]!r} stands there twice")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _check(value: Any, depth: int = 0) -> None:
    """Refuse what JSON can say and nothing can work with: deep nesting, numbers beyond 64 bits, half characters."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, (dict, list)):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(item, depth + 1)
    elif isinstance(value, str) and not value.isascii() and any("\ud800" <= mark <= "\udfff" for mark in value):
        raise ValueError("half of a character (a lone surrogate)")
    elif (isinstance(value, float) and math.isinf(value)) or (isinstance(value, int) and abs(value) >= 2**64):
        raise ValueError("a number that is too large")


def check_own(run: Path) -> None:
    """Refuse links and special files where a run writes: nothing of it is written outside its directory.

    Raises:
        UsageError: the first that there is.
    """
    for name in (*FILES, *FOLDERS):
        try:
            mode = (run / name).lstat().st_mode
        except OSError:  # it is not there
            continue
        if not (stat.S_ISDIR(mode) if name in FOLDERS else stat.S_ISREG(mode)):
            kind = "a link" if stat.S_ISLNK(mode) else "no folder" if name in FOLDERS else "no file"
            raise UsageError(f"{run / name} is {kind}: a run writes only into its own directory; put a copy there")


def own_folder(run: Path, name: str) -> Path:
    """A folder of a run, made where it is missing.

    Raises:
        UsageError: it leads out of the run.
        DiskError: it cannot be made.
    """
    check_own(run)
    return made(run / name)


def digest(path: Path) -> dict[str, Any]:
    """The sha256 and the size of a file, as a manifest holds them."""
    with open_file(path) as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": os.fstat(file.fileno()).st_size}


def remove_stale(folder: Path) -> None:
    """Remove what a killed process left half-written. Only under the run's lock: it may be another's, in progress.

    Raises:
        DiskError: it cannot be removed.
    """
    with writing(folder):
        for path in folder.glob(f"{TEMPORARY}*"):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link, or a directory with all that is in it; what a link leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # follows no link in it
    else:
        path.unlink(missing_ok=True)
