"""Arrays of other people as images and labels: their layout, type and range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgen.data.splits import pieces
from rlgen.errors import UsageError

ONE = 16  # pixels; [H, W, C] of no less is one image, and no row of them
CHANNELS = (1, 3, 4)  # of an image: grey, colour, colour with alpha
ALMOST = 0.01  # what rounding may put outside of 0..1
NEEDED = "it needs values in 0..1 or 0..255"


def check_images(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Refuse what are no images, before they are read.

    Args:
        shape: of the array.
        dtype: of its values.
        where: the array's name, which errors begin with.

    Raises:
        UsageError: it holds no numbers, or has another shape than images have.
    """
    if dtype.hasobject:
        raise UsageError(
            f"{where} holds Python objects: it needs numbers, all images in one array, "
            "as numpy.savez('images.npz', images=numpy.stack(list_of_images)) saves them"
        )
    if dtype.kind not in "buif":
        raise UsageError(f"{where} is {dtype}: it needs numbers in 0..1 or 0..255")
    if layout(shape) is None:
        one = "; is it one image?" if len(shape) == 3 else ""
        raise UsageError(
            f"{where} has shape {list(shape)}: it needs [N, H, W, C] or [N, C, H, W] with C 1, 3 or 4, "
            f"[N, H, W], or [N, H * H]{one}"
        )
    if 0 in shape[1:]:
        raise UsageError(f"{where} has shape {list(shape)}: its images need at least one pixel")


def layout(shape: tuple[int, ...]) -> str | None:
    """How the axes of an array of images are ordered: NHWC, NCHW, NHW, or ND for flat squares; None if it has none."""
    if len(shape) == 4:
        return "NHWC" if shape[-1] in CHANNELS else "NCHW" if shape[1] in CHANNELS else None
    if len(shape) == 3:
        return None if shape[-1] in (3, 4) and min(shape[:2]) >= ONE else "NHW"
    return "ND" if len(shape) == 2 and shape[1] >= 4 and math.isqrt(shape[1]) ** 2 == shape[1] else None


def as_images(array: NDArray[Any], where: str) -> tuple[NDArray[np.uint8], list[str]]:
    """An array of images as uint8 [N, C, H, W], in the memory that it has where it is uint8, and notes.

    Args:
        array: that `check_images` let pass.
        where: its name, which errors begin with.

    Raises:
        UsageError: its values are in no range that images have.
    """
    order, shape = layout(array.shape), array.shape
    array, note = as_bytes(np.ascontiguousarray(array), where)
    notes = [note] if note else []
    if order == "NHWC":
        return channels_first(array), notes
    if order == "ND":
        side = math.isqrt(shape[1])
        return array.reshape(len(array), 1, side, side), [*notes, f"rows of {shape[1]} are {side}x{side} images"]
    return array if order == "NCHW" else array[:, None], notes


def as_bytes(array: NDArray[Any], where: str) -> tuple[NDArray[np.uint8], str]:
    """Values as uint8 in 0..255, and a note where they were others; 0..1 is stretched."""
    if not array.size:
        return array.astype(np.uint8), ""
    low, high = (float(value) for value in (array.min(), array.max()))
    whole, span = array.dtype.kind in "bui", f"{array.dtype} from {low:g} to {high:g}"
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"{where} holds values that are not finite: {NEEDED}")
    if low < -ALMOST or (high > 1 + ALMOST and array.dtype != np.uint8 and not 127 < high <= 255):
        fix = (
            "(images + 1) / 2"
            if -1 - ALMOST <= low < 0 and high <= 1 + ALMOST
            else f"(images - {low:g}) / {high - low:g}"
        )
        raise UsageError(f"{where} is {span}: {NEEDED}, as {fix} has" if high > low else f"{where} is {span}: {NEEDED}")
    if high > 1 + ALMOST or high <= 0:
        if array.dtype == np.uint8:
            return array, ""
        stretch, note = 1.0, f"{span} is taken as 0..255"
    else:
        stretch, note = 255.0, f"{'0 and 1 are' if whole else '0..1 is'} taken as 0{' and ' if whole else '..'}255"
    if array.dtype == np.uint8:
        array *= 255
        return array, note
    result = np.empty(array.shape, np.uint8)
    for part in pieces(array):
        result[part] = np.rint((array[part] * stretch).clip(0, 255))
    return result, note


def channels_first(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [N, H, W, C] -> [N, C, H, W], in the memory that they have."""
    num, height, width, channels = image.shape
    if channels > 1:
        flat = image.reshape(num, math.prod(image.shape[1:]))  # no -1: there may be no images
        for part in pieces(image):
            flat[part] = image[part].transpose(0, 3, 1, 2).reshape(-1, flat.shape[1])  # the right side is a copy
    return image.reshape(num, channels, height, width)


def as_labels(*arrays: NDArray[Any] | None) -> tuple[list[NDArray[np.int64] | None], list[str]]:
    """Labels of the parts of a data set as integers [N], and notes; None for what are no classes.

    Integers, also as [N, 1] or in a type of floats, stay as they are; of one-hot rows the place is the label; words are
    numbered in the order of the alphabet, the same in all parts.
    """
    found = [None if array is None else single(array) for array in arrays]
    words = [array for array in found if array is not None and array.dtype.kind in "US"]
    names = np.unique(np.concatenate(words)) if words else np.empty(0)
    labels: list[NDArray[np.int64] | None] = []
    for array in found:
        if array is not None and array.dtype.kind in "US":
            array = np.searchsorted(names, array)
        labels.append(None if array is None else array.astype(np.int64))
    lost = any(array is not None and one is None for array, one in zip(arrays, found, strict=True))
    return labels, ["labels that are not one class an image are left out"] if lost else []


def single(array: NDArray[Any]) -> NDArray[Any] | None:
    """One label an image, [N] of integers or words; None for anything else."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "buif" and np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all():
        array = array.argmax(1)
    if array.ndim != 1:
        return None
    if array.dtype.kind == "f":
        return array if np.isfinite(array).all() and (array == np.rint(array)).all() else None
    return array if array.dtype.kind in "buiUS" else None
