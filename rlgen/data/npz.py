"""An `.npz` or `.npy` of images: what it holds is known from its headers before any of it is read."""

from __future__ import annotations

import contextlib
import io
import math
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rlgen.data.arrays import as_images, as_labels, check_images, layout
from rlgen.data.files import file_digest, reason
from rlgen.data.images import ImageData
from rlgen.data.preparation import Preparation
from rlgen.data.splits import held_out_part, join, part_of
from rlgen.errors import UsageError
from rlgen.memory import Room

OURS = {"images", "labels", "test_images", "test_labels"}
HEADER = 10_000  # bytes, at most: NumPy reads no longer one
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
IMAGE = ("images", "image", "imgs", "img", "x", "samples", "inputs", "pictures", "faces", "data", "features")
LABEL = ("labels", "label", "y", "targets", "target", "classes")
WORD = rf"(?P<word>{'|'.join(sorted(IMAGE + LABEL, key=len, reverse=True))})"
ROLE = re.compile(  # as images, x_train, trainX, test_images, y
    rf"{WORD}|(?P<part>train|training|val|valid|validation|test|testing)(?:[-_. ]?{WORD.replace('word', 'last')})?|"
    rf"{WORD.replace('word', 'first')}[-_. ]?(?P<end>train|training|val|valid|validation|test|testing)",
    re.IGNORECASE,
)


class Array(NamedTuple):
    """An array of which the header is known."""

    name: str
    where: str  # for errors
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    load: Callable[[], NDArray[Any]]  # a copy of its own

    def read(self, room: Room) -> NDArray[Any]:
        """All of it.

        Raises:
            UsageError: it does not fit in memory.
        """
        num = math.prod(self.shape)
        nbytes = num * self.dtype.itemsize * (2 if self.fortran else 1) + num * (self.dtype != np.uint8)
        room.take(f"{self.where} {list(self.shape)}", nbytes)
        return self.load()


def from_npz(path: Path, room: Room, preparation: Preparation, asked: str | None) -> ImageData:
    """The data set in an `.npz`, under the usual names of its arrays, or the images in an `.npy`.

    Raises:
        UsageError: it cannot be read, or as `from_arrays`.
    """
    with readable(path), arrays(path) as found:
        data = from_arrays(path.stem, str(path), found, {}, room, preparation, asked)
        return replace(data, sha256={path.name: file_digest(path)})  # last: a file that is too large is not read for it


def from_arrays(
    name: str,
    source: str,
    found: list[Array],
    sha256: dict[str, str],
    room: Room,
    preparation: Preparation,
    asked: str | None,
) -> ImageData:
    """A data set of arrays under the usual names.

    Args:
        name: of the data set.
        source: where they are; errors begin with it.
        found: the arrays.
        sha256: by file.
        room: that they take from.
        preparation: how many are held out.
        asked: the part of the split that is held out, where it is not the usual one.

    Raises:
        UsageError: they hold no images, or do not fit in memory.
    """
    roles = by_role(source, found)
    held = held_out_part(source, {part for part, kind in roles if kind == "image"}, asked, preparation)
    used = {role: array for role, array in roles.items() if role[0] in ("train", held)}
    for (_, kind), array in used.items():
        if kind == "image":
            check_images(array.shape, array.dtype, array.where)
    used = {role: array for role, array in used.items() if not array.dtype.hasobject}  # labels: only pickle reads it
    read = {role: array.read(room) for role, array in used.items()}
    image, notes = as_images(read["train", "image"], used["train", "image"].where)
    test = None
    if held:
        test, more = as_images(read[held, "image"], used[held, "image"].where)
        notes += [note for note in more if note not in notes]
    (label, test_label), lost = as_labels(read.get(("train", "label")), read.get((held or "", "label")))
    data = join(name, source, sha256, image, test, label, test_label, preparation)

    names = [array.name for array in used.values()]
    if not OURS.issuperset(names):
        notes.insert(0, f"arrays {', '.join(names)}")
    others = [array.name for array in found if array.name not in names]
    return data.noting(*notes, *lost, *([f"left aside: {', '.join(others)}"] if others else []))


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say in one line that a file is broken, whatever reading it raises."""
    try:
        yield
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # a malformed zip can raise anything
        save = f"save it with numpy.save{'z' if path.suffix == '.npz' else ''}"
        raise UsageError(f"{path} cannot be read as {path.suffix} ({reason(error)}): {save}") from None


@contextlib.contextmanager
def arrays(path: Path) -> Iterator[list[Array]]:
    """The arrays of an `.npz`, or the one in an `.npy`; only their headers are read."""
    if path.suffix == ".npy":
        yield [header("images", str(path), partial(io.FileIO, path))]
        return
    with zipfile.ZipFile(path) as archive:
        found = []
        for info in archive.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # and grows without a limit
                raise ValueError(f"{info.filename} is compressed in another way than NumPy does")
            name = info.filename.removesuffix(".npy")
            found.append(header(name, f"{path}: {name}", partial(archive.open, info)))
        yield found


def header(name: str, where: str, open: Callable[[], IO[bytes]]) -> Array:
    """What the header of an array in a file says."""
    with open() as stream:
        start = io.BytesIO(stream.read(HEADER))

    def load() -> NDArray[Any]:
        with open() as stream:
            return npy.read_array(stream, allow_pickle=False)  # of what its header says, and no more

    return Array(name, where, *HEADERS[npy.read_magic(start)](start), load)


def by_role(source: str, found: list[Array]) -> dict[tuple[str, str], Array]:
    """Arrays by part of the split and kind, image or label; of several that fit, that of the more usual name.

    Raises:
        UsageError: none of them are images.
    """
    roles: dict[tuple[str, str], tuple[int, Array]] = {}
    for array in found:
        if match := ROLE.fullmatch(array.name):
            word = (match["word"] or match["first"] or match["last"] or "images").lower()
            kind, rank = ("image", IMAGE.index(word)) if word in IMAGE else ("label", LABEL.index(word))
            role = part_of(match["part"] or match["end"] or "train") or "", kind
            if role not in roles or rank < roles[role][0]:
                roles[role] = rank, array
    chosen = {role: array for role, (_, array) in sorted(roles.items(), key=lambda item: found.index(item[1][1]))}
    if not any(kind == "image" for _, kind in chosen):
        pictures = [array for array in found if array.dtype.hasobject or (len(array.shape) > 1 and layout(array.shape))]
        if found and found[0].name == "arr_0":  # saved without names: images, then maybe labels
            chosen["train", "image"] = found[0]
            if len(found) > 1 and found[1].shape[:1] == found[0].shape[:1] and len(found[1].shape) < 3:
                chosen["train", "label"] = found[1]
        elif len(pictures) == 1:
            chosen["train", "image"] = pictures[0]
        else:
            others = ", ".join(array.name for array in found) or "nothing"
            raise UsageError(f"{source} holds {others}: it needs `images`, [N, H, W, C], [N, C, H, W] or [N, H, W]")
    return chosen
