"""A module of TorchScript whose features images are compared by: how it is called and named, what is refused."""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlgen.commands import main
from rlgen.errors import UsageError
from rlgen.features.script import ScriptNet
from rlgen.metrics.images import frechet_distance, kernel_distance


class Plain(nn.Module):
    """Mean and spread of each channel, in halves."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8 and images.size(1) == 3
        pixels = images.double().flatten(2)
        parts = pixels.split(int(pixels.size(2) // 2), 2)
        return torch.cat([parts[0].mean(2), parts[1].std(2)], 1)


class Published(nn.Module):
    """As the published file of Inception is called: logits, but where features are asked for."""

    def forward(self, images: Tensor, use_fp16: bool = False, return_features: bool = False) -> Tensor:
        features = images.double().mean((2, 3))[:, :, None, None]
        return features if return_features else features[:, :1]


class OfGreys(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.double().view(-1, 64)


class Pair(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


class Nothing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.full((images.size(0), 4), float("nan"))


class Single(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


def saved(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), path)
    return path


def pictures(num: int, channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (num, channels, 8, 8), generator=generator, dtype=torch.uint8)


def test_it_gives_features_of_any_number_of_images(tmp_path: Path) -> None:
    net, images = ScriptNet(saved(Plain(), tmp_path / "plain.pt")), pictures(123, 3)
    features, classes = net(images)
    assert features.shape == (123, 6) and features.dtype == torch.float64 and classes is None
    assert torch.equal(features, Plain()(images)) and net.num_features == 6
    assert net.digest() == hashlib.sha256((tmp_path / "plain.pt").read_bytes()).hexdigest()
    assert net.label == f"plain-{net.digest()[:8]}" and net.num_classes == 0
    grey = pictures(7, 1)
    assert torch.equal(net(grey)[0], Plain()(grey.repeat(1, 3, 1, 1))), "grey images in all three channels"


def test_a_published_one_is_asked_for_its_features(tmp_path: Path) -> None:
    net, images = ScriptNet(saved(Published(), tmp_path / "inception.pt")), pictures(60, 3)
    assert torch.equal(net(images)[0], images.double().mean((2, 3)))


def test_the_command_compares_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = saved(Plain(), tmp_path / "mine.pt")
    sets = {name: pictures(80, 3, seed) for seed, name in enumerate(("one", "other"))}
    for name, images in sets.items():
        np.savez(f"{name}.npz", images=images.permute(0, 2, 3, 1).numpy())
    assert main(["metrics", "one.npz", "other.npz", "--features", "mine.pt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and found["features"].startswith("mine-")
    one, other = (Plain()(images) for images in sets.values())
    assert found["scores"]["fd"] == pytest.approx(frechet_distance(one, other), rel=1e-9)
    assert found["scores"]["kid"] == pytest.approx(kernel_distance(one, other), rel=1e-9)
    assert found["images"] == 80 and found["floor"] is None and "modes" not in found["scores"]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (OfGreys(), "gives .*, not features|takes no images"),
        (Pair(), "of 5 images it gives tuple, not features"),
        (Nothing(), "features that are not finite"),
        (Single(), r"it takes no images \[N, 3, H, W\] of uint8: "),
    ],
)
def test_a_module_of_something_else_is_one_line(module: nn.Module, line: str, tmp_path: Path) -> None:
    net = ScriptNet(saved(module, tmp_path / "net.pt"))
    with pytest.raises(UsageError, match=line) as raised:
        net(pictures(5, 3))
    assert "\n" not in str(raised.value) and "net.pt" in str(raised.value)


def test_images_of_four_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="these have 4; give --image-mode rgb"):
        ScriptNet(saved(Plain(), tmp_path / "net.pt"))(pictures(5, 4))


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pt")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    content = saved(Plain(), tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(content[: len(content) // 2])
    for name in ("weights.pt", "arrays.npz", "half.pt", "absent.pt"):
        with pytest.raises(UsageError, match=rf"{name} holds no module of TorchScript: [^\n]*; give one that"):
            ScriptNet(tmp_path / name)
