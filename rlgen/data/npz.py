"""An `.npz` of images: what it holds is known from its headers before any of it is read."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rlgen.data.files import file_digest, reason
from rlgen.data.images import ImageData
from rlgen.data.preparation import Preparation
from rlgen.data.splits import join, pieces
from rlgen.errors import UsageError
from rlgen.memory import Room

ARRAYS = ("images", "test_images", "labels", "test_labels")
HEADER = 10_000  # bytes, at most: NumPy reads no longer one
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def from_npz(path: Path, room: Room, preparation: Preparation) -> ImageData:
    """The data set in an `.npz`: `images`, and maybe `labels`, `test_images` and `test_labels`."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if "images" not in found:
                others = ", ".join(found) or "nothing"
                raise UsageError(f"{path} holds {others}: it needs `images`, uint8 [N, H, W, C] or [N, H, W]")
            held = {name: read_array(archive, found[name], f"{path}: {name}", room) for name in ARRAYS if name in found}
        sha256 = {path.name: file_digest(path)}
    except UsageError:
        raise
    except Exception as error:  # a malformed zip can raise anything
        raise UsageError(f"{path} cannot be read as .npz ({reason(error)}): save it with numpy.savez") from None
    image = channels_first(held["images"])
    test = channels_first(held["test_images"]) if "test_images" in held else None
    return join(path.stem, str(path), sha256, image, test, held.get("labels"), held.get("test_labels"), preparation)


def read_array(archive: zipfile.ZipFile, name: str, where: str, room: Room) -> NDArray[Any]:
    """An array of images or labels.

    Args:
        archive: the `.npz`.
        name: of its member.
        where: the array's name, which errors begin with.
        room: that it takes from.

    Raises:
        UsageError: it is neither, or does not fit in memory.
    """
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in another way than NumPy does")  # and grows without a limit
    with archive.open(name) as stream:
        start = io.BytesIO(stream.read(HEADER))
    shape, fortran, dtype = HEADERS[npy.read_magic(start)](start)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if where.endswith("images"):
        if dtype != np.uint8:
            raise UsageError(f"{where} is {dtype}: it needs uint8 in 0..255, (255 * images).round().astype('uint8')")
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[-1] not in (1, 3, 4)):
            raise UsageError(f"{where} has shape {list(shape)}: it needs [N, H, W, C] with C 1, 3 or 4, or [N, H, W]")
    elif dtype.kind not in "iu" or len(shape) != 1:
        raise UsageError(f"{where} is {dtype} {list(shape)}: it needs integers [N]")
    nbytes = math.prod(shape) * dtype.itemsize
    room.take(f"{where} {list(shape)}", nbytes * (2 if fortran else 1))
    with archive.open(name) as stream:
        return npy.read_array(stream, allow_pickle=False)  # of what its header says, and no more


def channels_first(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [N, H, W, C] or [N, H, W] -> [N, C, H, W], in the memory that they have."""
    num, height, width, channels = image.shape if image.ndim == 4 else (*image.shape, 1)
    image = np.ascontiguousarray(image).reshape(num, height, width, channels)
    if channels > 1:
        flat = image.reshape(num, -1)
        for part in pieces(image):
            flat[part] = image[part].transpose(0, 3, 1, 2).reshape(-1, flat.shape[1])  # the right side is a copy
    return image.reshape(num, channels, height, width)
