"""Few colour pictures, for models of few images: `python -m rlgen.bench.shapes OUT.npz`.

Each shows one of six shapes on a ground of two colours. Colours, place, size and angle are random, so no two are alike.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CORNERS = {"triangle": (3, 1.0), "square": (4, 1.0), "hexagon": (6, 1.0), "star": (10, 0.45), "cross": (8, 0.3)}
KINDS = (*CORNERS, "ring")  # of CORNERS: how many corners, and the distance of every second one from the middle
FINER = 4  # drawn so much larger and then shrunk, for smooth edges


def draw(random: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """One picture: uint8 [size, size, 3]."""
    large = FINER * size
    shape, *ground = (Image.new("HSV", (1, 1), colour(random)).convert("RGB").getpixel((0, 0)) for _ in range(3))
    image = Image.fromarray(gradient(random, large, np.array(ground, float)))
    middle, radius = random.uniform(0.3, 0.7, 2) * large, random.uniform(0.15, 0.3) * large
    kind, pen = KINDS[random.integers(len(KINDS))], ImageDraw.Draw(image)
    if kind == "ring":
        pen.ellipse((*(middle - radius), *(middle + radius)), outline=shape, width=round(0.4 * radius))
    else:
        num, inner = CORNERS[kind]
        angle = random.uniform(0, 2 * math.pi) + np.arange(num) * 2 * math.pi / num
        far = radius * np.where(np.arange(num) % 2, inner, 1.0)
        corners = middle + far[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        pen.polygon([tuple(corner) for corner in corners], fill=shape)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def colour(random: np.random.Generator) -> tuple[int, int, int]:
    """Hue, saturation and value, of 256 each."""
    return int(random.integers(256)), int(random.integers(96, 256)), int(random.integers(96, 256))


def gradient(random: np.random.Generator, size: int, colours: NDArray[np.float64]) -> NDArray[np.uint8]:
    """From one of two colours [2, 3] to the other, in a random direction: uint8 [size, size, 3]."""
    angle = random.uniform(0, 2 * math.pi)
    place = np.linspace(-0.5, 0.5, size)
    share = 0.5 + (place * math.cos(angle) + place[:, None] * math.sin(angle)) / math.sqrt(2)  # [size, size], 0 to 1
    return (colours[0] + share[..., None] * (colours[1] - colours[0])).astype(np.uint8)


def shapes(num: int, size: int = 48, seed: int = 0) -> NDArray[np.uint8]:
    """Pictures: uint8 [num, size, size, 3]; the same for the same seed, and the first ones for a smaller number."""
    return np.stack([draw(np.random.default_rng((seed, index)), size) for index in range(num)])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="write few training pictures and more held-out ones to an .npz")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    parser.add_argument("--train", type=int, default=300, metavar="N")
    parser.add_argument("--test", type=int, default=5_000, metavar="N")
    parser.add_argument("--size", type=int, default=48, metavar="PIXELS")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    images = shapes(asked.train + asked.test, asked.size, asked.seed)
    np.savez_compressed(asked.out, x_train=images[: asked.train], x_test=images[asked.train :])


if __name__ == "__main__":
    main()
