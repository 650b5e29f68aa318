"""What is made of images when they are read: options of every run that learns from images. No NumPy here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Preparation:
    """Size, colour and ground of images, and how many are held out."""

    # fixed: what its networks know
    # other scores: image size
    image_size: int | None = None  # shorter side resized to this, centre cropped to a square; in [2, 4096]
    # fixed: what its networks know
    # other scores: image mode
    image_mode: Literal["auto", "grey", "rgb"] = "auto"  # auto is grey where all files are
    # fixed: what its networks know
    # other scores: image ground
    image_ground: Literal["white", "black"] = "white"  # what transparent pixels of image files show
    # fixed: what it has learned from
    # other scores: held-out images
    holdout: float | None = None  # share that is held out (None: the split the data have, else a tenth); in (0, 1)
    # fixed: what it has learned from
    # other scores: held-out images
    holdout_seed: int = 0  # chooses the images of that share; in [0, 2**32)

    def share(self) -> str:
        """Which images are held out where the data have no split of their own, for the line about them."""
        seed = f" (seed {self.holdout_seed})" if self.holdout_seed else ""
        return ("a tenth" if self.holdout is None else f"a share of {self.holdout:g}") + " is held out" + seed


AS_THEY_ARE = Preparation()
