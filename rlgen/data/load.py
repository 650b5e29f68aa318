"""Data sets: uint8 images [N, C, H, W] in memory, with a held-out part that training never touches.

A known name is looked for under `--data-dir`, else `$RLGEN_DATA`, then in the user's cache, and downloaded into the
cache when it is nowhere. Anything else is a path: an `.npz`, a folder of IDX files or a folder of images.
"""

from __future__ import annotations

import difflib
import math
import os
from dataclasses import replace
from pathlib import Path

from rlgen.data import pixels
from rlgen.data.files import digests, find_files
from rlgen.data.find import load_digits, load_known
from rlgen.data.folder import from_folder, from_zip
from rlgen.data.images import ImageData
from rlgen.data.known import IDX_FILES, KNOWN
from rlgen.data.npz import from_npz
from rlgen.data.preparation import AS_THEY_ARE, Preparation
from rlgen.data.readers import from_idx
from rlgen.errors import UsageError
from rlgen.memory import Room


def load(
    name_or_path: str,
    data_dir: str | None = None,
    max_memory: str | None = None,
    preparation: Preparation = AS_THEY_ARE,
    asked: str | None = None,
) -> ImageData:
    """Read a data set into memory.

    Args:
        name_or_path: a name of `known()`, an `.npz` (`images` uint8 NHWC or NHW, maybe `labels`, `test_images`,
            `test_labels`), a folder of IDX files, or a folder of images (sub-folders are labels; `train`, `val` and
            `test` are the split, however they are spelled). A name wins over a folder in the working directory: write
            `./mnist` for that.
        data_dir: where to look for a known data set, in its folder `data_dir/NAME` and in `data_dir` itself.
        max_memory: that its images may take, as `8GB`; None is what is at hand.
        preparation: size and mode of the images.
        asked: the part of the split that is held out, val or test (None: val, where there is one).

    Raises:
        UsageError: an unknown name, missing or malformed files, or more than fits in memory; the line names the file
            and the fix.
        DiskError: the cache cannot be written.
    """
    room = Room(max_memory)
    path = Path(name_or_path).expanduser()
    if name_or_path not in KNOWN and os.path.isdir(path):
        files = find_files(path, IDX_FILES, room)
        if not files and not any(path.glob("*-ubyte*")):
            return from_folder(path, room, preparation, asked)
        data = from_idx(path.resolve().name, str(path), files, digests(files), preparation)
    elif name_or_path not in KNOWN and path.suffix == ".zip" and os.path.isfile(path):
        return from_zip(path, room, preparation, asked)
    else:
        data = read_arrays(name_or_path, data_dir, room, preparation, asked)
    return refitted(data, preparation, room)


def read_arrays(
    name_or_path: str, data_dir: str | None, room: Room, preparation: Preparation, asked: str | None
) -> ImageData:
    """A known data set, or one file."""
    if name_or_path == "digits":
        return load_digits(preparation)
    if name_or_path in KNOWN:
        return load_known(name_or_path, data_dir, room, preparation)
    path = Path(name_or_path).expanduser()
    if path.suffix in (".npz", ".npy") and os.path.isfile(path):
        return from_npz(path, room, preparation, asked)
    if os.path.isfile(path):
        raise UsageError(f"data {name_or_path!r} is not a data set: give an .npz, a folder of images or of IDX files")
    close = difflib.get_close_matches(name_or_path, KNOWN, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UsageError(
        f"data {name_or_path!r} is neither a known data set ({', '.join(KNOWN)}) nor an existing file or folder{hint}"
    )


def refitted(data: ImageData, preparation: Preparation, room: Room) -> ImageData:
    """A data set of arrays in another mode and size, or as it is."""
    images = []
    for image in (data.train, data.test):
        shape = pixels.shape_of(image, preparation)
        if shape != image.shape[1:]:
            room.take(f"{data.source}: {len(image)} images {list(shape)}", len(image) * math.prod(shape))
            image = pixels.refitted(image, preparation)
        images.append(image)
    if images[0] is data.train:
        return data
    note = "made of {2}x{1} images with {0} channels".format(*data.train.shape[1:])
    return replace(data, train=images[0], test=images[1], notes=(*data.notes, note))
