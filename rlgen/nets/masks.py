"""Outputs of actions that are not valid, as an observation says it: so low that nobody takes or values them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlgen.envs.parts import Part
from rlgen.nets.parts import part_of

# As good as minus infinity: its probability is exactly 0, and 0 times it is 0, as entropy has it, and no NaN.
LOWEST = torch.finfo(torch.float32).min


class Masked(nn.Module):
    """A network of one or several outputs an action, those of actions that are not valid replaced by `LOWEST`.

    Where none is valid, as at an episode's end, all outputs stay as they are: their value is not used there.

    Args:
        net: [B, ...] -> [B, A] or [B, A, K].
        parts: of the observation; one of them is the mask.
    """

    def __init__(self, net: nn.Module, parts: Sequence[Part]) -> None:
        super().__init__()
        self.net, self.parts = net, parts
        self.mask = next(part for part in parts if part.kind == "mask")

    def __call__(self, obs: Any, **more: Any) -> Any:
        """[B, ...] -> [B, A] or [B, A, K]; of an array perhaps an array, as an MLP answers it.

        What else it is given goes to the network.
        """
        return self._of_array(obs) if type(obs) is np.ndarray else super().__call__(obs, **more)

    def mask_of(self, obs: Any) -> Any:
        """The mask [B, A] in observations, of a stack's newest frame."""
        mask = part_of(obs, self.mask, self.parts) != 0
        return mask[:, -1] if self.mask.frames > 1 else mask

    def forward(self, obs: Tensor, **more: Any) -> Tensor:
        return self._lowest(self.net(obs, **more), self.mask_of(obs))

    def _of_array(self, obs: np.ndarray) -> Any:
        out, mask = self.net(obs), self.mask_of(obs)
        if type(out) is not np.ndarray:
            return self._lowest(out, torch.from_numpy(mask))
        valid = mask | ~mask.any(-1, keepdims=True)
        return np.where(valid if out.ndim == mask.ndim else valid[..., None], out, np.float32(LOWEST))

    @staticmethod
    def _lowest(out: Tensor, mask: Tensor) -> Tensor:
        valid = mask | ~mask.any(-1, keepdim=True)
        return torch.where(valid if out.ndim == mask.ndim else valid[..., None], out, torch.finfo(out.dtype).min)
