"""The pixels of one image as a data set needs them: upright, opaque, of its mode and of its size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlgen.data.preparation import Preparation

MODES = {"grey": "L", "rgb": "RGB"}  # pillow's words
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def is_transparent(image: Any) -> bool:
    """Whether any pixel of an image is: many files have an alpha channel that hides nothing."""
    return image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255


def opaque(image: Any, ground: str) -> Any:
    """An image whose transparent pixels show the ground; one without them as it is."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, ground)
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def scaled(width: int, height: int, size: int) -> tuple[int, int]:
    """What the width and the height of an image become where the shorter one is to be `size`."""
    short = min(width, height)
    return (width, height) if short == size else (int(size * width / short), int(size * height / short))


def scaling(width: int, height: int, size: int) -> int:
    """Bytes that this takes, four a pixel, in two passes: of a long and thin image a thousand times its own."""
    new_width, new_height = scaled(width, height, size)
    return 4 * new_width * (height + new_height)


def fitted(image: Any, size: int) -> Any:
    """An image resized and cropped to a square, as torchvision's `Resize` and `CenterCrop` do it.

    Args:
        image: of pillow.
        size: its shorter side gets by a bilinear filter that averages what it shrinks; its middle is kept.
    """
    width, height = image.size
    width, height = scaled(width, height, size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image if width == height else image.crop((left, top, left + size, top + size))


def shape_of(images: NDArray[np.uint8], preparation: Preparation) -> tuple[int, ...]:
    """What an image of an array [N, C, H, W] becomes: (C, H, W)."""
    channels, height, width = images.shape[1:]
    size = preparation.image_size
    channels = CHANNELS[MODES[preparation.image_mode]] if preparation.image_mode in MODES else channels
    return channels, height if size is None else size, width if size is None else size


def refitted(images: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.uint8]:
    """Images of an array in another mode and size: [N, C, H, W] -> [N, C', S, S]."""
    shape = shape_of(images, preparation)
    mode = next(mode for mode, channels in CHANNELS.items() if channels == shape[0])
    result = np.empty((len(images), *shape), np.uint8)
    for own, pixels in zip(result, images, strict=True):
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        if image.mode != mode:
            image = opaque(image, preparation.image_ground).convert(mode)
        own[:] = planes(image if preparation.image_size is None else fitted(image, preparation.image_size))
    return result


def planes(image: Any) -> NDArray[np.uint8]:
    """An image of pillow as an array [C, H, W]."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
