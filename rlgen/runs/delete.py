"""Deleting runs: what is not a run, is in use, or lies outside stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rlgen.errors import DiskError, UsageError
from rlgen.runs import lock
from rlgen.runs.files import TEMPORARY
from rlgen.runs.find import find


def chosen(names: tuple[str, ...], runs_dir: str) -> list[Path]:
    """The directories of the runs that are named in full; a prefix or `last` is too easily another one.

    Raises:
        UsageError: one is no run of that name, is a link, or is being trained.
    """
    paths = []
    for name in names:
        path = find(name, runs_dir)
        if name != path.name and not Path(name).is_dir():
            raise UsageError(f"{name!r} fits run {path.name}; give the whole name to delete it")
        if path.is_symlink():
            raise UsageError(f"{path} is a link, to {os.readlink(path)}; delete that, or unlink it")
        if lock.is_held(path):
            raise UsageError(f"run {path.name} is being trained; stop it first")
        paths.append(path)
    return paths


def delete(path: Path) -> None:
    """Remove a run's directory: renamed first, so that no half of a run is left. Links are removed, not followed.

    Raises:
        UsageError: a process trains it.
        DiskError: it cannot be removed.
    """
    gone = path.with_name(f"{TEMPORARY}{path.name}-gone-{os.getpid()}")
    try:
        with lock.hold(path, owned=False):  # it makes room
            os.rename(path, gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise DiskError(f"cannot delete {path}: {error.strerror or error}; what is left is in {gone.name}") from error
