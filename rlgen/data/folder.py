"""A folder of image files."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgen.data.images import ImageData
from rlgen.data.splits import split, tenth_by_name
from rlgen.errors import UsageError
from rlgen.memory import Room

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
GREY_MODES = {"1", "L", "LA"}
DECODING = {"L": 8, "RGB": 12}  # bytes a pixel, at most, that decoding one image takes: pillow makes copies


def from_folder(folder: Path, room: Room) -> ImageData:
    """The images under a folder; sub-folders are labels, `train` and `test` sub-folders the split."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    names = [path.relative_to(folder).as_posix() for path in paths]
    if not names:
        formats = " ".join(sorted(SUFFIXES))
        raise UsageError(f"{folder} holds no images but {len(files)} other files: put some there, of {formats}")
    has_split = {name.split("/")[0] for name in names} == {"train", "test"}
    depth = 1 if has_split else 0  # of the folders that are the labels
    classes = [name.split("/")[depth] if name.count("/") > depth else "" for name in names]
    if "" in classes and set(classes) != {""}:
        stray = paths[classes.index("")]
        raise UsageError(f"{stray} lies beside the folders that are the labels: move it into one of them")

    image = read_images(folder, paths, room)
    label = None if "" in classes else np.unique(classes, return_inverse=True)[1]  # [N]
    held_out = np.array([name.startswith("test/") for name in names]) if has_split else tenth_by_name(names)
    sha256 = {"images": hashlib.sha256(image.data).hexdigest()}
    return split(folder.resolve().name, str(folder), sha256, image, label, held_out)


def read_images(folder: Path, paths: list[Path], room: Room) -> NDArray[np.uint8]:
    """Image files of one size: [N, C, H, W], C 1 if all of them are grey, else 3.

    All headers are read first. Then each image is decoded into its place.
    """
    from PIL import ImageOps

    modes, sizes = set(), Counter[tuple[int, int]]()
    for path in paths:
        with opened(path) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;"):  # pillow would clip, not scale, them
                raise UsageError(f"{path} has more than 8 bits a channel ({image.mode}): convert it to 8 bits")
            modes.add(image.mode)
            sizes[image.size] += 1
    if len({tuple(sorted(size)) for size in sizes}) > 1:  # else the camera may have been turned
        check_sizes(folder, sizes)
    width, height = next(iter(sizes))
    mode, channels = ("L", 1) if modes <= GREY_MODES else ("RGB", 3)
    where, nbytes = f"{folder}: {len(paths)} images of {width}x{height}", width * height * channels
    room.check(where, len(paths) * nbytes + DECODING[mode] * width * height)
    room.take(where, len(paths) * nbytes)

    images, sizes = np.empty((0, channels, 0, 0), np.uint8), Counter[tuple[int, int]]()
    for i, path in enumerate(paths):
        with opened(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))  # [H, W] or [H, W, 3]
            sizes[image.size] += 1
        if i == 0:
            images = np.empty((len(paths), channels, *pixels.shape[:2]), np.uint8)  # [N, C, H, W]
        if len(sizes) == 1:
            images[i] = pixels if channels == 1 else pixels.transpose(2, 0, 1)
    check_sizes(folder, sizes)
    return images


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An image file, of which pillow has read the header alone.

    Raises:
        UsageError: it is no image, or so large that pillow takes it for an attack; also while it is decoded.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # whether there is room for it, we ask
            image = Image.open(path)
        with image:
            yield image
    except Image.DecompressionBombError:
        raise UsageError(
            f"{path} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels: make it smaller"
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"{path} is not a readable image ({type(error).__name__}): replace or remove it") from None


def check_sizes(folder: Path, sizes: Counter[tuple[int, int]]) -> None:
    """Refuse images of more than one size."""
    if len(sizes) > 1:
        common = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common(3))
        raise UsageError(f"{folder} has images of {len(sizes)} sizes ({common}, ..): resize them all to one size first")
