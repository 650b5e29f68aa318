"""Files of a data set by name: plain, compressed, or inside an archive; none takes more memory than its header says."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import tarfile
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

from rlgen.errors import UsageError
from rlgen.memory import Room

UNREADABLE = (OSError, EOFError, zlib.error, tarfile.TarError)  # what reading a broken file may raise
CHUNK = 2**20  # bytes
NO_HEADER = 2**28  # bytes, at most, of a file that does not begin with its size: a batch of CIFAR-10 has 31 million
MEMBERS = 1000  # of an archive, at most
IDX = b"\0\0\x08"  # how an IDX file of unsigned bytes begins


class File(NamedTuple):
    """A file that was read."""

    path: str  # for messages
    content: bytearray  # uncompressed


class Capped(io.BufferedReader):
    """A stream for `tarfile`, which reads at once whatever a header asks for: not more than a member may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        if size is None or not 0 <= size <= NO_HEADER:
            raise tarfile.ReadError("a header that is too large")
        return super().read(size)


def find_files(folder: Path, names: Iterable[str], room: Room) -> dict[str, File]:
    """The named files of a folder: compressed or not, and with a dot before `idx` as some copies have."""
    files = {}
    for name in names:
        dotted = name.replace("-idx", ".idx")
        for candidate in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
            if os.path.isfile(folder / candidate):
                files[name] = read_file(folder / candidate, room)
                break
    return files


def read_file(path: Path, room: Room) -> File:
    """A file, uncompressed.

    Raises:
        UsageError: it cannot be read, or does not fit in memory.
    """
    try:
        with open(path, "rb") as stream:
            return File(str(path), unpacked(stream, str(path), room))
    except UNREADABLE as error:
        raise UsageError(f"{path} cannot be read ({reason(error)}): replace it by a good copy") from None


def unpacked(stream: IO[bytes], where: str, room: Room) -> bytearray:
    """What a stream holds, uncompressed, and at most a byte more than its header says.

    Args:
        stream: of a file; whether it is compressed says its content, as browsers unpack a .gz without renaming it.
        where: what it is; errors begin with it.
        room: that the content takes from.

    Raises:
        OSError: or another of `UNREADABLE`: it is broken.
        UsageError: it does not fit in memory.
    """
    magic = stream.read(2)
    stream.seek(0)
    source: Any = gzip.GzipFile(fileobj=stream) if magic == b"\x1f\x8b" else stream
    content = bytearray(source.read(16))
    most = promised(content)
    room.check(where, most if content[:3] == IDX else 0)
    while len(content) <= most and (chunk := source.read(min(CHUNK, most + 1 - len(content)))):
        room.check(where, len(content) + len(chunk))
        content += chunk
    if len(content) > most == NO_HEADER:
        raise OSError(f"more than {NO_HEADER:,} bytes")
    room.take(where, len(content))
    return content


def promised(start: bytes | bytearray) -> int:
    """The bytes that a file has by its own header; the most that one without a header may have.

    Args:
        start: the first 16.
    """
    if start[:3] != IDX or len(start) < 4:
        return NO_HEADER
    ndim = min(start[3], 3)
    sizes = [int.from_bytes(start[4 + 4 * i : 8 + 4 * i]) for i in range(ndim)]
    return 4 + 4 * ndim + math.prod(sizes)


def read_archive(path: Path, names: Collection[str], room: Room) -> dict[str, File]:
    """The named files of a tar archive.

    Raises:
        UsageError: it cannot be read, or does not fit in memory.
    """
    try:
        with open(path, "rb") as stream:
            members = archive_members(stream, str(path), names, room)
    except UNREADABLE as error:
        raise UsageError(f"{path} is not a readable archive ({reason(error)}): delete it and fetch it again") from None
    return {name: File(f"{path}:{name}", content) for name, content in members.items()}


def archive_members(stream: IO[bytes], where: str, names: Collection[str], room: Room) -> dict[str, bytearray]:
    """The named files of a tar archive, by base name; nothing is extracted, so no path in it can lead anywhere.

    Args:
        stream: of the archive, a .tar.gz or .tar.
        where: what it is; errors begin with it.
        names: of the files.
        room: that their contents take from.
    """
    content: dict[str, bytearray] = {}
    magic = stream.read(2)
    stream.seek(0)
    source: Any = gzip.GzipFile(fileobj=stream) if magic == b"\x1f\x8b" else stream
    with tarfile.open(fileobj=Capped(source), mode="r:") as tar:
        for i, member in enumerate(tar):
            if i == MEMBERS:
                raise tarfile.ReadError(f"more than {MEMBERS:,} members")
            name = member.name.rpartition("/")[2]
            if name in names and (file := tar.extractfile(member)) is not None:
                room.check(f"{where}:{name}", member.size)
                content[name] = unpacked(file, f"{where}:{name}", room)
    return content


def digests(files: dict[str, File]) -> dict[str, str]:
    """sha256 of every file's content."""
    return {name: hashlib.sha256(file.content).hexdigest() for name, file in files.items()}


def file_digest(path: Path) -> str:
    """sha256 of a file as it lies there."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: BaseException) -> str:
    """What an error says, on one line."""
    cause = getattr(error, "reason", error)  # urllib wraps what the socket raised
    return (getattr(cause, "strerror", None) or str(cause) or type(error).__name__).replace("\n", " ")
