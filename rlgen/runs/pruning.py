"""Which checkpoints of a run stay: the newest ones and the best, and before another is written perhaps fewer."""

from __future__ import annotations

import shutil
from pathlib import Path

from rlgen.errors import CheckpointError, DamagedError
from rlgen.files import writing
from rlgen.runs import checkpoint

MORE = 1.2  # times as much room as the last one took has to be free for the next


def prune(folder: Path, step: int, best: int | None, newest: int = 2) -> None:
    """Keep the `newest` up to `step`, and the best one. Later steps belong to a future that a resume gave up.

    Raises:
        DiskError: one cannot be removed.
    """
    keep = {*[s for s in checkpoint.steps(folder) if s <= step][-newest:], best}
    with writing(folder):
        for other in checkpoint.steps(folder):
            if other not in keep:
                checkpoint.discard(checkpoint.directory(folder, other))
    checkpoint.collect(folder)


def make_room(folder: Path, step: int, best: int | None, pending: int = 0) -> None:
    """Where one more might not fit: keep the newest whole one up to `step`, and the best.

    Without a whole one all stay.

    Args:
        folder: holds all checkpoints of a run.
        step: where the run stands.
        best: step of the best one, if there is one.
        pending: bytes of segments that will be written, beside a state as large as the largest.

    Raises:
        DiskError: one cannot be removed.
    """
    found = checkpoint.steps(folder)
    largest = max((state_size(checkpoint.directory(folder, each)) for each in found), default=0)
    if len(found) < 2 or shutil.disk_usage(folder).free > MORE * largest + pending:
        return
    for newest in (each for each in reversed(found) if each <= step):
        try:
            checkpoint.verified(checkpoint.directory(folder, newest), with_segments=True)
        except (CheckpointError, DamagedError, OSError):
            continue
        with writing(folder):
            for other in found:
                if other not in (newest, best):
                    checkpoint.discard(checkpoint.directory(folder, other))
        checkpoint.collect(folder)
        return


def state_size(path: Path) -> int:
    """Of a checkpoint's state.pt, in bytes; 0 where there is none."""
    try:
        return (path / "state.pt").stat().st_size
    except OSError:
        return 0
