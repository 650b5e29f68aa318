"""The network whose features stand for images, and the file that it is kept in."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.errors import UsageError, is_out_of_memory
from rlgen.files import replaced

FEATURES = 64  # a Frechet distance needs more images than twice as many
CHUNK = 500  # images that go through at once
LARGEST = 64  # pixels of a side; of larger pictures squares of pixels are averaged
WIDTHS = (16, 32)  # channels of the first convolution, and of the others


class FeatureNet(nn.Module):
    """Convolutions with max-pooling, then two linear layers, as in LeNet-5 (LeCun et al. 1998, figure 2), with ReLU.

    There is no normalisation layer and no dropout: features of an image depend on it alone.

    Args:
        shape: of images, (C, H, W).
        num_classes: of the last layer; 0 for a network that knows no classes.

    Attributes:
        scale: 0-d, features are divided by it; it is chosen so that their variance is 1 on average over the features.
        num_features: F.
        about: what is known of its making: `accuracy`, `sha256` of the files it was trained on, and the like.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0) -> None:
        super().__init__()
        self.shape, self.num_classes, self.num_features = tuple(shape), num_classes, FEATURES
        self.about: dict[str, Any] = {}
        channels, height, width = self.shape
        self.averaged = math.ceil(max(height, width) / LARGEST)
        layers: list[nn.Module] = [nn.AvgPool2d(self.averaged, ceil_mode=True)] if self.averaged > 1 else []
        height, width = math.ceil(height / self.averaged), math.ceil(width / self.averaged)
        num_halvings = max(0, math.ceil(math.log2(min(height, width) / 4)))  # to 4 x 4 places, or 3 x 3
        for level in range(max(2, num_halvings)):
            layers += [nn.Conv2d(channels, WIDTHS[min(level, 1)], 3, padding=1), nn.ReLU()]
            channels = WIDTHS[min(level, 1)]
            if level < num_halvings:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                height, width = math.ceil(height / 2), math.ceil(width / 2)
        layers += [nn.Flatten(), nn.Linear(channels * height * width, FEATURES), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, num_classes) if num_classes else None
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))

    @property
    def name(self) -> str:
        """In the names of metrics: lenet of a classifier, random of one that was never trained."""
        return "random" if self.head is None else "lenet"

    @property
    def label(self) -> str:
        """Its name and the beginning of its digest: the same for the same weights."""
        return f"{self.name}-{self.digest()[:8]}"

    def logits(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] uint8 -> logits of the classes, [B, K]."""
        assert self.head is not None
        return self.head(self.body(images.float() / 127.5 - 1))

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and classes of any number of images.

        Args:
            images: [N, C, H, W] uint8, on any device.

        Returns:
            Features, [N, F] float64; and the likeliest classes, [N] int64, or None where none are known. Both are on
            the network's device.
        """
        found, classes = [], []
        for chunk in images.split(CHUNK):
            features = self.body(chunk.to(self.scale.device).float() / 127.5 - 1)
            found.append(features.double() / self.scale.double())
            if self.head is not None:
                classes.append(self.head(features).argmax(-1))
        return torch.cat(found), torch.cat(classes) if classes else None

    @torch.no_grad()
    def set_scale(self, images: Tensor) -> None:
        """Choose the scale by some images, [N, C, H, W] uint8. It is rounded to three digits: machines agree on it."""
        features = torch.cat([self.body(chunk.float() / 127.5 - 1) for chunk in images.split(CHUNK)])
        size = features.double().var(0, correction=0).mean().sqrt().item()
        self.scale.fill_(float(f"{size:.3g}") if size > 0 else 1.0)

    def digest(self) -> str:
        """Sha256 of shapes and weights."""
        found = hashlib.sha256(repr((self.shape, self.num_classes)).encode())
        for name, value in sorted(self.state_dict().items()):
            found.update(f"{name} {tuple(value.shape)} ".encode())
            found.update(value.cpu().float().contiguous().numpy().tobytes())
        return found.hexdigest()

    def save(self, path: Path) -> None:
        """Write it as a safetensors file, whole or not at all.

        Raises:
            DiskError: it cannot be written.
        """
        from safetensors.torch import save

        about = {"shape": list(self.shape), "num_classes": self.num_classes, "about": self.about}
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        with replaced(path) as temporary:
            temporary.write_bytes(save(weights, {"net": json.dumps(about)}))


class ChannelwiseNet(FeatureNet):
    """A classifier of grey images, of each channel on its own: its features side by side, and its classes as digits.

    Args:
        net: of shape (1, H, W) and K classes.
        channels: C: it takes (C, H, W) and knows K ** C classes, the first channel's counting most.
    """

    def __init__(self, net: FeatureNet, channels: int) -> None:
        super().__init__(net.shape)
        self.body, self.head, self.scale = net.body, net.head, net.scale
        self.of_channel, self.about = net.num_classes, net.about
        self.shape, self.num_classes = (channels, *net.shape[1:]), net.num_classes**channels
        self.num_features = channels * net.num_features

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """[N, C, H, W] uint8 -> [N, C F] float64 and [N] int64."""
        features, classes = super().forward(images.flatten(0, 1)[:, None])  # [N C, F], [N C]
        assert classes is not None
        weights = self.of_channel ** torch.arange(self.shape[0] - 1, -1, -1, device=classes.device)
        return features.view(len(images), -1), (classes.view(len(images), -1) * weights).sum(1)


def load(path: Path) -> FeatureNet:
    """The network in a file that `save` wrote.

    Raises:
        UsageError: there is none, or something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["net"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
        net = FeatureNet(tuple(about["shape"]), about["num_classes"])
        net.load_state_dict(weights)
        net.about = dict(about["about"])
        if not all(value.isfinite().all() for value in weights.values()) or net.scale <= 0:
            raise ValueError("its weights are no finite numbers")
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).split("\n")[0]
        raise UsageError(f"{path} holds no network of features: {reason}; give one that rlgen wrote") from error
    return net.requires_grad_(False).eval()
