"""Networks see what they say they see."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from specs import spec_of, stored
from torch import nn

from rlgen.envs.spec import EnvSpec
from rlgen.nets.images import Impala, NatureCNN, SmallCNN
from rlgen.nets.networks import network
from rlgen.nets.perceptron import MLP, mlp

PICTURE = Box(0, 255, (12, 12, 3), np.uint8)
SPEED = Box(-5, 5, (2,), np.float32)


def plain(shape):
    return spec_of(Box(-1, 1, shape, np.float32), obs="flat")


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3, 4)])
def test_other_shapes_are_flattened(shape):
    obs = torch.randn(5, *shape)
    net = network(plain(shape), (8, 8), 2)
    assert net(obs).shape == (5, 2)
    assert net[-1].in_features == 8 and isinstance(net, nn.Sequential)
    assert isinstance(net(obs.numpy()), np.ndarray)


def test_plain_numbers_have_the_network_of_before():
    assert [type(layer) for layer in network(plain((4,)), (8,), 2)] == [nn.Linear, nn.ReLU, nn.Linear]
    old = EnvSpec("Toy-v0", (4,), "float32", 2, (), (), (), 1)
    assert [name for name, _ in network(old, (8,), 2).named_parameters()] == [
        name for name, _ in network(plain((4,)), (8,), 2).named_parameters()
    ]


def test_a_run_of_before_has_its_pictures_network():
    old = network(EnvSpec("Toy-v0", (4, 84, 84), "uint8", 6, (), (), (), 1), (512,), 6)
    assert {"0.conv.0.weight", "0.linear.weight", "1.weight"} <= old.state_dict().keys()
    sizes = [param.numel() for param in old.parameters()]
    assert sum(sizes) == 8224 + 32832 + 36928 + 3136 * 512 + 512 + 512 * 6 + 6, (
        "Mnih et al. 2015, of Pong's six actions"
    )


def test_the_gain_of_the_last_layer_is_its_own():
    net = mlp([8, 16, 4], nn.Tanh, init_gain=0.01)
    for layer, gain in ((net[0], 2**0.5), (net[2], 0.01)):
        assert torch.linalg.svdvals(layer.weight).tolist() == pytest.approx([gain] * min(layer.weight.shape), rel=1e-4)
        assert not layer.bias.any()


def test_the_gain_is_that_of_the_output_alone_whatever_is_before():
    net = network(spec_of(Dict(camera=PICTURE, speed=SPEED)), (16, 16), 2, nn.Tanh, init_gain=0.01)
    gains = {
        name: torch.linalg.svdvals(layer.weight).max().item()
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Linear) and "linear" not in name  # that of a CNN keeps torch's
    }
    last = list(gains).pop()
    assert gains.pop(last) == pytest.approx(0.01) and [*gains.values()] == pytest.approx([2**0.5] * len(gains))


@pytest.mark.parametrize(
    ("side", "wanted", "expected"),
    [
        *((84, "auto", NatureCNN), (36, "auto", NatureCNN), (35, "auto", SmallCNN), (2, "auto", SmallCNN)),
        *((84, "impala", Impala), (10, "impala", Impala), (84, "small_cnn", SmallCNN), (84, "mlp", MLP)),
    ],
)
def test_the_network_of_pictures_is_chosen_by_their_size_or_by_name(side, wanted, expected):
    space = Box(0, 255, (side, side, 1), np.uint8)
    spec = spec_of(space, network=wanted)
    net = network(spec, (8, 8), 2)
    assert type(net if expected is MLP else net[0]) is expected
    assert net(torch.from_numpy(np.stack([space.sample()] * 3))).shape == (3, 2)


def features(space, observation, **how):
    """What the first layer of the network sees of an observation."""
    spec = spec_of(space, **how)
    net = network(spec, (4,), 2)
    array = stored(spec, space, [observation])
    seen = net[0](torch.from_numpy(array))
    if spec.obs_dtype == "float32":
        assert np.array_equal(net[0].of_array(array), seen.numpy())
    assert seen.dtype == torch.float32
    return seen[0].tolist()


def test_numbers_are_scaled_by_what_their_type_holds_and_choices_are_one_hot():
    assert features(Box(0, 255, (3,), np.uint8), np.array([0, 51, 255])) == pytest.approx([0, 0.2, 1])
    assert features(Box(0, 10, (2,), np.uint8), np.array([5, 10])) == pytest.approx([0.5, 1])
    assert features(Box(0, 1, (2, 2), bool), np.array([[1, 0], [0, 1]]), obs="flat") == [1, 0, 0, 1]
    assert features(Discrete(4, start=-1), 1) == [0, 0, 1, 0]
    assert features(MultiDiscrete([2, 3], start=[0, 5]), np.array([1, 5])) == [0, 1, 1, 0, 0]
    assert features(MultiBinary(3), np.array([1, 0, 1], np.int8)) == [1, 0, 1]
    assert features(Tuple((Discrete(2), SPEED)), (1, np.array([3.0, -4.0]))) == [0, 1, 3, -4]


@pytest.mark.parametrize("image", [PICTURE, Box(0, 1, (12, 12, 3), np.float32), Box(0, 1, (12, 12, 4), bool)])
@pytest.mark.parametrize("network_name", ["auto", "mlp"])
def test_every_part_reaches_the_output(image, network_name):
    space = Dict({"camera": image, "deep": Dict(speed=SPEED, gear=Discrete(5)), "mission": Text(9)})
    space.seed(1)
    spec, one, other = spec_of(space, network=network_name), space.sample(), space.sample()
    other["deep"]["gear"] = (one["deep"]["gear"] + 1) % 5
    mixed = [
        one,
        one | {"camera": other["camera"]},
        one | {"deep": other["deep"] | {"gear": one["deep"]["gear"]}},
        one | {"deep": one["deep"] | {"gear": other["deep"]["gear"]}},
        one | {"mission": "another"},
    ]
    torch.manual_seed(0)
    net = network(spec, (32,), 3)
    out = net(torch.from_numpy(stored(spec, space, mixed[:4])))
    assert all((out[0] - out[i]).abs().max() > 1e-4 for i in (1, 2, 3)), "it depends on each"
    # in the same place of a batch: the last bits of a row depend on where it stands
    assert torch.equal(out, net(torch.from_numpy(stored(spec, space, [mixed[4], *mixed[1:4]]))))


def test_a_joined_network_is_of_features_of_every_part():
    spec = spec_of(Dict(camera=PICTURE, speed=SPEED, map=Box(0, 1, (10, 10, 4), bool)))
    net = network(spec, (32, 16), 3)
    names = [type(encoder).__name__ for encoder in net.encoders]
    assert names == ["SmallCNN", "SmallCNN", "MLP"] and net.head[0].in_features == 3 * 16
