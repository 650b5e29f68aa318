"""Networks see what they say they see."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlgen.nets.networks import NatureCNN, network
from rlgen.nets.perceptron import mlp


def seen_by_the_first_convolution(net: NatureCNN, image: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = net.conv[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    net(image)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("shape", [(4, 36, 40), (36, 40, 3)])
def test_a_white_pixel_is_one_and_a_black_one_zero(shape: tuple[int, ...]) -> None:
    """Other scales learn, and worse: nothing else tells."""
    image = torch.zeros(1, *shape, dtype=torch.uint8)
    image[:, :, 1], image[:, :, 2] = 255, 51
    seen = seen_by_the_first_convolution(NatureCNN(shape, 8), image)
    assert seen.dtype == torch.float32 and seen.shape == (1, 4 if shape[0] == 4 else 3, 36, 40)
    assert seen.unique().tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_images_with_channels_last_are_those_with_channels_first() -> None:
    torch.manual_seed(0)
    last, first = NatureCNN((40, 48, 3), 8), NatureCNN((3, 40, 48), 8)
    first.load_state_dict(last.state_dict())
    image = torch.randint(256, (2, 40, 48, 3), dtype=torch.uint8)
    assert torch.allclose(last(image), first(image.movedim(-1, 1)), atol=1e-6)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="36 x 36 at least"):
        NatureCNN((3, 35, 84), 8)


def test_images_as_an_environment_gives_them_may_be_arrays() -> None:
    net, image = network((4, 36, 36), (8,), 2), torch.randint(256, (2, 4, 36, 36), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(net(image.numpy()), net(image))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3, 4)])
def test_other_shapes_are_flattened(shape: tuple[int, ...]) -> None:
    obs = torch.randn(5, *shape)
    net = network(shape, (8, 8), 2)
    assert net(obs).shape == (5, 2)
    assert net[-1].in_features == 8 and isinstance(net, nn.Sequential)
    assert isinstance(net(obs.numpy()), np.ndarray)


def test_the_gain_of_the_last_layer_is_its_own() -> None:
    net = mlp([8, 16, 4], nn.Tanh, init_gain=0.01)
    for layer, gain in ((net[0], 2**0.5), (net[2], 0.01)):
        assert torch.linalg.svdvals(layer.weight).tolist() == pytest.approx([gain] * min(layer.weight.shape), rel=1e-4)
        assert not layer.bias.any()
