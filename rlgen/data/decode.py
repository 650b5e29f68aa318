"""Image files as one array; all that cannot be read are named at once."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgen.errors import UsageError
from rlgen.memory import Room

GREY_MODES = {"1", "L", "LA"}
DECODING = {"L": 8, "RGB": 12}  # bytes a pixel, at most, that decoding one image takes: pillow makes copies
NAMED = 50  # bad files, at most, that a message names
NO_IMAGE = ("no readable image", "replace or remove {}")
NO_FILE = ("no file but a link to nothing or a device", "remove {}")
DEEP = ("of more than 8 bits a channel", "convert {} to 8 bits")  # pillow would clip, not scale, them
HUGE = ("of more than {:,} pixels", "make {} smaller")


class Bad(Exception):
    """A file that is refused: why, and what to do."""


def read_images(folder: str, paths: Sequence[Path], names: Sequence[str], room: Room) -> NDArray[np.uint8]:
    """Image files of one size: [N, C, H, W], C 1 if all of them are grey, else 3.

    All headers are read first. Then each image is decoded into its place.

    Args:
        folder: they are in; errors begin with it.
        paths: of the files.
        names: of the files, for errors.
        room: that the images take from.

    Raises:
        UsageError: files that cannot be read, images of several sizes, or more than fits in memory.
    """
    from PIL import ImageOps

    bad: dict[str, Bad] = {}
    modes, sizes = set(), Counter[tuple[int, int]]()
    for path, name in zip(paths, names, strict=True):
        with noted(bad, name), opened(path) as image:
            modes.add(image.mode)
            sizes[image.size] += 1
    refuse(folder, bad)
    if len({tuple(sorted(size)) for size in sizes}) > 1:  # else the camera may have been turned
        check_sizes(folder, sizes)
    width, height = next(iter(sizes))
    mode, channels = ("L", 1) if modes <= GREY_MODES else ("RGB", 3)
    where, nbytes = f"{folder}: {len(paths)} images of {width}x{height}", width * height * channels
    room.check(where, len(paths) * nbytes + DECODING[mode] * width * height)
    room.take(where, len(paths) * nbytes)

    images, sizes = np.empty((0, channels, 0, 0), np.uint8), Counter[tuple[int, int]]()
    for i, (path, name) in enumerate(zip(paths, names, strict=True)):
        with noted(bad, name), opened(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))  # [H, W] or [H, W, 3]
            sizes[image.size] += 1
            if len(images) == 0:
                images = np.empty((len(paths), channels, *pixels.shape[:2]), np.uint8)  # [N, C, H, W]
            if len(sizes) == 1:
                images[i] = pixels if channels == 1 else pixels.transpose(2, 0, 1)
    refuse(folder, bad)
    check_sizes(folder, sizes)
    return images


@contextlib.contextmanager
def noted(bad: dict[str, Bad], name: str) -> Iterator[None]:
    """Keep what is wrong with a file, and go on with the next one."""
    try:
        yield
    except Bad as error:
        bad[name] = error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An image file, of which pillow has read the header alone.

    Raises:
        Bad: it is no image, or of a kind that is not read; also while it is decoded.
    """
    from PIL import Image

    if not path.is_file():  # a pipe would be waited for
        raise Bad(*NO_FILE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # whether there is room for it, we ask
            image = Image.open(path)
        with image:
            if image.mode in ("I", "F") or image.mode.startswith("I;"):
                raise Bad(*DEEP)
            yield image
    except Bad:
        raise
    except Image.DecompressionBombError:
        raise Bad(HUGE[0].format(2 * (Image.MAX_IMAGE_PIXELS or 0)), HUGE[1]) from None
    except Exception:  # a malformed file can raise anything
        raise Bad(*NO_IMAGE) from None


def refuse(folder: str, bad: dict[str, Bad]) -> None:
    """Name all files that are refused, by what is wrong with them.

    Args:
        folder: they are in.
        bad: by name.

    Raises:
        UsageError: there are some.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, error in bad.items():
        groups.setdefault(error.args, []).append(name)
    said = []
    for (what, fix), names in groups.items():
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        count = "a file that is" if len(names) == 1 else f"{len(names):,} files that are"
        fix = fix.format("it" if len(names) == 1 else "them")
        said.append(f"{count} {what} ({', '.join(names[:NAMED])}{more}): {fix}")
    if said:
        raise UsageError(f"{folder} has {'; '.join(said)}")


def check_sizes(folder: str, sizes: Counter[tuple[int, int]]) -> None:
    """Refuse images of more than one size."""
    if len(sizes) > 1:
        common = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common(3))
        raise UsageError(f"{folder} has images of {len(sizes)} sizes ({common}, ..): resize them all to one size first")
