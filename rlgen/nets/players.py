"""The two players of a game on images of any size, grey or colour: a generator and a discriminator.

`dcgan` has strided convolutions, as Radford et al. 2016 (arXiv:1511.06434). `resnet` has residual blocks (He et al.
2016, arXiv:1512.03385) between bilinear enlargements, or mean pools, and 1 x 1 convolutions. Neither has normalisation
layers: an image depends on its own latent alone and a logit on its own image, as the penalties of
`rlgen.core.adversarial` need it; the weights are drawn so that variance is kept without them.

With labels the generator gets an embedding of the label beside the latent, and the discriminator adds the inner product
of its features and another embedding of the label (Miyato and Koyama 2018, "cGANs with projection discriminator",
arXiv:1802.05637, equation 3).

B batch, Z latent, C H W image, h w the smallest feature map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rlgen.nets.spectral import Spectral


class Generator(nn.Module):
    """Latent [B, Z] to images [B, C, H, W] in [-1, 1]: two linear layers, then maps that double to cover the image.

    Args:
        shape: of an image, [C, H, W].
        width: channels of the largest feature map; they double as the map halves.
        hidden: units between the latent and the smallest feature map.
        latent: Z.
        architecture: dcgan or resnet.
        num_classes: of the labels; None without.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        hidden: int,
        latent: int,
        architecture: str = "dcgan",
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        channels, *self.size = shape
        (height, breadth), num_doublings = smallest_map(self.size)
        top = width * 2 ** (num_doublings - 1)
        num_in = latent if num_classes is None else 2 * latent
        layers: list[nn.Module] = [nn.Linear(num_in, hidden), nn.LeakyReLU(0.2)]
        layers += [nn.Linear(hidden, top * height * breadth), nn.Unflatten(1, (top, height, breadth))]
        layers += (enlarged if architecture == "resnet" else transposed)(channels, width, num_doublings)
        self.layers = init(nn.Sequential(*layers))
        if num_classes is not None:
            self.embed = nn.Embedding(num_classes, latent)  # as large as the latent, N(0, 1) like it

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        """Images, [B, Z] and labels [B] -> [B, C, H, W]; of a map that overlaps the image the rest is cut off."""
        if label is not None:
            latent = torch.cat([latent, self.embed(label)], -1)
        return self.layers(latent)[..., : self.size[0], : self.size[1]]


class Discriminator(nn.Module):
    """Images [B, C, H, W] in [-1, 1] to logits [B] of being real: the generator in reverse.

    Args:
        shape: of what it judges, [C, H, W].
        width: channels of the largest feature map; they double as the map halves.
        hidden: units between the smallest feature map and the logit.
        architecture: dcgan or resnet.
        num_classes: of the labels; None without.
        spectral_norm: divide every weight by its norm (Miyato et al. 2018, arXiv:1802.05957).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        hidden: int,
        architecture: str = "dcgan",
        num_classes: int | None = None,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, *size = shape
        (height, breadth), num_halvings = smallest_map(size)
        self.margin = (0, breadth * 2**num_halvings - size[1], 0, height * 2**num_halvings - size[0])
        layers = (pooled if architecture == "resnet" else strided)(channels, width, num_halvings)
        top = width * 2 ** (num_halvings - 1)
        layers += [nn.Flatten(), nn.Linear(top * height * breadth, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)]
        self.layers = init(nn.Sequential(*layers))
        if num_classes is not None:
            self.embed = nn.Embedding(num_classes, hidden)
            nn.init.normal_(self.embed.weight, std=hidden**-0.5)
        if spectral_norm:
            normalise(self)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits, [B, C, H, W] and labels [B] -> [B]; without labels their part is left out."""
        features = out = pad(image, self.margin)
        for layer in self.layers:
            features, out = out, layer(out)  # at the end: what goes into the last layer, [B, hidden], and the logit
        logit = out.squeeze(-1)
        return logit if label is None else logit + (self.embed(label) * features).sum(-1)


def smallest_map(size: list[int]) -> tuple[list[int], int]:
    """Halve (H, W), rounding up, while at least 4 x 4 remain: 28 -> 7, 32 -> 4; returns the size and the halvings."""
    num_halvings = max(1, int(math.log2(min(size) / 4)))
    return [math.ceil(side / 2**num_halvings) for side in size], num_halvings


def transposed(channels: int, width: int, num_doublings: int) -> list[nn.Module]:
    """From the smallest map to the image, by transposed convolutions."""
    layers: list[nn.Module] = []
    for level in reversed(range(1, num_doublings)):
        num_in = width * 2**level
        layers += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(num_in, num_in // 2, 4, 2, 1)]
    return [*layers, nn.LeakyReLU(0.2), nn.Conv2d(width, 4 * channels, 3, 1, 1), nn.PixelShuffle(2), nn.Tanh()]


def strided(channels: int, width: int, num_halvings: int) -> list[nn.Module]:
    """From the image to the smallest map, by strided convolutions."""
    layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
    for level in range(1, num_halvings):
        num_out = width * 2**level
        layers += [nn.Conv2d(num_out // 2, num_out, 4, 2, 1), nn.LeakyReLU(0.2)]
    return layers


def enlarged(channels: int, width: int, num_doublings: int) -> list[nn.Module]:
    """From the smallest map to the image, a residual block before each bilinear enlargement."""
    layers: list[nn.Module] = []
    for level in reversed(range(num_doublings)):
        layers += [Residual(width * 2**level, num_doublings)]
        if level:
            layers += [nn.Conv2d(width * 2**level, width * 2 ** (level - 1), 1)]
        layers += [nn.Upsample(scale_factor=2, mode="bilinear")]
    return [*layers, nn.LeakyReLU(0.2), nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh()]


def pooled(channels: int, width: int, num_halvings: int) -> list[nn.Module]:
    """From the image to the smallest map, a residual block after each pool."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1)]
    for level in range(num_halvings):
        if level:
            layers += [nn.Conv2d(width * 2 ** (level - 1), width * 2**level, 1)]
        layers += [nn.AvgPool2d(2), Residual(width * 2**level, num_halvings)]
    return [*layers, nn.LeakyReLU(0.2)]


class Residual(nn.Module):
    """Maps plus what two 3 x 3 convolutions make of them, [B, width, h, w] -> the same shape.

    All branches of a network together add as much variance as comes in: each is scaled by one over the root of their
    number, in its last weights.
    """

    def __init__(self, width: int, num_blocks: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.activation, self.scale = nn.LeakyReLU(0.2), num_blocks**-0.5

    def forward(self, maps: Tensor) -> Tensor:
        """Maps + branch(maps)."""
        return maps + self.last(self.activation(self.first(self.activation(maps))))


def init(net: nn.Sequential) -> nn.Sequential:
    """Variance kept through leaky ReLUs (He et al. 2015), zero biases, and feature maps in the order the CPU likes."""
    for layer in net.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            fan_in = math.prod(layer.weight.shape[1:])
            if isinstance(layer, nn.ConvTranspose2d):
                fan_in = layer.weight.shape[0] * 4  # 4 x 4 kernels, stride 2: 2 x 2 of each input reach a pixel
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (1.04 * fan_in)))
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        for block in net.modules():
            if isinstance(block, Residual):
                block.last.weight.mul_(block.scale)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def normalise(net: nn.Module) -> None:
    """Divide the weights of all its layers by their norms, in place."""
    for name, layer in list(net.named_children()):
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.Embedding)):
            setattr(net, name, Spectral(layer))
        else:
            normalise(layer)
