"""What layers are made of: normalisation, activation and initialisation are where they are said to be."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from rlgen.envs.parts import Part
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.nets.images import NETWORKS
from rlgen.nets.layers import ACTIVATIONS, PLAIN, LayerOptions, NetworkOptions
from rlgen.nets.networks import network
from rlgen.nets.perceptron import mlp
from rlgen.nets.policies import actor

VECTOR = EnvSpec("Toy-v0", (3,), "float32", 2, (), (), (), 1)
PICTURE = Part("", "image", (3, 40, 40), "uint8", layout="chw", scale=255.0)
PARTS = (
    Part("a", "vector", (3,), "float32", offset=0),
    Part("b", "image", (3, 40, 40), "uint8", layout="chw", scale=255.0, offset=12),
)
MIXED = EnvSpec("Toy-v0", (4812,), "uint8", 2, (), (), (), 1, obs_parts=PARTS)


def kinds(net: nn.Module) -> list[type]:
    """Classes of the layers, in order."""
    return [type(each) for each in net.modules() if not [*each.children()]]


def test_hidden_layers_are_normalised_before_their_activation_and_the_output_is_not() -> None:
    net = mlp([3, 8, 8, 2], options=LayerOptions("gelu", "layer"))
    body = [nn.Linear, nn.LayerNorm, nn.GELU]
    assert kinds(net) == [*body, *body, nn.Linear]
    assert kinds(mlp([3, 8, 2], nn.Tanh, options=LayerOptions(norm="rms"))) == [
        *(nn.Linear, nn.RMSNorm, nn.Tanh, nn.Linear)
    ]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_that_of_its_name(name: Any) -> None:
    value = torch.linspace(-3, 3, 13)
    net = mlp([13, 13, 2], nn.Softplus, options=LayerOptions(name))
    assert torch.equal(net[1](value), getattr(torch.nn.functional, name)(value))


def test_defaults_are_what_networks_were() -> None:
    """Also in the random numbers that they draw: seeds stay what they were."""
    for make in (lambda **more: mlp([3, 8, 2], nn.Tanh, 0.01, **more), lambda **more: network(VECTOR, (8,), 2, **more)):
        torch.manual_seed(0)
        old = make()
        torch.manual_seed(0)
        assert_same(old, make(options=NetworkOptions()))


def assert_same(one: nn.Module, other: nn.Module) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("init", "hidden", "last"),
    [
        ("orthogonal", math.sqrt(2), 1.0),
        ("he", math.sqrt(2), 1.0),
        ("lecun", 1.0, 1.0),
        ("xavier", 1.0, math.sqrt(2 / (1 + 1 / 8))),  # of 200 inputs and 25 outputs
    ],
)
@pytest.mark.parametrize("gain", [None, 0.01])
def test_weights_have_the_deviation_of_their_scheme(init: Any, hidden: float, last: float, gain: float | None) -> None:
    torch.manual_seed(0)
    net = mlp([200, 200, 200, 25], init_gain=gain, options=LayerOptions(init=init))
    found = [layer for layer in net if isinstance(layer, nn.Linear)]
    assert all(not layer.bias.any() for layer in found)
    for layer, expected in zip(found, (hidden, hidden, last * (1.0 if gain is None else gain)), strict=True):
        assert layer.weight.std().item() * math.sqrt(200) == pytest.approx(expected, rel=0.05)
    if init == "orthogonal":
        assert torch.allclose(found[0].weight @ found[0].weight.T, 2 * torch.eye(200), atol=1e-4)


def test_torch_s_own_initialisation_may_be_asked_of_an_algorithm_with_another() -> None:
    net, _ = actor(VECTOR, (64,), NetworkOptions(init="torch"))
    assert net[-1].bias.any() and net[-1].weight.abs().max() > 0.05
    assert net[-1].weight.abs().max() <= 1 / 8


def test_a_policy_s_small_last_layer_stays_small() -> None:
    """Whatever the scheme: a policy begins undecided."""
    for init in ("orthogonal", "he", "xavier", "lecun"):
        net, _ = actor(VECTOR, (64,), NetworkOptions(init=init))  # type: ignore[arg-type]
        assert 0 < net[-1].weight.abs().max() < 0.05


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_cnn_is_normalised_over_channels(name: str, norm: Any) -> None:
    torch.manual_seed(0)
    net = NETWORKS[name](PICTURE, [PICTURE], 32, NetworkOptions("elu", norm))
    convolutions = sum(kind is nn.Conv2d for kind in kinds(net))
    normed = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}[norm]
    assert sum(kind is normed for kind in kinds(net)) >= convolutions - 3 + 1, "impala pools after some"
    assert nn.ReLU not in kinds(net) and nn.ELU in kinds(net)
    maps = net.conv(torch.rand(2, 3, 40, 40))
    image = torch.randint(255, (2, 3, 40, 40), dtype=torch.uint8)
    assert net(image).shape == (2, 32) and maps.ndim == 4
    last = [each for each in net.conv.modules() if isinstance(each, normed)][-1]
    assert last.normalized_shape == (maps.shape[1],)


@pytest.mark.parametrize("name", NETWORKS)
def test_width_and_depth_of_a_cnn(name: str) -> None:
    def features(**options: Any) -> list[int]:
        net = NETWORKS[name](PICTURE, [PICTURE], 32, NetworkOptions(**options))
        assert net(torch.zeros(2, 3, 40, 40, dtype=torch.uint8)).shape == (2, 32)
        return [each.out_channels for each in net.conv.modules() if isinstance(each, nn.Conv2d)]

    published = {"small_cnn": [16], "nature_cnn": [32, 64, 64], "impala": [*[16] * 5, *[32] * 10]}[name]
    blocks = 5 if name == "impala" else 1
    assert features() == published
    assert features(cnn_width=0.5) == [size // 2 for size in published]
    assert features(cnn_depth=1) == published[:blocks]
    assert features(cnn_depth=5) == published + [published[-1]] * (5 * blocks - len(published))
    assert min(features(cnn_width=1e-3)) == 1


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"cnn_width": 2.0}, "--cnn-width"),
        ({"cnn_depth": 2, "cnn_pool": 3}, "--cnn-depth, --cnn-pool"),
        ({"cnn_spectral_norm": True}, "--cnn-spectral-norm"),
    ],
)
def test_what_a_cnn_is_made_of_is_refused_where_there_is_none(options: dict[str, Any], flags: str) -> None:
    with pytest.raises(UsageError, match=f"^{flags}: Toy-v0 is learned without a CNN; leave that out"):
        network(VECTOR, (8,), 2, options=NetworkOptions(**options))


def test_an_algorithm_s_own_cnn_is_no_matter_without_pictures() -> None:
    @dataclass(frozen=True)
    class Wide(NetworkOptions):
        needed: int = field(kw_only=True)
        cnn_width: float = 2.0

    for own in ({}, {"cnn_width": 1.0}):
        assert network(VECTOR, (8,), 2, options=Wide(needed=1, **own))(torch.zeros(1, 3)).shape == (1, 2)
    with pytest.raises(UsageError, match="--cnn-width: Toy-v0"):
        network(VECTOR, (8,), 2, options=Wide(needed=1, cnn_width=3.0))


def test_pictures_beside_numbers_are_made_of_the_same_layers() -> None:
    net = network(MIXED, (8,), 2, nn.Tanh, 0.01, options=NetworkOptions("silu", "rms", "orthogonal", 0.5))
    found = kinds(net)
    assert found.count(nn.RMSNorm) == 3 + 1 + 1 + 1, "convolutions, features of the picture, of the numbers, of both"
    assert not {nn.ReLU, nn.Tanh} & {*found}
    [*body, head] = [each for each in net.modules() if isinstance(each, nn.Linear | nn.Conv2d)]
    assert head.weight.norm(dim=1).allclose(torch.tensor(0.01))
    assert all(not layer.bias.any() for layer in (*body, head))  # type: ignore[union-attr]
    assert net(torch.zeros(2, MIXED.obs_shape[0], dtype=torch.uint8)).shape == (2, 2)


def test_nothing_is_drawn_for_a_scheme_that_is_not_asked_for() -> None:
    torch.manual_seed(0)
    mlp([3, 8, 2], options=PLAIN)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    nn.Linear(3, 8), nn.Linear(8, 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_layer_norm_of_one_feature_is_refused_as_nothing_would_pass_it() -> None:
    with pytest.raises(UsageError, match="--norm layer over a layer of 1: it would be 0"):
        mlp([3, 1, 2], options=LayerOptions(norm="layer"))
    mlp([3, 1, 2], options=LayerOptions(norm="rms"))
