"""A network of features: what it takes, that an image's features are its own, and its file."""

import json
from pathlib import Path

import pytest
import torch

from rlgen.errors import UsageError
from rlgen.features import net as net_module
from rlgen.features.net import FEATURES, LARGEST, FeatureNet, load


def pictures(num: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (num, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 30, 45), (2, 5, 6), (1, 1, 1), (1, 9, 200), (3, 96, 130)]
)
def test_images_of_any_size_have_as_many_features(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    net = FeatureNet(shape, 7)
    features, classes = net(pictures(5, *shape))
    assert features.shape == (5, FEATURES) and features.dtype == torch.float64 and torch.isfinite(features).all()
    assert classes is not None and classes.shape == (5,) and classes.max() < 7
    assert FeatureNet(shape)(pictures(5, *shape))[1] is None


def test_large_images_are_averaged_first() -> None:
    torch.manual_seed(0)
    net = FeatureNet((1, 4 * LARGEST, 4 * LARGEST))
    small = pictures(3, 1, LARGEST, LARGEST)
    large = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.manual_seed(0)
    assert torch.allclose(net(large)[0], FeatureNet((1, LARGEST, LARGEST))(small)[0], atol=1e-5)


def test_features_of_an_image_depend_on_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, images = FeatureNet((1, 8, 8), 3), pictures(20, 1, 8, 8)
    together = net(images)
    monkeypatch.setattr(net_module, "CHUNK", 7)
    in_parts = net(images)
    assert torch.allclose(together[0], in_parts[0], atol=1e-6) and torch.equal(together[1], in_parts[1])
    assert torch.allclose(net(images[3:4])[0], together[0][3:4], atol=1e-6)


def test_features_vary_by_one_on_average() -> None:
    torch.manual_seed(0)
    net, images = FeatureNet((1, 8, 8)), pictures(2000, 1, 8, 8)
    net.set_scale(images)
    assert net(images)[0].var(0, correction=0).mean().item() == pytest.approx(1, rel=0.01)
    assert net.scale.item() == pytest.approx(float(f"{net.scale.item():.3g}"), rel=1e-6), "of three digits"
    net.set_scale(images[:1].expand(9, -1, -1, -1))
    assert net.scale == 1, "of images that do not differ"


def test_a_file_gives_the_same_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, images = FeatureNet((3, 9, 8), 4), pictures(6, 3, 9, 8)
    net.set_scale(images)
    net.about = {"accuracy": 0.5}
    net.save(tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert again.digest() == net.digest() and again.about == net.about and again.label == net.label
    assert all(torch.equal(one, other) for one, other in zip(net(images), again(images), strict=True))
    with torch.no_grad():
        again.body[0].bias[0] += 1e-3
    assert again.digest() != net.digest() and again.label.startswith("lenet-")


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    net = FeatureNet((1, 8, 8))
    net.save(tmp_path / "whole.safetensors")
    with safe_open(tmp_path / "whole.safetensors", "pt") as file:
        weights, about = net.state_dict(), json.loads(file.metadata()["net"])
    odd = {"bare": {name: about[name] for name in ("shape", "num_classes")}, "listed": about | {"about": [1]}}
    odd |= {"list": [1], "shapeless": about | {"shape": 8}, "flat": about | {"shape": [1, 0, 8]}}
    for name, metadata in odd.items():
        save_file(weights, tmp_path / f"{name}.safetensors", {"net": json.dumps(metadata)})
    save_file(weights | {"scale": torch.tensor(torch.nan)}, tmp_path / "nan.safetensors", {"net": json.dumps(about)})
    assert load(tmp_path / "whole.safetensors").digest() == net.digest()
    for name in ("text", "other", "absent", *odd, "nan"):
        with pytest.raises(UsageError, match=r"holds no network of features: [^\n]*; give one that rlgen wrote"):
            load(tmp_path / f"{name}.safetensors")
