"""Data sets: uint8 images [N, C, H, W] in memory, with a held-out part that training never touches.

A known name is looked for under `--data-dir`, else `$RLGEN_DATA`, then in the user's cache, and downloaded into the
cache when it is nowhere. Anything else is a path: an `.npz`, a folder of IDX files or a folder of images.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

from rlgen.data import given, pixels
from rlgen.data.files import digests, find_files
from rlgen.data.find import MADE, load_known
from rlgen.data.folder import from_folder, from_zip
from rlgen.data.images import ImageData
from rlgen.data.known import IDX_FILES, KNOWN, meant
from rlgen.data.npz import from_npz
from rlgen.data.preparation import AS_THEY_ARE, Preparation
from rlgen.data.readers import from_cifar, from_idx
from rlgen.data.splits import held_out_part
from rlgen.data.tree import is_image
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
    if asked is not None:
        preparation = replace(preparation, holdout=None)
    return refitted(read(name_or_path, data_dir, room, preparation, asked), preparation, room)


def read(name_or_path: str, data_dir: str | None, room: Room, preparation: Preparation, asked: str | None) -> ImageData:
    """A data set of any kind; arrays still have the size and mode that they have in their files."""
    path = Path(name_or_path).expanduser()
    if name_or_path in KNOWN:
        held_out_part(name_or_path, ("train", "test"), asked, preparation)
        if name_or_path in MADE:
            return MADE[name_or_path](preparation)
        return load_known(name_or_path, data_dir, room, preparation)
    if os.path.isdir(path):
        return read_folder(path, room, preparation, asked)
    if os.path.isfile(path):
        if path.suffix == ".zip":
            return from_zip(path, room, preparation, asked)
        if path.suffix in (".npz", ".npy"):
            return from_npz(path, room, preparation, asked)
        raise UsageError(
            f"data {name_or_path!r} is not a data set: give {hint(path)}an .npz or .npy, a folder or a .zip of images, "
            "or a folder of IDX files"
        )
    if given.NAME.fullmatch(name_or_path):
        return given.from_held(name_or_path, room, preparation, asked)
    names = " or ".join(map(repr, meant(name_or_path)))
    raise UsageError(
        f"data {name_or_path!r} is neither a known data set ({', '.join(KNOWN)}) nor an existing file or folder"
        + (f"; did you mean {names}?" if names else "")
    )


def read_folder(path: Path, room: Room, preparation: Preparation, asked: str | None) -> ImageData:
    """A folder of IDX files or batches, also one that torchvision or Keras made, or of images."""
    name = path.resolve().name
    for folder in (path, path / "raw"):
        files = find_files(folder, IDX_FILES, room)
        if files or any(folder.glob("*-ubyte*")):
            held_out_part(str(path), ("train", "test") if IDX_FILES[2] in files else (), asked, preparation)
            return from_idx(
                path.resolve().parent.name if name == "raw" else name, str(folder), files, digests(files), preparation
            )
    for known in ("cifar10", "cifar100"):
        for folder in (path, *(path / folder for folder in KNOWN[known].folders)):
            if all(os.path.isfile(folder / file) for file in KNOWN[known].sha256):
                held_out_part(str(path), ("train", "test"), asked, preparation)
                files = find_files(folder, KNOWN[known].sha256, room)
                return from_cifar(known, str(folder), files, digests(files), preparation)
    return from_folder(path, room, preparation, asked)


def hint(path: Path) -> str:
    """What to give in place of a file that is part of a data set."""
    for known, entry in KNOWN.items():
        if path.name == entry.archive:
            return f"--data {known} --data-dir {path.parent}, "
    if is_image(path.name) or "-ubyte" in path.name:
        return f"its folder, {path.parent}, "
    return "its unpacked folder, " if ".tar" in path.name or path.suffix in (".tgz", ".7z", ".rar") else ""


def refitted(data: ImageData, preparation: Preparation, room: Room) -> ImageData:
    """A data set of arrays in another mode and size, or as it is."""
    images = []
    for image in (data.train, data.test):
        shape = pixels.shape_of(image, preparation)
        if shape != image.shape[1:]:
            room.take(f"{data.source}: {len(image)} images {list(shape)}", len(image) * math.prod(shape))
            if preparation.image_size is not None:
                height, width = image.shape[2:]
                room.check(f"{data.source}: an image of {width}x{height}", pixels.scaling(width, height, shape[-1]))
            image = pixels.refitted(image, preparation)
        images.append(image)
    if images[0] is data.train:
        return data
    note = "made of {2}x{1} images with {0} channels".format(*data.train.shape[1:])
    return replace(data, train=images[0], test=images[1], notes=(*data.notes, note))
