"""A network of features that the user brings, as of Inception: a TorchScript file."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from rlgen.errors import UsageError, is_out_of_memory
from rlgen.features.net import FeatureNet
from rlgen.files import open_file

CHUNK = 50  # images that go through at once: they may be enlarged there
COLOURS = 3  # channels that it takes; grey images are repeated
OPTION = "return_features"  # is set where the module has it: published ones of Inception give logits without it


class ScriptNet(nn.Module):
    """A module of TorchScript that maps images to features, which are left as they are.

    Args:
        path: of the file.

    Attributes:
        name: the file's, without its ending.
        num_features: F, known once images went through.

    Raises:
        UsageError: it holds no such module.
    """

    num_classes = 0

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            with open_file(path) as file:
                content = file.read()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # what reads the published file
                self.net = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
            self.options = {OPTION: True} if OPTION in arguments(self.net) else {}
        except (OSError, RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise UsageError(
                f"{path} holds no module of TorchScript: {first_line(error)}; give one that torch.jit.save wrote"
            ) from error
        self.path, self.name, self.sha256 = path, path.stem, hashlib.sha256(content).hexdigest()
        self.num_features = 0
        self.about: dict[str, object] = {}
        self.to(torch.device("cpu"))

    @property
    def label(self) -> str:
        """Its name and the beginning of its digest."""
        return f"{self.name}-{self.sha256[:8]}"

    def digest(self) -> str:
        """Sha256 of the file."""
        return self.sha256

    def to(self, device: torch.device) -> ScriptNet:  # type: ignore[override]
        """Move it to where features are computed."""
        self.device = device
        self.net.to(device)
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Features of any number of images.

        Args:
            images: [N, C, H, W] uint8 with C 1 or 3, on any device.

        Returns:
            Features, [N, F] float64 on the module's device; and None, as no classes are known.

        Raises:
            UsageError: they cannot be computed, or are no finite numbers [N, F].
        """
        found = [self.features(chunk.to(self.device)) for chunk in images.split(CHUNK)]
        features = torch.cat(found)
        if not features.isfinite().all():
            raise UsageError(f"--features {self.path}: it gives features that are not finite; give another")
        self.num_features = features.shape[1]
        return features, None

    def features(self, images: Tensor) -> Tensor:
        """Of a few images, [B, C, H, W] uint8 on its device -> [B, F] float64."""
        if images.shape[1] not in (1, COLOURS):
            raise UsageError(
                f"--features {self.path}: it takes images of {COLOURS} channels, these have {images.shape[1]}; give "
                "--image-mode rgb"
            )
        try:
            with torch.jit.optimized_execution(False):  # otherwise the first images go through other code
                found = self.net(images.expand(-1, COLOURS, -1, -1), **self.options)
        except (RuntimeError, TypeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise UsageError(
                f"--features {self.path}: it takes no images [N, 3, H, W] of uint8: {first_line(error)}"
            ) from error
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(images):
            what = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(f"--features {self.path}: of {len(images)} images it gives {what}, not features [N, F]")
        return found.flatten(1).double()


def arguments(net: torch.jit.ScriptModule) -> set[str]:
    """The names of what a module's `forward` takes."""
    return {argument.name for argument in net.forward.schema.arguments}  # type: ignore[attr-defined]


def first_line(error: Exception) -> str:
    """The line of an error that says what it is: TorchScript writes it last, after the code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in reversed(lines) if "Error:" in line), lines[0])


Net = FeatureNet | ScriptNet
