"""Convolutional networks, from pictures to features; which one suits a picture is a matter of its size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

import torch
from torch import Tensor, nn

from rlgen.envs.parts import Part, planes
from rlgen.errors import UsageError
from rlgen.nets.layers import PLAIN, NetworkOptions, OverChannels, activation_of, norms
from rlgen.nets.parts import pictures
from rlgen.nets.spectral import Spectral

NATURE_SIDE = 36  # pixels that NatureCNN needs at least


class ImageNetwork(nn.Module):
    """Convolutions, then one linear layer, each with ReLU: pictures as an environment gives them -> features [B, F].

    Args:
        part: the observation's part that is a picture.
        parts: all of them, which say where it lies.
        num_features: F; None without the linear layer: as many as the convolutions give.
        options: width and depth, and what layers are made of.

    Attributes:
        num_features: F.
    """

    def __init__(
        self, part: Part, parts: Sequence[Part], num_features: int | None, options: NetworkOptions = PLAIN
    ) -> None:
        super().__init__()
        self.part, self.parts, self.options = part, parts, options
        layers = self.layers(*planes(part))
        # feature maps in the order that convolutions like, also on the CPU: a twentieth off an update
        self.conv = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            maps = self.conv(torch.zeros(1, *planes(part)))  # [1, C, H, W]
            if most := options.cnn_pool:
                pool = nn.AdaptiveMaxPool2d((min(most, maps.shape[2]), min(most, maps.shape[3])))
                self.conv.append(pool)
                maps = pool(maps)
            size = maps.numel()
        self.num_features = num_features or size
        self.linear = nn.Linear(size, num_features) if num_features else nn.Identity()
        after = [*norms(options, num_features), activation_of(options, nn.ReLU)()] if num_features else []
        self.after = nn.Sequential(*after)

    def layers(self, channels: int, height: int, width: int) -> list[nn.Module]:
        """The convolutions of pictures [C, H, W], with what is between them."""
        raise NotImplementedError

    def forward(self, obs: Tensor) -> Tensor:
        """Observations [B, ...] -> [B, F]."""
        return self.after(self.linear(self.conv(pictures(obs, self.part, self.parts)).flatten(1)))

    def sizes(self, published: Sequence[int]) -> list[int]:
        """Features of every convolution or block, by those of the paper: wider, and the last of them repeated."""
        depth = self.options.cnn_depth or len(published)
        sizes = [*published, *[published[-1]] * (depth - len(published))][:depth]
        return [max(1, round(size * self.options.cnn_width)) for size in sizes]

    def activated(self, features: int) -> list[nn.Module]:
        """What follows a convolution: normalisation, if any, and the activation."""
        normed = [OverChannels(norm) for norm in norms(self.options, features)]
        return [*normed, activation_of(self.options, nn.ReLU)()]

    def normalised(self, layer: nn.Conv2d) -> nn.Module:
        """A convolution, with spectral normalisation where that is wanted."""
        return Spectral(layer) if self.options.cnn_spectral_norm else layer


class NatureCNN(ImageNetwork):
    """The convolutional body of Mnih et al. 2015 (Methods): 32 8x8/4, 64 4x4/2, 64 3x3/1."""

    def layers(self, channels: int, height: int, width: int) -> list[nn.Module]:
        if min(height, width) < NATURE_SIDE:
            raise UsageError(
                f"--network nature_cnn: pictures of {height} x {width} pixels are too small for it, {NATURE_SIDE} x "
                f"{NATURE_SIDE} at least: --network small_cnn or impala"
            )
        layers: list[nn.Module] = []
        kernels = chain(((8, 4, 0), (4, 2, 0), (3, 1, 0)), repeat((3, 1, 1)))  # of those added, maps keep their size
        for features, (kernel, stride, padding) in zip(self.sizes((32, 64, 64)), kernels, strict=False):
            layer = nn.Conv2d(channels, features, kernel, stride, padding)
            layers += [self.normalised(layer), *self.activated(features)]
            channels = features
        return layers


class SmallCNN(ImageNetwork):
    """MinAtar's (Young and Tian 2019, section 3): 16 3x3/1, of smaller pictures less than 3x3."""

    def layers(self, channels: int, height: int, width: int) -> list[nn.Module]:
        first, *more = self.sizes((16,))
        layer = nn.Conv2d(channels, first, (min(3, height), min(3, width)))
        layers = [self.normalised(layer), *self.activated(first)]
        for features in more:
            layers += [self.normalised(nn.Conv2d(first, features, 3, padding=1)), *self.activated(features)]
        return layers


class Impala(ImageNetwork):
    """The residual network of Espeholt et al. 2018 (figure 3, right): 15 convolutions, of 16, 32 and 32 features."""

    def layers(self, channels: int, height: int, width: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for features in self.sizes((16, 32, 32)):
            layers += [nn.Conv2d(channels, features, 3, padding=1), nn.MaxPool2d(3, 2, padding=1)]
            layers += [_Residual(features, self) for _ in range(2)]
            channels = features
        return [*layers, *self.activated(channels)]


class _Residual(nn.Module):
    """What it takes, and two convolutions of it."""

    def __init__(self, features: int, net: ImageNetwork) -> None:
        super().__init__()
        first, second = (net.normalised(nn.Conv2d(features, features, 3, padding=1)) for _ in range(2))
        self.body = nn.Sequential(*net.activated(features), first, *net.activated(features), second)

    def forward(self, value: Tensor) -> Tensor:
        return value + self.body(value)


NETWORKS: dict[str, type[ImageNetwork]] = {
    "small_cnn": SmallCNN,
    "nature_cnn": NatureCNN,
    "impala": Impala,
}


def image_network(
    part: Part, parts: Sequence[Part], num_features: int | None, network: str, options: NetworkOptions = PLAIN
) -> ImageNetwork:
    """The network of that name, or, of `auto`, NatureCNN for pictures that are large enough, and a small one else.

    Raises:
        UsageError: pictures are too small for it.
    """
    if network == "auto":
        network = "nature_cnn" if min(planes(part)[1:]) >= NATURE_SIDE else "small_cnn"
    return NETWORKS[network](part, parts, num_features, options)
