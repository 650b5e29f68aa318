"""Data of noise: images, and transitions between images. What a step costs does not depend on what is on them."""

from __future__ import annotations

import numpy as np
import torch

from rlgen.core.batch import Batch
from rlgen.data.images import ImageData

NUM_ACTIONS = 6


def images(shape: tuple[int, ...], num: int = 10_000) -> ImageData:
    """A data set of images of one shape [C, H, W]; a hundred of them are held out too."""
    train_images = np.random.default_rng(0).integers(0, 256, (num, *shape), dtype=np.uint8)  # [num, C, H, W]
    return ImageData("noise", train_images, train_images[:100], None, None, None, "synthetic", {})


def transitions(size: int, shape: tuple[int, ...], device: torch.device | str) -> Batch:
    """A batch as a buffer samples it; `size` is B, and `shape` that of one observation."""
    with torch.device(device):
        obs, next_obs = torch.randint(256, (2, size, *shape), dtype=torch.uint8)  # [B, C, H, W] both
        return {
            "obs": obs,
            "action": torch.randint(NUM_ACTIONS, (size,)),
            "reward": torch.randn(size),
            "discount": torch.full((size,), 0.99),
            "next_obs": next_obs,
        }
