"""Where a run's directory is: it may be moved or removed while the run goes on, and another may take its name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rlgen.errors import MovedRunError


class Placed(Protocol):
    """What has a place: a run."""

    path: Path
    place: Place | None


class Place:
    """A directory, held open, so that it is found again wherever it goes on its disk.

    Args:
        path: where it is now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def find(self, path: Path) -> Path:
        """Where it is: `path` if it is there, as it was the last time.

        Raises:
            MovedRunError: nowhere on this disk.
        """
        own = os.fstat(self._descriptor)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), own):
                return path
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(self.path), own):
                return self.path  # the process went to another directory, where a relative path leads elsewhere
        with contextlib.suppress(OSError):  # the kernel knows, where there is /proc
            now = os.readlink(f"/proc/self/fd/{self._descriptor}")
            if os.path.samestat(os.stat(now), own):
                return Path(now)
        raise MovedRunError(
            f"the directory of the run, {path}, was removed while it trained, so it ends; "
            "if it was moved to another disk: rlgen resume its new path"
        )

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


@contextlib.contextmanager
def held(run: Placed) -> Iterator[None]:
    """Hold the place of a run."""
    run.place = Place(run.path)
    try:
        yield
    finally:
        run.place.close()
        run.place = None
