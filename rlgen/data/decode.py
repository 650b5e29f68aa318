"""Image files as one array; all that cannot be read are named at once."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rlgen.data.pixels import CHANNELS, MODES, fitted, is_transparent, opaque, planes, scaling
from rlgen.data.preparation import Preparation
from rlgen.errors import UsageError
from rlgen.memory import Room

GREY_MODES = {"1", "L", "LA"}
DECODING = {"L": 8, "RGB": 12}  # bytes a pixel, at most, that decoding one image takes: pillow makes copies
ALPHA = 12  # and more, where it may have transparent pixels
ORIENTATION = 0x0112  # a tag of EXIF; 1 is upright
SMALL = 2**24  # pixels of an image that is decoded only to see whether it can be
NAMED = 50  # bad files, at most, that a message names
NO_IMAGE = ("no readable image", "replace or remove {}")
NO_FILE = ("no file but a link to nothing or a device", "remove {}")
DEEP = ("of more than 8 bits a channel", "convert {} to 8 bits")  # pillow would clip, not scale, them
HUGE = ("of more than {:,} pixels", "make {} smaller")


Source = Path | Callable[[], IO[bytes]]  # of a file: where it is, or what opens it


class Bad(Exception):
    """A file that is refused: why, and what to do."""


def read_images(
    folder: str, files: Mapping[str, Source], room: Room, preparation: Preparation
) -> tuple[NDArray[np.uint8], list[str]]:
    """Image files as an array, and what became of them.

    All headers are read first. Then each image is decoded into its place.

    Args:
        folder: they are in; errors begin with it.
        files: by name.
        room: that the images take from.
        preparation: their size and mode; without these they have to be of one size and are grey if all of them are.

    Returns:
        [N, C, H, W], and notes.

    Raises:
        UsageError: files that cannot be read, images of several sizes, or more than fits in memory.
    """
    bad: dict[str, Bad] = {}
    modes, sizes, seen = set(), Counter[tuple[int, int]](), Counter[str]()
    for name, file in files.items():
        with noted(bad, name), opened(file) as image:
            modes.add(image.mode)
            sizes[image.size] += 1
            seen["alpha"] += image.has_transparency_data
            seen["frames"] += getattr(image, "is_animated", False)
    if bad:  # those that are cut off are named with the others
        for name in files.keys() - bad.keys():
            with noted(bad, name), opened(files[name]) as image:
                if math.prod(image.size) <= SMALL:
                    image.load()
    refuse(folder, {name: bad[name] for name in files if name in bad})
    size, auto = preparation.image_size, "L" if modes <= GREY_MODES else "RGB"
    if size is None and len({tuple(sorted(one)) for one in sizes}) > 1:  # else the camera may have been turned
        check_sizes(folder, sizes)
    mode = MODES.get(preparation.image_mode, auto)
    channels, largest = CHANNELS[mode], max(sizes, key=lambda one: one[0] * one[1])
    shape = (channels, *largest[::-1]) if size is None else (channels, size, size)
    where, nbytes = f"{folder}: {len(files)} images of {shape[2]}x{shape[1]}", math.prod(shape)
    decoding = (DECODING[auto] + ALPHA * (seen["alpha"] > 0)) * math.prod(largest)
    room.check(where, len(files) * nbytes + decoding)
    if size is not None:
        longest = max(sizes, key=lambda one: scaling(one[0], one[1], size))
        extra = scaling(longest[0], longest[1], size)
        room.check(f"{folder}: an image of {longest[0]}x{longest[1]}", len(files) * nbytes + extra)
    room.take(where, len(files) * nbytes)

    images, final = np.empty((0, channels, 0, 0), np.uint8), Counter[tuple[int, int]]()
    for i, (name, file) in enumerate(files.items()):
        with noted(bad, name), opened(file) as image:
            seen["transparent"] += is_transparent(image)
            seen["turned"] += image.getexif().get(ORIENTATION, 1) != 1
            ImageOps.exif_transpose(image, in_place=True)
            plain = opaque(image, preparation.image_ground)
            plain = plain if plain.mode == mode else plain.convert(mode)
            pixels = planes(plain if size is None else fitted(plain, size))  # [C, H, W]
            final[plain.size if size is None else (size, size)] += 1
            if len(images) == 0:
                images = np.empty((len(files), *pixels.shape), np.uint8)  # [N, C, H, W]
            if len(final) == 1:
                images[i] = pixels
    refuse(folder, bad)
    check_sizes(folder, final)
    return images, said(sizes, seen, preparation)


def said(sizes: Counter[tuple[int, int]], seen: Counter[str], preparation: Preparation) -> list[str]:
    """What became of images, for the line about them."""
    size = preparation.image_size
    notes = []
    if size is not None and set(sizes) != {(size, size)}:
        before = f"images of {len(sizes)} sizes" if len(sizes) > 1 else "{}x{} images".format(*next(iter(sizes)))
        notes.append(f"{before} are resized and cropped")
    for what, words in (
        ("transparent", f"with transparent pixels shown on {preparation.image_ground}"),
        ("turned", "turned as the camera says"),
        ("frames", "of several frames, of which the first is read"),
    ):
        if seen[what]:
            notes.append(f"{seen[what]:,} {words}")
    return notes


@contextlib.contextmanager
def noted(bad: dict[str, Bad], name: str) -> Iterator[None]:
    """Keep what is wrong with a file, and go on with the next one."""
    try:
        yield
    except Bad as error:
        bad[name] = error


@contextlib.contextmanager
def opened(file: Source) -> Iterator[Any]:
    """An image file, of which pillow has read the header alone.

    Raises:
        Bad: it is no image, or of a kind that is not read; also while it is decoded.
    """
    if isinstance(file, Path) and not file.is_file():  # a pipe would be waited for
        raise Bad(*NO_FILE)
    stream = file if isinstance(file, Path) else file()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # whether there is room for it, we ask
            image = Image.open(stream)
        with image:
            if image.mode in ("I", "F") or image.mode.startswith("I;"):
                raise Bad(*DEEP)
            yield image
    except (Bad, MemoryError):
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
        side = 2 ** min(6, int(math.log2(min(map(min, sizes)))))
        raise UsageError(
            f"{folder} has images of {len(sizes)} sizes ({common}{', ..' if len(sizes) > 3 else ''}): "
            f"--image-size {max(2, side)} resizes and crops them all"
        )
