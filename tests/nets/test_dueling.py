"""Dueling networks: the formula, what the streams are made of, and that acting in NumPy is acting in torch."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from specs import spec_of, stored
from torch import nn

from rlgen.envs.spec import EnvSpec
from rlgen.nets.dueling import Dueling, dueling, dueling_network
from rlgen.nets.images import SmallCNN
from rlgen.nets.layers import NetworkOptions
from rlgen.nets.perceptron import MLP

PICTURE = Box(0, 255, (12, 12, 3), np.uint8)
SPEED = Box(-5, 5, (2,), np.float32)
NUMBERS = EnvSpec("Toy-v0", (4,), "float32", 3, (), (), (), 1)


def shapes(net: nn.Module) -> list[list[int]]:
    return [[*layer.weight.shape] for layer in net.modules() if isinstance(layer, nn.Linear)]


def test_a_value_is_that_of_the_state_and_the_advantage_above_the_mean() -> None:
    value, advantage = torch.tensor([[10.0], [0.0]]), torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    assert dueling(value, advantage).tolist() == [[8, 9, 13], [-1, -1, 2]]
    assert dueling(value.numpy(), advantage.numpy()).tolist() == [[8, 9, 13], [-1, -1, 2]]
    assert dueling(value, advantage.numpy()).tolist() == [[8, 9, 13], [-1, -1, 2]]  # type: ignore[arg-type]


def test_of_several_numbers_an_action_each_has_a_mean_over_actions_of_its_own() -> None:
    value = torch.tensor([[[10.0, 100.0]]])  # [B, 1, K]
    advantage = torch.tensor([[[1.0, 0.0], [3.0, 30.0], [2.0, 60.0]]])  # [B, A, K]
    assert dueling(value, advantage).tolist() == [[[9, 70], [11, 100], [10, 130]]]


@pytest.mark.parametrize("num_values", [1, 5])
def test_what_is_added_to_all_advantages_changes_nothing(num_values: int) -> None:
    """The streams are identified: the mean of Q over actions is V."""
    net, obs = dueling_network(NUMBERS, (16, 8), num_values), torch.randn(7, 4)
    before = net(obs)
    with torch.no_grad():
        net.advantage[-1].bias += torch.arange(1.0, num_values + 1).repeat(3)
    torch.testing.assert_close(net(obs), before)
    value = net.value(net.body(obs))
    torch.testing.assert_close(before.mean(1), value if num_values > 1 else value[:, 0])


@pytest.mark.parametrize(
    ("hidden", "body", "stream"),
    [((32, 16, 8), [[32, 4], [16, 32]], [8, 16]), ((8,), [], [8, 4])],
)
@pytest.mark.parametrize("num_values", [1, 5])
def test_the_last_hidden_layer_is_one_of_each_stream(
    hidden: tuple[int, ...], body: list[list[int]], stream: list[int], num_values: int
) -> None:
    net = dueling_network(NUMBERS, hidden, num_values)
    assert shapes(net.body) == body
    assert shapes(net.value) == [stream, [num_values, 8]]
    assert shapes(net.advantage) == [stream, [3 * num_values, 8]]
    assert isinstance(net.body[-1], nn.ReLU if body else nn.Flatten)


def test_streams_of_one_picture_are_on_the_convolutions() -> None:
    """As in the paper (section 4.2); those of several parts are on the features of all."""
    net = dueling_network(spec_of(PICTURE), (32, 16))
    assert isinstance(net.body, SmallCNN) and shapes(net.body) == []
    assert shapes(net.value) == [[16, 1600], [1, 16]]
    assert shapes(dueling_network(spec_of(Dict(camera=PICTURE, speed=SPEED)), (32, 16)).value)[0] == [16, 2 * 16]


@pytest.mark.parametrize("space", [SPEED, Discrete(4), PICTURE, Dict(camera=PICTURE, speed=SPEED, gear=Discrete(3))])
@pytest.mark.parametrize("num_values", [1, 5])
@pytest.mark.parametrize("num", [1, 300])
def test_every_kind_of_observation_in_numpy_as_in_torch(space: object, num_values: int, num: int) -> None:
    spec = spec_of(space)
    net = dueling_network(spec, (32, 16), num_values)
    obs = stored(spec, space, [space.sample() for _ in range(num)])  # type: ignore[attr-defined]
    with torch.no_grad():
        found, expected = net(obs), net(torch.from_numpy(obs))
    assert expected.shape == (num, spec.num_actions) + (num_values,) * (num_values > 1)
    assert isinstance(found, np.ndarray) == isinstance(net.body, MLP)
    torch.testing.assert_close(torch.as_tensor(found), expected, atol=1e-5, rtol=1e-5)


def test_a_stream_that_numpy_leaves_to_torch_joins_the_other() -> None:
    net = dueling_network(NUMBERS, (64, 64), 100)  # [64, 3 * 100] is too much for 20 observations
    obs = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with torch.no_grad():
        kinds = {type(stream(net.body(obs))) for stream in (net.value, net.advantage)}
        assert kinds == {np.ndarray, torch.Tensor}
        torch.testing.assert_close(net(obs), net(torch.from_numpy(obs)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("space", [SPEED, PICTURE, Dict(camera=PICTURE, speed=SPEED)])
def test_its_layers_are_made_of_what_is_wanted(space: object) -> None:
    net = dueling_network(spec_of(space), (16, 16), 1, NetworkOptions("silu", "layer", "orthogonal"))
    kinds = {type(layer) for layer in net.modules()}
    assert nn.SiLU in kinds and nn.LayerNorm in kinds and nn.ReLU not in kinds
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    gains = {layer: torch.linalg.svdvals(layer.weight).mean().item() for layer in linear}
    outputs = [net.value[-1], net.advantage[-1]]
    assert [gains.pop(layer) for layer in outputs] == pytest.approx([1, 1], rel=1e-4)  # type: ignore[index]
    assert [*gains.values()] == pytest.approx([2**0.5] * len(gains), rel=1e-4)


def test_all_of_it_learns() -> None:
    net = dueling_network(NUMBERS, (16, 8))
    net(torch.randn(50, 4))[:, 1].square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(param.grad is not None and param.grad.abs().sum() > 0 for param in net.parameters())
    assert isinstance(net, Dueling)
