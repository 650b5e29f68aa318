"""Files of a data set by name: plain, compressed, or inside an archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from rlgen.errors import UsageError

UNREADABLE = (OSError, EOFError, zlib.error, tarfile.TarError)  # what reading a broken file may raise


class File(NamedTuple):
    """A file that was read."""

    path: str  # for messages
    content: bytes  # uncompressed


def find_files(folder: Path, names: Iterable[str]) -> dict[str, File]:
    """The named files of a folder: compressed or not, and with a dot before `idx` as some copies have."""
    files = {}
    for name in names:
        dotted = name.replace("-idx", ".idx")
        for candidate in (name, f"{name}.gz", dotted, f"{dotted}.gz", f"cifar-10-batches-py/{name}"):
            if os.path.isfile(folder / candidate):
                files[name] = read_file(folder / candidate)
                break
    return files


def read_file(path: Path) -> File:
    """A file, uncompressed.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        content = path.read_bytes()
        # By content, not by name: browsers unpack a .gz without renaming it.
        return File(str(path), gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except UNREADABLE as error:
        raise UsageError(f"{path} cannot be read ({reason(error)}): replace it by a good copy") from None


def read_archive(path: Path, names: Collection[str]) -> dict[str, File]:
    """The named files of a tar archive.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        members = archive_members(path.read_bytes(), names)
    except UNREADABLE as error:
        raise UsageError(f"{path} is not a readable archive ({reason(error)}): delete it and fetch it again") from None
    return {name: File(f"{path}:{name}", content) for name, content in members.items()}


def archive_members(archive: bytes, names: Collection[str]) -> dict[str, bytes]:
    """The named files of a tar archive, by base name; nothing is extracted, so no path in it can lead anywhere."""
    content = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            name = member.name.rpartition("/")[2]
            if name in names and (stream := tar.extractfile(member)) is not None:
                content[name] = stream.read()
    return content


def digests(files: dict[str, File]) -> dict[str, str]:
    """sha256 of every file's content."""
    return {name: hashlib.sha256(file.content).hexdigest() for name, file in files.items()}


def reason(error: BaseException) -> str:
    """What an error says, on one line."""
    cause = getattr(error, "reason", error)  # urllib wraps what the socket raised
    return (getattr(cause, "strerror", None) or str(cause) or type(error).__name__).replace("\n", " ")
