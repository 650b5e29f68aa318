"""`rlgen sample RUN`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlgen.errors import UsageError
from rlgen.files import replaced

if TYPE_CHECKING:
    from PIL.Image import Image

    from rlgen.inference import Drawn

MOST = 10_000  # images in a picture


@dataclass(frozen=True)
class Options:
    """Draw images from a trained generative model."""

    run: str  # a name, a directory, a unique prefix, or last
    num: int = 64  # images, at most 10,000 in a .png; of whole rows at most so many; in [1, 1000000]
    show: Literal["samples", "interpolation", "neighbours", "classes"] = (
        "samples"  # or rows between two latents; samples beside the nearest training images; classes of equal latents
    )
    out: str = "samples.png"  # a .png grid, a row a class, or an .npz with `images`, uint8 [N, H, W, C], and `labels`
    seed: int = 0  # the same seed draws the same images; in [0, 2**63)
    label: int | None = None  # of all images, where a model learned labels (None: class after class); in [0, inf)
    truncation: float | None = None  # largest number in a latent: fewer kinds of images, more usual ones; in (0, inf)
    ema: bool = True  # False, or --no-ema: draw with the weights that train, not with their average
    checkpoint: str = "last"  # last, best, or a step
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> str:
    """Write the images; says how many and where."""
    out = Path(options.out)
    if out.suffix not in (".npz", ".png") or not out.parent.is_dir():
        raise UsageError(f"--out {out}: must end in .png (a grid) or .npz (`images`), in a directory that exists")
    if out.is_dir():
        raise UsageError(f"--out {out} is a directory: give the name of a file")
    if out.suffix == ".png" and options.num > MOST:
        raise UsageError(f"--num {options.num}: a picture has {MOST:,} images at most; ask for fewer, or for an .npz")
    from rlgen import inference

    drawn = inference.draw(**{name: value for name, value in vars(options).items() if name != "out"})
    if out.suffix == ".npz":
        import numpy as np

        names = ("images", "labels", "neighbours", "distances")
        arrays: dict[str, Any] = {name: value for name in names if (value := getattr(drawn, name)) is not None}
        with replaced(out) as temporary, open(temporary, "wb") as file:  # to a name it adds an ending of its own
            np.savez_compressed(file, **arrays)
    else:
        from rlgen.pictures import save_png

        save_png(picture(drawn), out)
    near = drawn.neighbours
    what = "" if near is None else f", each beside the {near.shape[1]} nearest training images by {drawn.features},"
    return f"{len(drawn.images)} image{'s' * (len(drawn.images) != 1)}{what} in {out}"


def picture(drawn: Drawn) -> Image:
    """A grid; with neighbours, columns of samples, each of which has its neighbours to its right, the nearest first."""
    from rlgen.pictures import beside, grid, in_rows

    tiles = drawn.images.transpose(0, 3, 1, 2)  # [N, C, H, W]
    if drawn.neighbours is None:
        if drawn.labels is not None and drawn.columns is None:
            return grid(*in_rows(tiles, drawn.labels))
        return grid(tiles, drawn.columns)
    near = drawn.neighbours.transpose(0, 1, 4, 2, 3)  # [N, k, C, H, W]
    num, wide = near.shape[:2]
    rows = math.ceil(num / max(1, round(math.sqrt(num / (wide + 1)))))  # about square
    parts = []
    for i in range(0, num, rows):
        pair = grid(tiles[i : i + rows], 1), grid(near[i : i + rows].reshape(-1, *tiles.shape[1:]), wide)
        parts.append(beside(pair, gap=4))
    return beside(parts, gap=24)
