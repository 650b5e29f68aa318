"""How files are written: whole or not at all, and what the disk refuses is one line with an exit code of its own.

And how a file is opened that somebody else may have put there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

from rlgen.errors import DiskError, RlgenError, is_out_of_memory

TEMPORARY = ".tmp-"  # how the name of a half-written file or directory begins
FIX = "free space or fix permissions"


@contextlib.contextmanager
def writing(path: str | Path, fix: str = FIX) -> Iterator[None]:
    """Everything in here writes `path`; what the disk refuses is told in one line that ends with `fix`.

    Raises:
        DiskError: it could not be written.
    """
    before = sys.exception()
    try:
        yield
    except RlgenError:
        raise
    except Exception as error:
        refused = disk_error(error, before)
        if refused is None:
            raise
        reason = refused.strerror or str(refused).split("\n")[0]
        raise DiskError(f"cannot write {path}: {reason}; {fix}") from error


def disk_error(error: BaseException | None, before: BaseException | None = None) -> OSError | None:
    """The OSError that an error is, or was raised over: closing a file on a full disk hides the first one.

    Args:
        error: what was raised.
        before: an error that was handled already when all of this began; None where there was none.
    """
    while error is not None and error is not before and not isinstance(error, OSError):
        if is_out_of_memory(error):
            return None
        error = error.__cause__ or error.__context__
    return error if isinstance(error, OSError) and error is not before and not is_out_of_memory(error) else None


@contextlib.contextmanager
def replaced(path: str | Path, fix: str = FIX) -> Iterator[Path]:
    """A path to write to, whose file then takes the place of `path`: a reader sees the old content or the new.

    A link stays a link: what it leads to is replaced. A device or a pipe is written to directly.

    Raises:
        DiskError: it could not be written; the old file is as it was.
    """
    with writing(path, fix):
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            yield target
            return
        temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{target.name[-60:]}")
        try:
            yield temporary
            fsync(temporary)
            os.replace(temporary, target)
            fsync(target.parent)
        except BaseException:  # Ctrl-C too leaves nothing behind
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_whole(path: Path, content: bytes | bytearray | str, fix: str = FIX) -> None:
    """Replace a file in one piece; text is UTF-8.

    Raises:
        DiskError: it could not be written; the old file is as it was.
    """
    with replaced(path, fix) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def made(folder: Path) -> Path:
    """The folder, made where it is missing; the one above it is there.

    Raises:
        DiskError: it cannot be made.
    """
    with writing(folder):
        folder.mkdir(exist_ok=True)
    return folder


def open_file(path: str | Path) -> BufferedReader:
    """A file, opened to be read. A pipe or a device, which may never end, is an OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # otherwise opening a pipe waits for who writes to it
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a file", str(path))


def user_cache() -> Path:
    """Where what can be had again is kept: downloads, networks of features, compiled code.

    Raises:
        DiskError: there is no home directory.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rlgen"
    except RuntimeError as error:
        raise DiskError("there is no home directory for a cache: set XDG_CACHE_HOME to a folder") from error


def copy_file(path: Path, copy: Path) -> None:
    """Copy the content of a file. A pipe or a device is an OSError, as `open_file` has it."""
    with open_file(path) as file, open(copy, "wb") as new:
        shutil.copyfileobj(file, new)


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WholeWrites(FileIO):
    """A file without a buffer: a write is whole or refused, and nothing is left to write when it closes."""

    refused: OSError | None = None  # the first refusal: a library that writes may raise something else over it

    def write(self, content: Any) -> int:
        """Write all of some bytes; returns how many."""
        rest = memoryview(content).cast("B")
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.refused = self.refused or error
            raise
        return memoryview(content).nbytes


class Lines:
    """A file that grows by whole lines. Nothing waits in memory: what was added is written, and closing adds nothing.

    Args:
        path: the file; made by the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: WholeWrites | None = None

    def add(self, line: str) -> None:
        """Write a line.

        Raises:
            DiskError: it could not be written; no part of it stays, where the disk allows that.
        """
        with writing(self.path):
            if self._file is None:
                self._file = WholeWrites(self.path, "ab")
            status = os.fstat(self._file.fileno())
            if not status.st_nlink:  # what is written would go nowhere
                raise DiskError(f"cannot write {self.path}: it was removed while it was written")
            size = status.st_size
            try:
                self._file.write(f"{line}\n".encode())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self._file.fileno(), size)
                raise

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def sync(self) -> None:
        """Wait until all lines are on the disk.

        Raises:
            DiskError: they are not.
        """
        if self._file is not None:
            with writing(self.path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file.

        Raises:
            DiskError: a network's disk tells only now that lines are lost.
        """
        file, self._file = self._file, None
        if file is not None:
            with writing(self.path):
                file.close()
