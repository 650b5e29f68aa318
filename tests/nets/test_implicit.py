"""Networks of quantiles at any probability, of all kinds of observations; their formula: tests/agents/test_iqn.py."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from specs import spec_of, stored
from torch import nn

from rlgen.nets.implicit import implicit_network, midpoints
from rlgen.nets.layers import NetworkOptions
from rlgen.nets.masks import LOWEST

NUMBERS = Box(-1, 1, (3,), np.float32)
PICTURE = Box(0, 255, (5, 5, 1), np.uint8)
SPACES = {"numbers": NUMBERS, "picture": PICTURE, "both": Dict(picture=PICTURE, numbers=NUMBERS)}
MASKS = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)  # the last one is of an episode's end
VALID = torch.from_numpy(np.where(MASKS.any(1, keepdims=True), MASKS, True))


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("kind", SPACES)
def test_quantiles_at_the_midpoints_are_those_at_these_probabilities(kind: str, dueling: bool, masks: bool) -> None:
    space = SPACES[kind]
    space.seed(0)
    spec = spec_of(space, num_actions=4, masks=masks)
    array = stored(spec, space, [space.sample() for _ in MASKS], list(MASKS) if masks else None)
    torch.manual_seed(0)
    obs, net = torch.from_numpy(array), implicit_network(spec, (32,), 5, dueling=dueling)
    out = net(obs)
    assert out.shape == (3, 4, 5)
    torch.testing.assert_close(net(obs, tau=torch.tensor([[0.1, 0.3, 0.5, 0.7, 0.9]]).expand(3, 5)), out)
    torch.testing.assert_close(torch.as_tensor(net(array)), out)
    assert torch.equal(
        out > LOWEST, (VALID if masks else torch.ones(3, 4, dtype=torch.bool))[..., None].expand(3, 4, 5)
    )
    of_valid = out[VALID]
    assert (of_valid[:, 0] != of_valid[:, 4]).all(), "other quantiles, with one hidden layer too"
    assert (net(0 * obs)[2, 0, 0] != net(0 * obs)[2, 0, 4]).item(), "also where there is nothing to see"


def test_midpoints_have_the_mean_of_a_symmetric_distribution() -> None:
    assert midpoints(4).tolist() == [0.125, 0.375, 0.625, 0.875]
    normal = torch.distributions.Normal(3.0, 2.0).icdf(midpoints(5))
    assert normal.mean().item() == pytest.approx(3.0)


def layers_of(net: nn.Module, kind: Any) -> list[Any]:
    return [layer for layer in net.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize("dueling", [False, True])
def test_layers_are_made_of_what_the_options_say(dueling: bool) -> None:
    options = NetworkOptions(activation="tanh", norm="layer", init="orthogonal")
    torch.manual_seed(0)
    net = implicit_network(spec_of(NUMBERS, num_actions=4), (16, 8), 5, options, dueling)
    linear = layers_of(net, nn.Linear)
    assert [tuple(layer.weight.shape) for layer in layers_of(net.head, nn.Linear) if layer.out_features < 8] == (
        [(1, 8), (4, 8)] if dueling else [(4, 8)]
    )
    assert len(layers_of(net, nn.LayerNorm)) == len(layers_of(net, nn.Tanh)) == len(linear) - (2 if dueling else 1)
    assert not layers_of(net, nn.ReLU) and all((layer.bias == 0).all() for layer in linear)
    for layer in linear:
        gain = 1 if layer.out_features < 8 else 2**0.5
        small = min(layer.weight.shape)
        product = layer.weight.T @ layer.weight if layer.in_features == small else layer.weight @ layer.weight.T
        torch.testing.assert_close(product, gain**2 * torch.eye(small), atol=1e-5, rtol=0)
