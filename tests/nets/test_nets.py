"""Acting in NumPy is acting in torch."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from rlgen.core.learner import Learner
from rlgen.nets.networks import infer, mlp, network
from rlgen.nets.policies import Categorical, epsilon_greedy


class Doubled(nn.Linear):
    """A layer that is no plain Linear, as a noisy one is not."""

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(value)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (mlp([3, 16, 16, 2]), (3,)),
        (mlp([3, 16, 2], nn.Tanh), (3,)),
        (network((2, 3), (8,), 2), (2, 3)),
        (nn.Linear(3, 2, bias=False), (3,)),
        (Doubled(3, 2), (3,)),
        (nn.Sequential(nn.Tanh(), nn.Linear(3, 2)), (3,)),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), (3,)),
        (mlp([3, 600, 600, 2]), (3,)),
    ],
)
@pytest.mark.parametrize("num", [1, 7, 300])
def test_infer_is_the_network_and_leaves_what_it_sees_alone(net: nn.Module, shape: tuple[int, ...], num: int) -> None:
    obs = torch.randn(num, *shape)
    seen = obs.clone()
    assert torch.allclose(infer(net, obs), net(obs), atol=1e-5)
    assert torch.equal(obs, seen)
    assert not infer(net, obs).requires_grad
    of_array = torch.as_tensor(infer(net, obs.numpy()))
    assert torch.equal(of_array, infer(net, obs)) and torch.equal(obs, seen)


def test_infer_sees_every_change_of_the_parameters() -> None:
    net, obs = mlp([3, 8, 2]), torch.randn(2, 3)
    infer(net, obs)
    with torch.no_grad():
        net[0].weight.mul_(3.0)
    assert torch.allclose(infer(net, obs), net(obs), atol=1e-6), "in place"
    net[2].weight.data = torch.randn(2, 8)
    assert torch.allclose(infer(net, obs), net(obs), atol=1e-6), "in other memory"


@pytest.mark.parametrize("num", [1, 8])
def test_actions_drawn_from_arrays_are_those_drawn_from_tensors(num: int) -> None:
    logits, states = torch.randn(200, num, 3), [torch.Generator().manual_seed(1) for _ in range(4)]
    for each in logits:
        array = epsilon_greedy(each.numpy(), 0.5, states[0])
        assert array.dtype == np.int64 and array.tolist() == epsilon_greedy(each, 0.5, states[1]).tolist()
        array = Categorical(each.numpy()).sample(states[2])
        assert array.dtype == np.int64 and array.tolist() == Categorical(each).sample(states[3]).tolist()


def test_epsilon_greedy_explores_as_often_as_it_is_told() -> None:
    q_value = torch.tensor([[0.0, 2.0, 1.0, -1.0]]).expand(40_000, 4).contiguous()
    generator = torch.Generator().manual_seed(0)
    shares = torch.bincount(epsilon_greedy(q_value, 0.2, generator), minlength=4) / len(q_value)
    assert shares.tolist() == pytest.approx([0.05, 0.85, 0.05, 0.05], abs=0.006)
    assert epsilon_greedy(q_value, 0.0, generator).eq(1).all()


def test_moments_saved_when_weights_lay_otherwise_in_memory_still_belong_to_their_weights() -> None:
    """Fused Adam pairs numbers by their place: those of an older version once moved other weights."""

    class Convolution(Learner):
        def __init__(self, layout: torch.memory_format) -> None:
            super().__init__(None)
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 5, 4).to(memory_format=layout)  # type: ignore[call-overload]
            self.optimizer = torch.optim.Adam(self.conv.parameters(), lr=0.1, fused=True)

    def move(learner: Convolution, seed: int) -> None:
        image = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
        learner.minimize(lambda nets, batch: (nets.conv(batch["image"]).square().mean(), {}), {"image": image},
                         learner.optimizer)  # fmt: skip

    old, new = Convolution(torch.contiguous_format), Convolution(torch.channels_last)
    move(old, 0)
    new.load_state_dict(copy.deepcopy(old.state_dict()))
    for learner in (old, new):
        move(learner, 1)
    assert new.conv.weight.stride() != old.conv.weight.stride()
    assert torch.allclose(new.conv.weight, old.conv.weight, atol=1e-5)
