"""Convolutional networks: what they see of a picture, how large they are, and that they learn what a picture shows."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from specs import spec_of

from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.nets.images import NETWORKS, Impala, NatureCNN, SmallCNN
from rlgen.nets.layers import NetworkOptions
from rlgen.nets.networks import network


def made(kind, space, num_features=8, **how):
    spec = space if isinstance(space, EnvSpec) else spec_of(space, **how)
    [part] = spec.parts
    return kind(part, spec.parts, num_features)


def seen_by_the_first_convolution(net, image):
    seen = []
    handle = net.conv[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    net(image)
    handle.remove()
    return seen[0]


def old(shape):
    return EnvSpec("Toy-v0", shape, "uint8", 2, (), (), (), 1)


@pytest.mark.parametrize("shape", [(4, 36, 40), (36, 40, 3)])
@pytest.mark.parametrize("spec", [old, lambda shape: spec_of(Box(0, 255, shape, np.uint8))])
def test_a_white_pixel_is_one_and_a_black_one_zero(shape, spec):
    """Other scales learn, and worse: nothing else tells."""
    image = torch.zeros(1, *shape, dtype=torch.uint8)
    image[:, :, 1], image[:, :, 2] = 255, 51
    seen = seen_by_the_first_convolution(made(NatureCNN, spec(shape)), image)
    assert seen.dtype == torch.float32 and seen.shape == (1, 4 if shape[0] == 4 else 3, 36, 40)
    assert seen.unique().tolist() == pytest.approx([0.0, 0.2, 1.0])


@pytest.mark.parametrize(
    ("space", "value", "seen"),
    [
        (Box(0, 1, (40, 40, 3), np.float32), 0.5, 0.5),
        (Box(0, 255, (40, 40, 3), np.float32), 51, 0.2),
        (Box(-1, 1, (40, 40, 3), np.float32), -0.5, -0.5),
        (Box(-np.inf, np.inf, (40, 40, 3), np.float32), 300, 300),
        (Box(0, 10, (7, 7, 3), np.uint8), 5, 0.5),
        (Box(0, 8, (7, 7, 3), np.int64), 4, 0.5),
        (Box(0, 1, (10, 10, 4), bool), True, 1),
        (Box(0, 255, (84, 84), np.uint8), 255, 1),
    ],
)
def test_the_scale_is_that_of_the_bounds(space, value, seen):
    spec = spec_of(space)
    image = torch.from_numpy(np.full((1, *space.shape), value).astype(spec.obs_dtype))
    found = seen_by_the_first_convolution(made(SmallCNN, spec), image)
    assert found.unique().tolist() == pytest.approx([seen])


def test_images_with_channels_last_are_those_with_channels_first():
    torch.manual_seed(0)
    last, first = (made(NatureCNN, Box(0, 255, shape, np.uint8)) for shape in ((40, 48, 9), (9, 40, 48)))
    first.load_state_dict(last.state_dict())
    image = torch.randint(256, (2, 40, 48, 9), dtype=torch.uint8)
    assert torch.allclose(last(image), first(image.movedim(-1, 1)), atol=1e-6)


def test_a_stack_of_coloured_frames_has_the_channels_of_all():
    net = made(SmallCNN, Box(0, 255, (2, 12, 14, 3), np.uint8))
    image = torch.randint(256, (1, 2, 12, 14, 3), dtype=torch.uint8)
    seen = seen_by_the_first_convolution(net, image)
    assert seen.shape == (1, 6, 12, 14)
    assert torch.allclose(seen[0, 3:], image[0, 1].movedim(-1, 0) / 255)


def test_pictures_that_are_too_small_for_a_network_are_refused_in_a_line():
    with pytest.raises(UsageError, match=r"nature_cnn: pictures of 35 x 84 .* 36 x 36 at least: --network small"):
        made(NatureCNN, Box(0, 255, (3, 35, 84), np.uint8))


def test_images_as_an_environment_gives_them_may_be_arrays():
    net = network(spec_of(Box(0, 255, (4, 36, 36), np.uint8)), (8,), 2)
    image = torch.randint(256, (2, 4, 36, 36), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(net(image.numpy()), net(image))


@pytest.mark.parametrize(
    ("kind", "shape", "features", "expected"),
    [
        # by hand: 9 * 4 * 16 + 16 of the convolution, 8 * 8 * 16 = 1,024 features, 128 units
        (SmallCNN, (10, 10, 4), 128, 592 + 1024 * 128 + 128),
        (SmallCNN, (7, 7, 3), 64, 448 + 400 * 64 + 64),
        (NatureCNN, (4, 84, 84), 512, 8224 + 32832 + 36928 + 3136 * 512 + 512),
        # Espeholt et al. 2018: 97,600 of the convolutions, 9 x 12 x 32 features of 72 x 96 pixels, 256 units; with the
        # LSTM of 256 and the heads it is the paper's 1.6 million
        (Impala, (72, 96, 3), 256, 97_600 + 9 * 12 * 32 * 256 + 256),
    ],
)
def test_the_sizes_of_networks_are_those_of_their_papers(kind, shape, features, expected):
    net = made(kind, Box(0, 255, shape, np.uint8), features)
    assert sum(param.numel() for param in net.parameters()) == expected
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in net.modules())
    assert convolutions == {SmallCNN: 1, NatureCNN: 3, Impala: 15}[kind]


@pytest.mark.parametrize(
    ("kind", "side", "pool", "expected"),
    [
        (Impala, 84, None, (11, 11)),
        (Impala, 84, 6, (6, 6)),  # as of BTR (Clark et al. 2025)
        (Impala, 10, 6, (2, 2)),  # they are smaller already
        (NatureCNN, 84, 3, (3, 3)),
        (SmallCNN, 10, 8, (8, 8)),
    ],
)
def test_the_last_maps_are_pooled_to_so_many_places(kind, side, pool, expected):
    part = spec_of(Box(0, 255, (side, side, 4), np.uint8)).parts[0]
    torch.manual_seed(0)
    net = kind(part, [part], None, NetworkOptions(cnn_pool=pool, cnn_width=2.0))
    torch.manual_seed(0)
    plain = kind(part, [part], None, NetworkOptions(cnn_width=2.0))
    image = torch.randint(256, (2, side, side, 4), dtype=torch.uint8)
    maps = plain.conv(image.movedim(-1, 1) / 255)
    height, width = expected
    assert net(image).shape == (2, net.num_features) and net.num_features == maps.shape[1] * height * width
    tall, wide = maps.shape[2:]
    for i in range(height):
        for j in range(width):
            rows = slice(i * tall // height, -(-(i + 1) * tall // height))
            columns = slice(j * wide // width, -(-(j + 1) * wide // width))
            seen = net(image).unflatten(1, (-1, height, width))[:, :, i, j]
            assert torch.equal(seen, maps[:, :, rows, columns].amax((2, 3)))


@pytest.mark.parametrize("shape", [(2, 2, 1), (2, 9, 1), (3, 3, 2), (7, 7, 3)])
@pytest.mark.parametrize("kind", [SmallCNN, Impala])
def test_small_pictures_are_no_trouble(kind, shape):
    net = made(kind, Box(0, 255, shape, np.uint8))
    assert net(torch.zeros(5, *shape, dtype=torch.uint8)).shape == (5, 8)


@pytest.mark.parametrize(("name", "side"), [("small_cnn", 10), ("impala", 10), ("nature_cnn", 36)])
def test_where_a_white_square_lies_is_learned(name, side):
    """In one of four quarters, wherever in it."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    size = side // 5
    row, column = rng.integers(0, side - size, (2, 512))
    image = np.zeros((512, side, side, 1), np.uint8)
    for i in range(512):
        image[i, row[i] : row[i] + size, column[i] : column[i] + size] = 255
    half = (side - size) / 2
    label = torch.from_numpy(2 * (row > half) + (column > half))
    net = network(spec_of(Box(0, 255, (side, side, 1), np.uint8), 4, network=name), (32,), 4)
    assert type(net[0]) is NETWORKS[name]
    images, adam = torch.from_numpy(image), torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(12):
        for batch in torch.randperm(384).split(64):
            loss = torch.nn.functional.cross_entropy(net(images[batch]), label[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
    right = (net(images[384:]).argmax(-1) == label[384:]).float().mean().item()
    assert right > 0.9, "of pictures that it has not seen"
