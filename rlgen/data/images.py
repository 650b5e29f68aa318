"""Images in memory, training and held out, and what a model is told of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageSpec:
    """What a generative model needs to know of its images."""

    shape: tuple[int, int, int]  # [C, H, W]
    num_classes: int | None = None  # where there are labels
    sha256: str = ""  # of all of them
    classes: tuple[int, ...] | None = None  # those of training images, where some have none


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set in memory; images are writable and contiguous, so that torch takes them without a copy."""

    name: str
    train: NDArray[np.uint8]  # [N, C, H, W]
    test: NDArray[np.uint8]  # [M, C, H, W]   held out
    train_label: NDArray[np.int64] | None  # [N]
    test_label: NDArray[np.int64] | None  # [M]
    num_classes: int | None
    source: str  # where it came from
    sha256: dict[str, str]  # by file, of the uncompressed bytes
    notes: tuple[str, ...] = ()  # what became of them, and what was left out
    own_split: bool = True  # False: the held-out ones are a share of images that lay together

    def noting(self, *notes: str) -> ImageData:
        """The same data set with more notes, which come first."""
        return replace(self, notes=(*notes, *self.notes))

    def about(self) -> str:
        """What was read, in one line."""
        channels, height, width = self.train.shape[1:]
        colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
        classes = "" if self.num_classes is None else f", {self.num_classes} class{'es' * (self.num_classes != 1)}"
        counts = f"{len(self.train):,} training and {len(self.test):,} held-out image{'s' * (len(self.test) != 1)}"
        return "; ".join([f"data {self.name}: {counts}, {width}x{height}, {colours}{classes}", *self.notes])

    def digest(self) -> str:
        """sha256 of all images and labels: data of one name may differ."""
        found = hashlib.sha256()
        for array in (self.train, self.test, self.train_label, self.test_label):
            if array is not None:
                found.update(repr(array.shape).encode())
                found.update(np.ascontiguousarray(array).data)  # no copy: `tobytes` would hold the images twice
        return found.hexdigest()
