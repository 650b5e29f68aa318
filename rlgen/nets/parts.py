"""Observations taken apart by the list of their parts, as networks see them: scaled, and one-hot where one of n."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlgen.envs.parts import Part, kept, planes


def part_of(obs: Any, part: Part, parts: Sequence[Part]) -> Any:
    """One part of observations [B, ...] as it is stored, an array of one: [B, *shape], of frames [B, k, *shape]."""
    if len(kept(parts)) == 1:
        return obs
    begin = part.offset
    if part.dtype == "float32" and obs.dtype not in (torch.float32, np.float32):  # packed with bytes
        found = obs[..., begin : begin + 4 * part.size]
        found = found.view(torch.float32 if isinstance(obs, Tensor) else np.float32)
    else:
        found = obs[..., begin : begin + part.size]
    return found.reshape(*found.shape[:-1], *part.shape)


def pictures(obs: Any, part: Part, parts: Sequence[Part]) -> Tensor:
    """One part as pictures [B, C, H, W] float32; a stack's channels come one frame after the other."""
    image = torch.as_tensor(part_of(obs, part, parts))
    if part.layout.endswith("hwc"):
        image = image.movedim(-1, -3)
    image = image.reshape(len(image), *planes(part)).float()
    return image if part.scale == 1 else image / part.scale


class Numbers(nn.Module):
    """Parts of observations as one vector of numbers [B, F]; of an array an array.

    Args:
        chosen: parts.
        parts: all of them, which say where these lie.
    """

    def __init__(self, chosen: Sequence[Part], parts: Sequence[Part]) -> None:
        super().__init__()
        self.chosen, self.parts = chosen, parts
        self.num_features = sum(
            part.frames * (sum(part.sizes) if part.kind == "discrete" else part.size) for part in chosen
        )

    def forward(self, obs: Any) -> Tensor:
        found = [(part, torch.as_tensor(part_of(obs, part, self.parts)).flatten(1).float()) for part in self.chosen]
        return torch.cat([_one_hot(value, part) if part.sizes else _scaled(value, part) for part, value in found], -1)

    def of_array(self, obs: np.ndarray) -> np.ndarray:
        """The same of float32 arrays."""
        found = [(part, part_of(obs, part, self.parts).reshape(len(obs), -1)) for part in self.chosen]
        values = [_one_hot_array(value, part) if part.sizes else _scaled(value, part) for part, value in found]
        return np.concatenate(values, -1)


def _scaled(value: Any, part: Part) -> Any:
    return value if part.scale == 1 else value / part.scale


def _one_hot(value: Tensor, part: Part) -> Tensor:
    columns = zip(value.unbind(-1), part.sizes * part.frames, part.firsts * part.frames, strict=True)
    hot = [column[:, None] - first == torch.arange(size, device=value.device) for column, size, first in columns]
    return torch.cat(hot, -1).float()


def _one_hot_array(value: np.ndarray, part: Part) -> np.ndarray:
    columns = zip(value.T, part.sizes * part.frames, part.firsts * part.frames, strict=True)
    hot = [column[:, None] - first == np.arange(size) for column, size, first in columns]
    return np.concatenate(hot, -1, dtype=np.float32)
