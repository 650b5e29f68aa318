"""The files in a zip archive: nothing is extracted, so no name in it can lead anywhere."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rlgen.data.decode import Bad, Source
from rlgen.data.files import reason
from rlgen.data.tree import is_hidden
from rlgen.errors import UsageError
from rlgen.memory import Room

ENTRY = 1000  # bytes, about, that a file in the list of an archive takes
SPOILED = ("damaged in the archive", "make a new archive without {}")
ENCRYPTED = ("encrypted", "unpack {}, and give the folder")
OTHERWISE = ("compressed in an unusual way", "unpack {}, and give the folder")


@contextlib.contextmanager
def members(path: Path, room: Room) -> Iterator[dict[str, Source]]:
    """The files in an archive that are not hidden, by name; one is read when it is called.

    Args:
        path: of the archive.
        room: that each has to fit in.

    Raises:
        UsageError: it is no archive.
    """
    try:
        archive = zipfile.ZipFile(path)
    except MemoryError:
        raise
    except Exception as error:  # a malformed zip can raise anything
        raise UsageError(f"{path} cannot be read as .zip ({reason(error)}): replace it by a good copy") from None
    with archive:
        room.check(f"{path}: the list of its files", ENTRY * len(archive.infolist()))
        found: dict[str, Source] = {}
        for info in archive.infolist():
            folders = [name for name in info.filename.replace("\\", "/").split("/") if name]  # Windows' too
            if not info.is_dir() and not any(map(is_hidden, folders)):  # `..` is hidden
                found["/".join(folders)] = partial(member, archive, info, f"{path}: {'/'.join(folders)}", room)
        yield found


def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, room: Room) -> io.BytesIO:
    """What a file of an archive holds.

    Raises:
        Bad: it cannot be read.
        UsageError: it does not fit in memory.
    """
    if info.flag_bits & 1:
        raise Bad(*ENCRYPTED)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others grow without a limit
        raise Bad(*OTHERWISE)
    room.check(where, info.file_size)
    try:
        with archive.open(info) as stream:
            return io.BytesIO(stream.read(info.file_size))  # `archive.read` would unpack more than the list says
    except MemoryError:
        raise
    except Exception:  # a malformed zip can raise anything
        raise Bad(*SPOILED) from None
