"""Pictures: images in a grid, and what every plot looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlgen.errors import UsageError
from rlgen.files import replaced

TILE = 56  # pixels a small image is enlarged to, about
# of curves: Okabe and Ito 2008, less black
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999933")
INK, FAINT = ("#222222", "#d8d8d8"), ("#dddddd", "#3a3d42")  # text and grid, on a light page and on a dark one


def to_uint8(images: Any) -> NDArray[np.uint8]:
    """What is written to disk and shown.

    Args:
        images: [N, C, H, W], an array or a tensor on any device; float in [0, 1] (clipped, NaN is 0) or uint8.

    Returns:
        [N, H, W, C], contiguous.
    """
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if array.dtype != np.uint8:
        array = np.rint(np.nan_to_num(array, nan=0.0).clip(0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def grid(images: Any, columns: int | None = None, padding: int = 2) -> Image.Image:
    """Images side by side, row by row on white, small ones enlarged by a whole factor with sharp pixels.

    Args:
        images: [N, C, H, W] as `to_uint8` takes them; C is 1, 3 or 4.
        columns: images a row; the default makes the picture about square.
        padding: pixels between the images and around them.
    """
    tiles = to_uint8(images)  # [N, H, W, C]
    num, height, width, channels = tiles.shape
    if num == 0:
        raise UsageError("a grid needs at least one image, got 0: ask for 1 or more")
    columns = min(columns or math.ceil(math.sqrt(num)), num)
    scale = max(1, round(TILE / max(height, width)))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale + padding, width * scale + padding
    canvas = np.full((math.ceil(num / columns) * height + padding, columns * width + padding, channels), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height + padding, i % columns * width + padding
        canvas[top : top + height - padding, left : left + width - padding] = tile
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def in_rows(images: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[Any], int | None]:
    """A row a class, filled up with white images, and how many are in a row, for `grid`.

    Images of one class, or one of each, stay as they are: None are in a row.

    Args:
        images: uint8 [N, C, H, W], those of one class after those of another.
        labels: their classes, [N].
    """
    counts = np.unique(labels, return_counts=True)[1]
    columns = int(counts.max())
    if min(columns, len(counts)) == 1:
        return images, None
    rows = np.full((len(counts), columns, *images.shape[1:]), 255, images.dtype)
    rows[np.arange(columns) < counts[:, None]] = images
    return rows.reshape(-1, *images.shape[1:]), columns


def beside(pictures: Sequence[Image.Image], gap: int) -> Image.Image:
    """Pictures of one mode, such as grids, from left to right on white with a gap between them, aligned at the top."""
    width = sum(each.size[0] for each in pictures) + gap * (len(pictures) - 1)
    canvas = Image.new(pictures[0].mode, (width, max(each.size[1] for each in pictures)), "white")
    left = 0
    for each in pictures:
        canvas.paste(each, (left, 0))
        left += each.size[0] + gap
    return canvas


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write a picture as a PNG.

    Raises:
        DiskError: it cannot be written; a file of before is as it was.
    """
    with replaced(path) as temporary:
        image.save(temporary, format="PNG")


def theme() -> Any:
    """Settings of matplotlib for a light page."""
    coloured = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK[0])
    return coloured | {
        "grid.color": FAINT[0],
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "font.size": 9.5,
        "svg.hashsalt": "rlgen",  # the same plot is the same file
    }
