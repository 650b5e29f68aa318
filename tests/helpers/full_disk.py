"""A disk that takes no more: from some call on, or beyond some size of a file."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlgen.files import WholeWrites

CODES = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO)
CALLS = ((builtins, "open"), (io, "open"), *((os, name) for name in ("open", "mkdir", "replace", "rename", "fsync")))


class FullDisk:
    """Counts the calls that write under a folder, and refuses them from the `first` on.

    Args:
        folder: others are never refused.
        first: number of the first call that is refused; None refuses none.
        code: what it then raises.
    """

    def __init__(self, folder: Path, first: int | None = None, code: int = errno.ENOSPC) -> None:
        self.folder, self.first, self.code = str(folder), first, code
        self.calls: list[str] = []

    def __enter__(self) -> FullDisk:
        self.patch = pytest.MonkeyPatch()
        for module, name in CALLS:
            self.patch.setattr(module, name, self._attempt(name, getattr(module, name)))
        self.patch.setattr(WholeWrites, "__init__", self._opened(WholeWrites.__init__))  # it opens by itself
        self.patch.setattr(WholeWrites, "write", self._written(WholeWrites.write))
        return self

    def __exit__(self, *error: object) -> None:
        self.patch.undo()

    def _attempt(self, name: str, real: Any) -> Any:
        def attempt(path: Any, *args: Any, **options: Any) -> Any:
            mode = options.get("mode", args[0] if args else "r")
            writes = name != "open" or (mode & (os.O_WRONLY | os.O_RDWR) if isinstance(mode, int) else mode[0] != "r")
            place = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.abspath(path)
            if writes:
                self._count(name, place)
            return None if name == "fsync" else real(path, *args, **options)  # the disk's time is not what is tried

        return attempt

    def _opened(self, real: Any) -> Any:
        def opened(file: WholeWrites, path: Path, mode: str) -> None:
            self._count("open", path)
            real(file, path, mode)

        return opened

    def _written(self, real: Any) -> Any:
        def written(file: WholeWrites, content: Any) -> Any:
            if not str(file.name).endswith(".pt") or file.tell() == 0:  # of the thousand small ones, the first
                self._count("write", file.name)
            return real(file, content)

        return written

    def _count(self, name: str, place: Any) -> None:
        if str(place).startswith(self.folder):
            self.calls.append(f"{name} {place}")
            if self.first is not None and len(self.calls) > self.first:
                raise OSError(self.code, os.strerror(self.code), str(place))


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: writing a part of what was to be written, then nothing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
