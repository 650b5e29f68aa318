"""A run's lock: one process trains a run at a time; `list runs` sees who does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError

NAME = ".lock"  # of the file, in the run's directory; it holds the owner while the lock is held


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock of the run in directory `path`.

    Raises:
        UsageError: another process holds it.
    """
    with open(path / NAME, "a+", encoding="utf-8") as lock:
        _acquire(lock, path)
        lock.truncate(0)
        lock.write(f"{os.getpid()} on {socket.gethostname()}")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def _acquire(lock: Any, path: Path) -> None:
    for attempt in range(3):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if attempt == 2:  # `list runs` holds it for a moment when it looks
                lock.seek(0)
                owner = lock.read().strip() or "unknown"
                raise UsageError(f"run {path.name} is in use by process {owner}; wait for it or stop it") from error
            time.sleep(0.1)
        except OSError as error:
            print(f"warning: {path} cannot be locked: {error.strerror}; start it only once", file=sys.stderr)
            return


def is_held(path: Path) -> bool:
    """Whether a process trains the run in directory `path` now."""
    try:
        with open(path / NAME, "rb") as lock:
            if not lock.read(1):
                return False
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
