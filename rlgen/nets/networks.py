"""Networks that several algorithms share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rlgen.nets.perceptron import MLP, mlp, orthogonal


class NatureCNN(nn.Module):
    """The convolutional body of Mnih et al. 2015 (Methods): 32 8x8/4, 64 4x4/2, 64 3x3/1, then `num_features` units.

    Takes uint8 images [B, C, H, W] or [B, H, W, C] of at least 36 x 36 pixels and scales them to [0, 1].
    """

    def __init__(self, obs_shape: tuple[int, ...], num_features: int) -> None:
        super().__init__()
        self.channels_last = obs_shape[-1] in (1, 3, 4) and obs_shape[0] not in (1, 3, 4)
        channels, *size = (obs_shape[-1], *obs_shape[:-1]) if self.channels_last else obs_shape
        if min(size) < 36:
            raise ValueError(f"images of {size[0]} x {size[1]} pixels are too small for NatureCNN: 36 x 36 at least")
        layers: list[nn.Module] = []
        for features, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            layers += [nn.Conv2d(channels, features, kernel, stride), nn.ReLU()]
            channels, size = features, [(side - kernel) // stride + 1 for side in size]
        # feature maps in the order that convolutions like, also on the CPU: a twentieth off an update
        self.conv = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.linear = nn.Linear(64 * size[0] * size[1], num_features)

    def forward(self, obs: Tensor) -> Tensor:
        """Features of images: [B, C, H, W] uint8 -> [B, F]."""
        image = torch.as_tensor(obs).movedim(-1, 1) if self.channels_last else torch.as_tensor(obs)
        return torch.relu(self.linear(self.conv(image.float() / 255).flatten(1)))


def network(
    obs_shape: tuple[int, ...],
    hidden: Sequence[int],
    num_out: int,
    activation: type[nn.Module] = nn.ReLU,
    init_gain: float | None = None,
) -> nn.Module:
    """From observations to `num_out` numbers: an MLP, or NatureCNN and a linear head where observations are images.

    Args:
        obs_shape: (D,) for vectors, (C, H, W) or (H, W, C) for images; other shapes are flattened.
        hidden: sizes of the hidden layers; for images the last one is the size of the features.
        num_out: size of the output, [B, num_out].
        activation: between the layers of an MLP.
        init_gain: as in `mlp`.
    """
    if len(obs_shape) == 3:
        head = nn.Linear(hidden[-1], num_out)
        if init_gain is not None:
            orthogonal(head, init_gain)
        return nn.Sequential(NatureCNN(obs_shape, hidden[-1]), head)
    body = mlp([math.prod(obs_shape), *hidden, num_out], activation, init_gain)
    return MLP(nn.Flatten(), *body) if len(obs_shape) != 1 else body
