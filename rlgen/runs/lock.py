"""A run's lock: one process trains a run at a time; `list runs` sees who does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from rlgen.errors import UsageError
from rlgen.files import WholeWrites, open_file, writing
from rlgen.text import warn

NAME = ".lock"  # of the file, in the run's directory; it holds the owner while the lock is held


@contextlib.contextmanager
def hold(path: Path, owned: bool = True) -> Iterator[None]:
    """Hold the lock of the run in directory `path`.

    Args:
        path: the run's directory.
        owned: write who holds it, which a full disk refuses.

    Raises:
        UsageError: another process holds it.
        DiskError: its file cannot be written: the disk is full, or the run is another user's.
    """
    if (path / NAME).is_symlink():
        raise UsageError(f"{path / NAME} is a link, and what it leads to would be emptied; remove it")
    with writing(path / NAME):
        lock = WholeWrites(path / NAME, "a+b")
    with lock:
        _acquire(lock, path)
        with writing(path / NAME) if owned else contextlib.suppress(OSError):
            lock.truncate(0)
            lock.write(f"{os.getpid()} on {socket.gethostname()}".encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a disk that went away
                lock.truncate(0)


def _acquire(lock: FileIO, path: Path) -> None:
    for attempt in range(3):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if attempt == 2:  # `list runs` holds it for a moment when it looks
                raise UsageError(in_use(path)) from error
            time.sleep(0.1)
        except OSError as error:
            warn(f"{path} cannot be locked: {error.strerror}; start it only once")
            return


def in_use(path: Path) -> str:
    """What to say of a run that another process holds."""
    owner = ""
    with contextlib.suppress(OSError), open_file(path / NAME) as lock:
        owner = lock.read(200).decode(errors="replace").strip()
    return f"run {path.name} is in use by process {owner or 'unknown'}; wait for it or stop it"


def is_held(path: Path) -> bool:
    """Whether a process trains the run in directory `path` now."""
    try:
        with open_file(path / NAME) as lock:
            if not lock.read(1):
                return False
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
