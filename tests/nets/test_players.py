"""Generators and discriminators of either kind: sizes, scales, independence of images, labels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlgen.nets.players import Discriminator, Generator, Residual
from rlgen.nets.spectral import Spectral, power_iteration

KINDS = ["dcgan", "resnet"]
SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 64, 64), (3, 30, 45), (2, 5, 6), (1, 1, 1)]


def pair(shape: tuple[int, int, int], kind: str, num_classes: int | None = None, spectral: bool = False) -> tuple:
    torch.manual_seed(0)
    g = Generator(shape, 8, 32, 16, kind, num_classes)
    return g, Discriminator(shape, 8, 32, kind, num_classes, spectral)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_size_and_their_logits(shape: tuple[int, int, int], kind: str) -> None:
    g, d = pair(shape, kind)
    images = g(torch.randn(5, 16))
    assert images.shape == (5, *shape) and images.abs().max() <= 1
    assert d(images).shape == (5,)


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_depends_on_its_own_latent_and_every_logit_on_its_own_image(kind: str) -> None:
    g, d = pair((1, 16, 16), kind)
    latent = torch.randn(4, 16)
    images = g(latent)
    assert torch.allclose(g(latent[:1]), images[:1], atol=1e-5)
    assert torch.allclose(d(images[:1]), d(images)[:1], atol=1e-5)
    slope = torch.autograd.functional.jacobian(d, images.detach())  # [B, B, C, H, W]
    own = torch.eye(4, dtype=torch.bool)
    assert (slope[~own] == 0).all() and slope[own].flatten(1).any(1).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [8, 64])
def test_what_goes_through_new_networks_keeps_its_scale(kind: str, size: int) -> None:
    torch.manual_seed(0)
    g, d = Generator((3, size, size), 32, 256, 64, kind), Discriminator((3, size, size), 32, 256, kind)
    before_tanh = g.layers[:-1](torch.randn(64, 64))
    logits = d(torch.rand(64, 3, size, size) * 2 - 1)
    assert 0.2 < before_tanh.std() < 3
    assert logits.abs().max() < 10 and logits.std() > 1e-3


def test_residual_branches_add_as_much_variance_as_comes_in() -> None:
    torch.manual_seed(0)
    d = Discriminator((1, 64, 64), 32, 64, "resnet")
    block = [each for each in d.layers if isinstance(each, Residual)][-1]
    maps = torch.randn(2, block.first.in_channels, 48, 48)  # borders lose some
    branch = block(maps) - maps
    assert branch.var().item() == pytest.approx(1 / 4, rel=0.2), "of four blocks each a quarter"


def test_old_names_of_weights_are_kept() -> None:
    """Checkpoints hold them by name."""
    g, d = pair((1, 8, 8), "dcgan")
    assert list(g.state_dict()) == [f"layers.{i}.{what}" for i in (0, 2, 5) for what in ("weight", "bias")]
    assert list(d.state_dict()) == [f"layers.{i}.{what}" for i in (1, 4, 6) for what in ("weight", "bias")]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_reach_images_and_logits(kind: str) -> None:
    g, d = pair((1, 8, 8), kind, num_classes=5)
    latent, label = torch.randn(5, 16), torch.arange(5)
    images = g(latent[:1].expand(5, -1), label)
    assert all(not torch.allclose(images[i], images[j]) for i in range(5) for j in range(i))
    image = torch.rand(1, 1, 8, 8).expand(5, -1, -1, -1)
    assert len(d(image, label).unique()) == 5


def test_the_logit_of_a_label_is_the_inner_product_with_its_embedding() -> None:
    _, d = pair((1, 8, 8), "dcgan", num_classes=5)
    image, label = torch.rand(4, 1, 8, 8, requires_grad=True), torch.tensor([0, 3, 3, 4])
    features: Tensor = d.layers[:-1](image)  # [B, hidden]
    expected = torch.stack([d.embed.weight[y] @ phi for y, phi in zip(label, features, strict=True)])
    found = d(image, label) - d(image)
    torch.testing.assert_close(found, expected)
    for learns in (image, d.embed.weight, d.layers[1].weight):
        slopes = [torch.autograd.grad(each.sum(), learns, retain_graph=True)[0] for each in (found, expected)]
        torch.testing.assert_close(*slopes, msg="images, embeddings and features learn from it")
    torch.testing.assert_close(d(image), d.layers(image).squeeze(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_spectral_norm_is_of_every_layer_of_the_discriminator(kind: str) -> None:
    _, plain = pair((1, 16, 16), kind, num_classes=3)
    _, d = pair((1, 16, 16), kind, num_classes=3, spectral=True)

    def weights(net: nn.Module) -> int:
        return sum(isinstance(each, nn.Linear | nn.Conv2d | nn.Embedding) for each in net.modules())

    layers = [each for each in d.modules() if isinstance(each, Spectral)]
    assert len(layers) == weights(d) == weights(plain) > 4
    for _ in range(100):
        power_iteration(d)
    for each in layers:
        weight = each.layer.weight / each.sigma()  # type: ignore[operator]
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02)
