"""Spectral normalisation against PyTorch's own, singular value decompositions, and each way of taking a step."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from line import batches
from specs import spec_of
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from rlgen.core.batch import Batch
from rlgen.core.functional import soft_update
from rlgen.core.learner import Learner
from rlgen.core.step import Eager
from rlgen.nets.layers import NetworkOptions
from rlgen.nets.noisy import Acting
from rlgen.nets.q_network import q_network
from rlgen.nets.spectral import Spectral, power_iteration
from rlgen.speed import recorded
from rlgen.speed.recorded import Recorded
from rlgen.speed.stacked import Together

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (5, 6)),
    "wide": (lambda: nn.Linear(3, 9, bias=False), (5, 3)),
    "convolution": (lambda: nn.Conv2d(3, 5, 3, 2, padding=1), (2, 3, 8, 9)),
    "channels last": (lambda: nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last), (2, 3, 8, 9)),  # type: ignore[call-overload]
}
SPECTRAL = NetworkOptions(cnn_spectral_norm=True)


def largest(weight: Tensor) -> float:
    """Of the singular values of a weight's matrix, in float64."""
    value: float = torch.linalg.svdvals(weight.detach().double().flatten(1))[0].item()
    return value


def made(kind: str) -> tuple[Spectral, Tensor]:
    """A layer, and what goes in."""
    torch.manual_seed(0)
    layer, shape = LAYERS[kind]
    return Spectral(layer()), torch.randn(shape)


@pytest.mark.parametrize("kind", LAYERS)
def test_power_iteration_finds_the_largest_singular_value(kind: str) -> None:
    net, value = made(kind)
    assert net.sigma().item() == pytest.approx(largest(net.layer.weight), rel=0.05), "from the beginning"
    net.iterate(1000)
    assert net.sigma().item() == pytest.approx(largest(net.layer.weight), rel=1e-5)
    plain = copy.deepcopy(net.layer)
    with torch.no_grad():
        plain.weight /= largest(plain.weight)
    torch.testing.assert_close(net(value), plain(value))
    assert largest(plain.weight) == pytest.approx(1)


def test_a_step_is_that_of_the_paper() -> None:
    """v = W^T u over its length, then u = W v over its length (algorithm 1), in float64."""
    net, _ = made("linear")
    matrix, u = net.layer.weight.detach().double().numpy(), net.u.double().numpy()
    for _ in range(3):
        with torch.no_grad():
            net.layer.weight.add_(0.3)
        matrix = matrix + 0.3
        v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
        u = matrix @ v / np.linalg.norm(matrix @ v)
        net.iterate()
        assert np.allclose(net.v, v, atol=1e-6) and np.allclose(net.u, u, atol=1e-6)
        assert net.sigma().item() == pytest.approx(u @ matrix @ v, rel=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_outputs_and_gradients_are_those_of_pytorch_with_the_same_vectors(kind: str) -> None:
    """Before the vectors are right, too: gradients go through sigma, and not through them."""
    net, value = made(kind)
    with torch.no_grad():
        net.layer.weight.add_(0.1 * torch.randn_like(net.layer.weight))
    other = copy.deepcopy(net.layer)
    theirs: Any = spectral_norm(other).eval()
    theirs.parametrizations.weight[0]._u, theirs.parametrizations.weight[0]._v = net.u.clone(), net.v.clone()
    u, v = net.u.clone(), net.v.clone()
    torch.testing.assert_close(net(value), theirs(value))
    (grad,) = torch.autograd.grad(net(value).square().sum(), net.layer.weight)
    (expected,) = torch.autograd.grad(theirs(value).square().sum(), theirs.parametrizations.weight.original)
    torch.testing.assert_close(grad, expected, atol=1e-4, rtol=1e-5)
    assert torch.equal(net.u, u) and torch.equal(net.v, v), "a loss changes nothing"


def test_in_bfloat16_sigma_is_what_it_is() -> None:
    net, value = made("convolution")
    sigma = net.sigma()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.sigma(), sigma)
        assert net(value).dtype == torch.bfloat16


class Bounded(Learner):
    """A line through two layers with spectral normalisation, and a copy of it that follows."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__(None)
        self.net = nn.Sequential(Spectral(nn.Linear(3, 8)), nn.ReLU(), Spectral(nn.Linear(8, 1)))
        self.target = copy.deepcopy(self.net).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1, fused=True)

    def loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        loss = (nets.net(batch["x"]).squeeze(-1) - batch["y"]).square().mean()
        return loss, {"losses/loss": loss}

    def update(self, batch: Batch) -> Batch:
        return self.minimize(self.loss, batch, self.optimizer)


def vectors(net: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in net.buffers()]


def test_an_update_takes_one_step_of_power_iteration_before_its_loss() -> None:
    """In the layers that learn; the others are copied with their network."""
    learner = Bounded()
    for _, batch in zip(range(4), batches(), strict=False):
        expected, before = copy.deepcopy(learner.net), vectors(learner.target)
        power_iteration(expected)
        wanted = (expected(batch["x"]).squeeze(-1) - batch["y"]).square().mean()
        metrics = learner.learn(batch)
        assert torch.equal(metrics["losses/loss"], wanted)
        assert all(map(torch.equal, vectors(learner.net), vectors(expected)))
        assert all(map(torch.equal, vectors(learner.target), before))
    assert not torch.equal(vectors(learner.net)[0], vectors(learner.target)[0])
    soft_update(learner.target, learner.net)
    assert torch.equal(learner.target(batch["x"]), learner.net(batch["x"]))
    assert {"net.0.u", "net.0.v"} < learner.state_dict().keys()


def test_a_network_that_learns_keeps_its_bound() -> None:
    """One step an update is enough to follow the weights."""
    learner = Bounded()
    for _, batch in zip(range(50), batches(), strict=False):
        learner.learn(batch)
    for layer in (learner.net[0], learner.net[2]):
        power_iteration(learner)
        assert layer.sigma().item() == pytest.approx(largest(layer.layer.weight), rel=0.02)  # type: ignore[operator]


def test_recorded_and_stacked_updates_are_the_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    together, alone = Together(verify=9), Recorded(verify=9)

    def learned(seed: int, executor: Any) -> Bounded:
        learner = Bounded(seed)
        learner.executor = executor
        for _, batch in zip(range(7), batches(), strict=False):
            learner.learn(batch)
        return learner

    eager = [learned(seed, Eager()) for seed in (0, 1)]
    others: list[Any] = [learned(0, alone)]
    others += together.run([lambda seed=seed: learned(seed, together) for seed in (0, 1)])  # type: ignore[misc]
    assert alone.recordings and together.recorded.recordings and not alone.refused and not together.recorded.refused
    for one, other in zip([eager[0], *eager], others, strict=True):
        for name, value in one.net.state_dict().items():
            torch.testing.assert_close(value, other.net.state_dict()[name], atol=1e-5, rtol=1e-4, msg=name)


def convolutions(network: str, side: int = 40, **options: Any) -> tuple[nn.Module, list[tuple[bool, nn.Conv2d]]]:
    """A network of pictures, and which of its convolutions are normalised."""
    torch.manual_seed(0)
    spec = spec_of(Box(0, 255, (side, side, 3), np.uint8), network=network)
    net = q_network(spec, (8,), 1, NetworkOptions(cnn_spectral_norm=True, **options))
    inside = {id(each.layer) for each in net.modules() if isinstance(each, Spectral)}
    return net, [(id(each) in inside, each) for each in net.modules() if isinstance(each, nn.Conv2d)]


@pytest.mark.parametrize(
    ("network", "normalised"),
    [
        ("impala", [False, *[True] * 4] * 3),  # of a block the first convolution is in no residual branch
        ("nature_cnn", [True] * 3),
        ("small_cnn", [True]),
    ],
)
def test_convolutions_are_normalised_and_linear_layers_not(network: str, normalised: list[bool]) -> None:
    net, found = convolutions(network)
    assert [each for each, _ in found] == normalised
    linear = [each for each in net.modules() if isinstance(each, nn.Linear)]
    assert linear and not {id(each) for each in linear} & {
        id(m.layer) for m in net.modules() if isinstance(m, Spectral)
    }


@pytest.mark.parametrize("init", ["orthogonal", "he"])
def test_vectors_are_those_of_the_weights_that_were_drawn_last(init: Any) -> None:
    """From others sigma would be next to nothing, and a weight many times too large."""
    net, _ = convolutions("impala", 12, init=init)
    for each in net.modules():
        if isinstance(each, Spectral):
            assert each.sigma().item() == pytest.approx(largest(each.layer.weight), rel=0.15)


def test_what_acts_with_noise_has_the_vectors_of_what_learns() -> None:
    spec = spec_of(Box(0, 255, (9, 9, 3), np.uint8), network="impala")
    noisy = q_network(spec, (8,), 1, SPECTRAL, noisy=True)
    acting, generator, again = Acting(noisy), *(torch.Generator().manual_seed(1) for _ in range(2))
    obs = torch.randint(256, (4, 9, 9, 3), dtype=torch.uint8)
    with torch.no_grad():
        for param in noisy.parameters():
            param.add_(0.05 * torch.randn_like(param))
        power_iteration(noisy)
        acting.draw(noisy, generator)
        torch.testing.assert_close(acting(obs), noisy(obs, noisy.draw(1, again)[0]))
