"""Differentiable augmentation of real and generated images.

Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training" (arXiv:2006.10738), sections 3.2 and 4:
what the discriminator sees of either, in its own step and in the generator's, went through the same transformation. The
chances of an image are numbers that come with the batch. B batch, C H W image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NUM_CHANCES = 7  # of an image


def color(image: Tensor, chance: Tensor) -> Tensor:
    """Brightness within [-0.5, 0.5], saturation within [0, 2], contrast within [0.5, 1.5]: chances [B, 3]."""
    brightness, saturation, contrast = chance.view(*chance.shape, 1, 1, 1).unbind(1)  # [B, 1, 1, 1]
    image = image + brightness - 0.5
    grey = image.mean(1, keepdim=True)  # [B, 1, H, W]
    image = grey + (image - grey) * 2 * saturation
    mean = image.mean((1, 2, 3), keepdim=True)  # [B, 1, 1, 1]
    return mean + (image - mean) * (contrast + 0.5)


def translation(image: Tensor, chance: Tensor) -> Tensor:
    """Moved by up to an eighth of the height and of the width, 0 where nothing is: chances [B, 2]."""
    for axis in (2, 3):
        side = image.shape[axis]
        most = int(side / 8 + 0.5)
        by = (chance[:, axis - 2] * (2 * most + 1)).floor().long() - most  # [B] in -most .. most; a chance is below 1
        source = torch.arange(side, device=image.device) - by[:, None]  # [B, side]
        shape = (len(image), 1, side, 1) if axis == 2 else (len(image), 1, 1, side)
        inside = ((source >= 0) & (source < side)).view(shape)
        index = source.clamp(0, side - 1).view(shape).expand_as(image)
        image = image.gather(axis, index) * inside
    return image


def cutout(image: Tensor, chance: Tensor) -> Tensor:
    """0 in a rectangle of half the height and half the width, whose middle is anywhere in the image: chances [B, 2]."""
    height, width = image.shape[2:]
    hidden = []
    for chances, side in ((chance[:, 0], height), (chance[:, 1], width)):
        first = (chances * side).floor() - side // 2 // 2  # [B]; a part of it may lie outside
        place = torch.arange(side, device=image.device)
        hidden.append((place >= first[:, None]) & (place < first[:, None] + side // 2))  # [B, side]
    return image * ~(hidden[0][:, None, :, None] & hidden[1][:, None, None, :])


POLICIES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], slice]] = {
    "color": (color, slice(0, 3)),
    "translation": (translation, slice(3, 5)),
    "cutout": (cutout, slice(5, 7)),
}


def diff_augment(image: Tensor, chance: Tensor, policies: Sequence[str]) -> Tensor:
    """Images [B, C, H, W] in [-1, 1] as the discriminator sees them; 0 is grey.

    Args:
        image: real ones or fakes.
        chance: [B, 7] in [0, 1), of each image.
        policies: of `POLICIES`, in any order.
    """
    for name, (policy, own) in POLICIES.items():
        if name in policies:
            image = policy(image, chance[:, own])
    return image
