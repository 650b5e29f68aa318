"""Acting in NumPy is acting in torch."""

import numpy as np
import pytest
import torch
from torch import nn

from rlgen.envs.spec import EnvSpec
from rlgen.nets.layers import LayerOptions
from rlgen.nets.networks import network
from rlgen.nets.perceptron import MLP, forward_array, mlp


class Doubled(nn.Linear):
    """A layer that is no plain Linear, as a noisy one is not."""

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(value)


@pytest.mark.parametrize(
    ("net", "shape", "in_numpy"),
    [
        (mlp([3, 16, 16, 2]), (3,), True),
        (mlp([3, 16, 2], nn.Tanh), (3,), True),
        (network(EnvSpec("Toy-v0", (2, 3), "float32", 2, (), (), (), 1), (8,), 2), (2, 3), True),
        (MLP(nn.Linear(3, 2, bias=False)), (3,), False),
        (MLP(Doubled(3, 2)), (3,), False),
        (MLP(nn.Tanh(), nn.Linear(3, 2)), (3,), True),
        (MLP(nn.Linear(3, 4), nn.Softplus()), (3,), False),
        (MLP(nn.Linear(3, 4), nn.LayerNorm(4)), (3,), True),
        (MLP(nn.Linear(3, 4), nn.LayerNorm(4, elementwise_affine=False)), (3,), False),
        (MLP(nn.Linear(3, 4), nn.LayerNorm(4, bias=False)), (3,), False),
        (mlp([3, 16, 2], options=LayerOptions("silu", "layer", "orthogonal")), (3,), True),
        (mlp([3, 16, 2], options=LayerOptions("tanh", "rms")), (3,), True),
        (mlp([3, 16, 2], options=LayerOptions("gelu")), (3,), False),
        (mlp([3, 600, 600, 2]), (3,), False),
    ],
)
@pytest.mark.parametrize("num", [1, 7, 300])
def test_an_array_is_answered_as_a_tensor_and_left_alone(
    net: nn.Module, shape: tuple[int, ...], in_numpy: bool, num: int
) -> None:
    obs = torch.randn(num, *shape)
    seen = obs.clone()
    found = net(obs.numpy())
    assert isinstance(found, np.ndarray if in_numpy else torch.Tensor)
    of_array = torch.as_tensor(found)
    assert torch.allclose(of_array, net(obs), atol=1e-5)
    assert not of_array.requires_grad
    assert torch.equal(obs, seen)
    assert torch.equal(torch.as_tensor(forward_array(net, obs.numpy())), of_array)
    assert torch.equal(torch.as_tensor(net(obs.double().numpy().astype(np.float32))), of_array)


def test_a_layer_that_stands_in_two_places_is_applied_in_both() -> None:
    """`nn.Module.children` names it once."""
    activation = nn.Tanh()
    net, obs = MLP(nn.Linear(3, 4), activation, nn.Linear(4, 2), activation), torch.randn(5, 3)
    assert torch.allclose(torch.as_tensor(net(obs.numpy())), net(obs), atol=1e-6)


def test_every_change_of_the_parameters_is_seen() -> None:
    net, obs = mlp([3, 8, 2]), torch.randn(2, 3)
    net(obs.numpy())
    with torch.no_grad():
        net[0].weight.mul_(3.0)
    assert torch.allclose(torch.as_tensor(net(obs.numpy())), net(obs), atol=1e-6), "in place"
    net[2].weight.data = torch.randn(2, 8)
    assert torch.allclose(torch.as_tensor(net(obs.numpy())), net(obs), atol=1e-6), "in other memory"
