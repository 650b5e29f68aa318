"""Segments: the rows of a large ring in files of their own, written once, which the checkpoints of a run share.

    checkpoints/segments/SHA256   a block of rows: of every column its part, one after the other

So a checkpoint costs what was written into the ring since the last one. state.pt names the blocks in their order, the
manifest has their sizes. A block has a fixed number of rows. It is written from the ring and read into it, where that
is on a GPU through the memory of one block. A file is never changed: its name is the sha256 of what is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.errors import CheckpointError, is_out_of_memory
from rlgen.files import TEMPORARY, WholeWrites, copy_file, fsync, made, open_file, writing
from rlgen.runs.files import digest, remove

if TYPE_CHECKING:
    from torch import Tensor

    from rlgen.core.buffer import Buffer

FOLDER = "segments"  # in that of the checkpoints
LARGE = 2**25  # bytes of columns up to which they stay in state.pt
BLOCK = 2**25  # bytes of a block, about
NAME = re.compile("[0-9a-f]{64}")
TABLES = {"ring": "columns", "frames": "tables"}  # parts of a buffer's state that hold rows, and where


@dataclass
class Known:
    """The blocks of a table whose files are up to date: they hold what is in memory."""

    rows: int  # of a block
    names: dict[int, str] = field(default_factory=dict)  # by the block's number


class Segments:
    """Writes the rows of a ring, and remembers which blocks are on the disk. One lives as long as its run trains."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._mark: tuple[int, ...] = ()  # of the buffer, when it was looked at

    def look(self, buffer: Buffer, state: dict[str, Any] | None) -> int:
        """Forget the blocks that were written to in memory since the last look.

        Args:
            buffer: that they are of.
            state: its state.

        Returns:
            Bytes of the segments that `stored` will write.
        """
        for part, changed in buffer.changed_since(self._mark).items():
            if known := self._known.get(part):
                for rows in changed:
                    for number in range(rows.start // known.rows, -(-rows.stop // known.rows)):
                        known.names.pop(number, None)
        self._mark = buffer.mark()
        return sum(
            sum(piece.nbytes for piece in pieces.values())
            for part, columns in _large(state).items()
            for number, pieces in self._blocks(part, columns)
            if number not in self._known[part].names
        )

    def loaded(self, state: dict[str, Any], buffer: Buffer) -> None:
        """Remember the blocks that a buffer was just loaded from."""
        self._mark = buffer.mark()
        blocks = {part: state[part]["blocks"] for part in TABLES if "blocks" in (state.get(part) or ())}
        self._known = {part: Known(each.rows, dict(enumerate(each.names))) for part, each in blocks.items()}

    def stored(self, folder: Path, state: dict[str, Any] | None) -> tuple[dict[str, Any] | None, dict[str, int]]:
        """The state of a buffer as state.pt holds it, and the size of every segment that it names: they are written.

        Args:
            folder: of the segments; made where it is needed.
            state: of the buffer. Columns that are not large are copied into it.

        Raises:
            OSError: a segment could not be written.
        """
        sizes: dict[str, int] = {}
        if state is None:
            return None, sizes
        for part, where in TABLES.items():
            if part not in (large := _large(state)):
                if state.get(part):
                    copies = {name: column.to("cpu", copy=True) for name, column in state[part][where].items()}
                    state = state | {part: state[part] | {where: copies}}
                continue
            names = []
            for number, pieces in self._blocks(part, large[part]):
                known = self._known[part].names
                size = sum(piece.nbytes for piece in pieces.values())
                if number not in known or _size(folder / known[number]) != size:
                    known[number] = _write(made(folder), pieces)
                names.append(known[number])
                sizes[known[number]] = size
            fsync(folder)
            hollow = {name: column.new_zeros(1).to("cpu").expand(column.shape) for name, column in large[part].items()}
            blocks = {"rows": self._known[part].rows, "names": names}
            state = state | {part: state[part] | {where: hollow, "blocks": blocks}}
        return state, sizes

    def _blocks(self, part: str, columns: Mapping[str, Tensor]) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """The blocks of a table, each with its number."""
        row = max(1, sum(column[0].nbytes for column in columns.values()))  # bytes
        known = self._known.setdefault(part, Known(max(1, BLOCK // row)))
        return enumerate(in_blocks(columns, known.rows))


def in_blocks(columns: Mapping[str, Tensor], rows: int) -> Iterator[dict[str, Tensor]]:
    """Columns in pieces of so many rows; the last one may be shorter."""
    for first in range(0, len(next(iter(columns.values()))), rows):
        yield {name: columns[name][first : first + rows] for name in sorted(columns)}


def _large(state: dict[str, Any] | None) -> dict[str, Mapping[str, Tensor]]:
    """The tables of a buffer's state that are worth files of their own."""
    tables = {part: state[part][where] for part, where in TABLES.items() if state and state.get(part)}
    return {part: table for part, table in tables.items() if sum(each.nbytes for each in table.values()) > LARGE}


def _content(piece: Tensor) -> Any:
    """The bytes of a tensor on the CPU, which share its memory."""
    import torch

    return memoryview(piece.flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]


def _size(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    return path.lstat().st_size if path.is_file() and not path.is_symlink() else -1


def _write(folder: Path, pieces: Mapping[str, Tensor]) -> str:
    """Write a block, if it is not there; returns its name. What is there is read: it may be damaged."""
    contents = [_content(piece.to("cpu")) for piece in pieces.values()]
    total = hashlib.sha256()
    for content in contents:
        total.update(content)
    name = total.hexdigest()
    size = sum(content.nbytes for content in contents)
    found = _size(folder / name)
    if found == size and digest(folder / name)["sha256"] == name:
        return name
    temporary = folder / f"{TEMPORARY}{name}-{os.getpid()}"
    with WholeWrites(temporary, "wb") as file:
        for content in contents:
            file.write(content)
        os.fsync(file.fileno())
    if found < 0:
        remove(folder / name)  # no file is there, but perhaps a folder
    os.rename(temporary, folder / name)
    return name


@dataclass(frozen=True)
class Blocks:
    """Rows that lie in segments, until there is a table to read them into."""

    folder: Path = field(compare=False)
    rows: int  # of a block
    names: tuple[str, ...]

    def read_into(self, columns: Mapping[str, Tensor]) -> None:
        """Read all rows into tensors of their shapes, each block straight into its place.

        Raises:
            CheckpointError: a segment is missing or damaged.
        """
        for name, pieces in zip(self.names, in_blocks(columns, self.rows), strict=True):
            with _reading(self.folder / name) as file:
                total = hashlib.sha256()
                for piece in pieces.values():
                    here = piece.new_empty(piece.shape, device="cpu") if piece.device.type != "cpu" else piece
                    file.readinto(_content(here))
                    total.update(_content(here))
                    if here is not piece:
                        piece.copy_(here)
            if total.hexdigest() != name:
                raise CheckpointError(f"segment {name[:12]} is damaged")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BufferedReader]:
    """A segment, opened; what the disk says of it is told as of a checkpoint."""
    try:
        with open_file(path) as file:
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"segment {path.name[:12]} is missing") from error
    except OSError as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(f"segment {path.name[:12]} cannot be read: {error.strerror or error}") from error


def check(folder: Path, name: str) -> None:
    """Read a segment.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    with _reading(folder / name) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != name:
            raise CheckpointError(f"segment {name[:12]} is damaged")


def check_sizes(folder: Path, sizes: Mapping[str, int]) -> None:
    """Look whether segments are there, without reading them.

    Raises:
        CheckpointError: one is not, or has another size, or its name is none of a segment.
    """
    for name, size in sizes.items():
        if not NAME.fullmatch(name):
            raise CheckpointError(f"{name!r:.40} is no name of a segment")
        with _reading(folder / name) as file:
            found = os.fstat(file.fileno()).st_size
        if found != size:
            raise CheckpointError(f"segment {name[:12]} has {found} bytes, its manifest says {size}")


def opened(folder: Path, state: dict[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The state of a buffer from state.pt, with its blocks ready to be read.

    Args:
        folder: of the segments.
        state: as `stored` made it.
        sizes: of all segments, which are there.

    Raises:
        CheckpointError: the blocks are not those of such tables.
    """
    for part, where in TABLES.items():
        blocks = (state.get(part) or {}).get("blocks")
        if blocks is None:
            continue
        columns, rows, names = state[part][where], blocks["rows"], blocks["names"]
        row = sum(column[0].nbytes for column in columns.values())  # bytes
        num = {len(column) for column in columns.values()}.pop()
        if rows < 1 or len(names) != -(-num // rows):
            raise CheckpointError(f"its {len(names)} segments of {rows} rows are not those of {part} with {num} rows")
        expected = [row * min(rows, num - first) for first in range(0, num, rows)]
        if [sizes.get(name) for name in names] != expected:
            raise CheckpointError(f"its segments are not those of {part} with {num} rows of {row} bytes")
        state = state | {part: state[part] | {"blocks": Blocks(folder, rows, tuple(names))}}
    return state


def collect(folder: Path, named: Collection[str] | None) -> None:
    """Remove the segments that are not named (None: all are), and what is half-written. Only under the run's lock.

    Raises:
        DiskError: one cannot be removed.
    """
    with writing(folder):
        for path in folder.iterdir() if folder.is_dir() else ():
            unnamed = named is not None and path.name not in named and NAME.fullmatch(path.name)
            if unnamed or path.name.startswith(TEMPORARY):
                remove(path)


def give(folder: Path, names: Collection[str], other: Path) -> None:
    """Let another folder have segments too: a second name of the file where the disk has that, else a copy.

    Raises:
        OSError: one could not be read or written.
    """
    for name in names:
        made(other)
        try:
            if (folder / name).is_symlink():
                raise OSError
            os.link(folder / name, other / name)
        except OSError:
            copy_file(folder / name, other / name)
