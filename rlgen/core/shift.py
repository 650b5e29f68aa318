"""Random shifts of the pictures that are learned from.

Yarats et al. 2021, "Image augmentation is all you need: regularizing deep reinforcement learning from pixels" (DrQ,
arXiv:2004.13649), section 3 with K = M = 1. A picture is made larger by its own edges, by p pixels on every side, and
as large a one as before is cut out of it. Shapes: B batch, L what lies before height H and width W, C behind them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlgen.core.batch import Batch
from rlgen.envs.parts import Part, kept, planes
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.nets.parts import part_of


class RandomShift:
    """Shifts the pictures in a batch's observations, each sample's by as many pixels as chance has it.

    All frames of a stack and all pictures of an observation move together; `obs` and `next_obs` move by themselves.

    Args:
        spec: says which parts of an observation are pictures.
        pixels: p, how far at most, up, down, left and right.

    Raises:
        UsageError: there are no pictures, or they are too small.
    """

    def __init__(self, spec: EnvSpec, pixels: int) -> None:
        self.parts, self.pixels = spec.parts, pixels
        self.pictures = [part for part in kept(spec.parts) if part.kind == "image"]
        if not self.pictures:
            raise UsageError(f"observations of {spec.env_id} have no pictures to move: leave --shift {pixels} out")
        if pixels >= (side := min(min(planes(part)[1:]) for part in self.pictures)):
            raise UsageError(f"pictures of {spec.env_id} have a side of {side} pixels: --shift {pixels} must be below")

    def __call__(self, generator: torch.Generator, batch: Batch) -> Batch:
        """The same batch with other observations; on a GPU without waiting for it."""
        size = (2, 2, len(batch["obs"]))
        by = torch.randint(2 * self.pixels + 1, size, generator=generator, device=generator.device)  # [2, 2, B]
        return {**batch, "obs": self.moved(batch["obs"], *by[0]), "next_obs": self.moved(batch["next_obs"], *by[1])}

    def moved(self, obs: Tensor, down: Tensor, right: Tensor) -> Tensor:
        """Observations whose pictures begin so many pixels from the corner of the larger ones: [B, ...], [B], [B]."""
        if len(kept(self.parts)) == 1:
            return cut(obs, self.pictures[0], self.pixels, down, right)
        found = obs.clone()
        for part in self.pictures:
            picture = part_of(found, part, self.parts)  # in the same memory
            picture.copy_(cut(picture, part, self.pixels, down, right))
        return found


def cut(picture: Tensor, part: Part, pixels: int, down: Tensor, right: Tensor) -> Tensor:
    """Pictures [B, ...] in whose larger ones they begin `down` and `right` [B], both in [0, 2 * pixels]."""
    num, _, height, width = len(picture), *planes(part)
    behind = part.shape[-1] if part.layout.endswith("c") else 1
    image = picture.reshape(num, -1, height, width, behind)  # [B, L, H, W, C]
    for axis in (2, 3):
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, -1, 1)
        image = torch.cat([first] * pixels + [image] + [last] * pixels, axis)
    # a row of what is cut out is a piece of a row of the larger picture: all of them by where they begin
    places = torch.arange(image[..., 0, 0].numel(), device=image.device).view(image.shape[:3])  # of rows
    rows = places[:, :, :height] + down[:, None, None]  # [B, L, H]
    begin = (rows * (width + 2 * pixels) + right[:, None, None]) * behind
    pieces = image.flatten().unfold(0, width * behind, 1)  # from every place on
    return pieces[begin.flatten()].view(picture.shape)
