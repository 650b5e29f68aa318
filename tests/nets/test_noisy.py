"""Noisy layers: their noise is the paper's, it is learned, and without it they are plain ones."""

import copy
import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from specs import spec_of, stored
from torch import Tensor, nn

from rlgen.nets.layers import NetworkOptions
from rlgen.nets.noisy import Acting, Noisy
from rlgen.nets.perceptron import mlp
from rlgen.nets.q_network import q_network

PICTURE = Box(0, 255, (12, 12, 3), np.uint8)
SPEED = Box(-5, 5, (2,), np.float32)
SPACES = {"numbers": SPEED, "picture": PICTURE, "both": Dict(camera=PICTURE, speed=SPEED)}


def one_layer(weight: list[list[float]], bias: list[float], sigma: list[list[float]], sigma_bias: list[float]) -> Noisy:
    net = Noisy(mlp([len(weight[0]), len(weight)]))
    with torch.no_grad():
        for param, value in zip(net.parameters(), (weight, bias, sigma, sigma_bias), strict=True):
            param.copy_(torch.tensor(value))
    return net


def test_noise_is_factorised_as_in_the_paper() -> None:
    """f(x) = sgn(x) sqrt(|x|); that of a weight is f of its input's times f of its output's (equations 10 and 11)."""
    net = one_layer([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [7.0, 8.0, 9.0], [[0.1] * 2, [0.2] * 2, [0.3] * 2], [1.0] * 3)
    noise = torch.tensor([4.0, -9.0, 1.0, -4.0, 0.0])  # f: inputs 2, -3; outputs 1, -2, 0
    found = net.weights(noise)
    weight = [[1 + 0.1 * 1 * 2, 2 + 0.1 * 1 * -3], [3 + 0.2 * -2 * 2, 4 + 0.2 * -2 * -3], [5.0, 6.0]]
    assert found.keys() == {"0.weight", "0.bias"}
    torch.testing.assert_close(found["0.weight"], torch.tensor(weight))
    torch.testing.assert_close(found["0.bias"], torch.tensor([7 + 1.0, 8 - 2.0, 9.0]))
    obs = torch.tensor([[1.0, 10.0]])
    torch.testing.assert_close(net(obs, noise), obs @ torch.tensor(weight).T + torch.tensor([[8.0, 6.0, 9.0]]))
    torch.testing.assert_close(net(obs), torch.tensor([[1 + 20 + 7, 3 + 40 + 8, 5 + 60 + 9.0]]))


def test_outputs_have_the_mean_and_the_variance_of_theory() -> None:
    """E f(e) = 0 and E f(e)^2 = E |e| = c, so the variance is c sigma_b^2 + c^2 sum_i sigma_i^2 x_i^2."""
    net = one_layer([[1.0, -2.0], [0.0, 0.5]], [0.5, 1.0], [[0.3, 0.7], [0.2, 0.1]], [0.4, 0.6])
    obs, generator = torch.tensor([[2.0, -1.0]]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = torch.vmap(net.weights)(net.draw(20_000, generator))
    samples = (drawn["0.weight"] @ obs[0]) + drawn["0.bias"]  # [20000, 2]
    c = math.sqrt(2 / math.pi)
    variance = torch.tensor([c * 0.4**2 + c**2 * (0.3**2 * 4 + 0.7**2), c * 0.6**2 + c**2 * (0.2**2 * 4 + 0.1**2)])
    torch.testing.assert_close(
        samples.mean(0), torch.tensor([4.5, 0.5]), atol=4 * variance.sqrt().max().item() / 141, rtol=0
    )
    torch.testing.assert_close(samples.var(0), variance, rtol=0.06, atol=0)


def test_layers_begin_as_in_the_paper() -> None:
    """Means uniform within 1 / sqrt(p), sigma 0.5 / sqrt(p) (section 3.2)."""
    torch.manual_seed(0)
    net = Noisy(mlp([100, 400, 2]))
    for layer, sigma, sigma_bias in ((net.net[0], *net.sigma[:2]), (net.net[2], *net.sigma[2:])):  # type: ignore[index, misc]
        bound = 1 / math.sqrt(layer.in_features)
        assert torch.equal(sigma, torch.full_like(layer.weight, 0.5 * bound))
        assert torch.equal(sigma_bias, torch.full_like(layer.bias, 0.5 * bound))
        assert layer.weight.abs().max() <= bound and layer.bias.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("dueling", [False, True])
def test_all_linear_layers_are_noisy_and_learn(kind: str, dueling: bool) -> None:
    space = SPACES[kind]
    space.seed(0)
    spec = spec_of(space, num_actions=3)
    net = q_network(spec, (16, 8), 1, NetworkOptions(), dueling, noisy=True)
    obs = torch.from_numpy(stored(spec, space, [space.sample() for _ in range(40)]))
    noise = net.draw(1, torch.Generator().manual_seed(0))[0]
    linear = [layer for layer in net.net.modules() if isinstance(layer, nn.Linear)]
    assert len(net.sigma) == 2 * len(linear)
    assert len(linear) == len(net.weights(noise)) // 2 >= 2
    torch.nn.functional.huber_loss(net(obs, noise)[:, 1], torch.ones(40)).backward()  # type: ignore[no-untyped-call]
    assert all(param.grad is not None and param.grad.abs().sum() > 0 for param in net.parameters())


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("num_values", [1, 5])
def test_without_noise_it_is_the_plain_network_of_the_same_seed(kind: str, num_values: int) -> None:
    space = SPACES[kind]
    spec = spec_of(space, num_actions=3)
    nets = []
    for noisy in (False, True):
        torch.manual_seed(0)
        nets.append(q_network(spec, (16, 8), num_values, noisy=noisy))
    obs = torch.from_numpy(stored(spec, space, [space.sample() for _ in range(4)]))
    assert torch.equal(nets[0](obs), nets[1](obs))


def samples_of(acting: Acting, noisy: Noisy, obs: Tensor, generator: torch.Generator) -> Tensor:
    acting.draw(noisy, generator)
    return acting(obs)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("options", [NetworkOptions(), NetworkOptions(norm="layer")])
@pytest.mark.parametrize("dueling", [False, True])
def test_what_acts_is_the_network_with_one_sample_of_its_noise(
    kind: str, options: NetworkOptions, dueling: bool
) -> None:
    space = SPACES[kind]
    spec = spec_of(space, num_actions=3)
    noisy = q_network(spec, (16, 8), 1, options, dueling, noisy=True)
    array = stored(spec, space, [space.sample() for _ in range(4)])
    obs, generator, acting = torch.from_numpy(array), torch.Generator().manual_seed(1), Acting(noisy)
    again = torch.Generator().manual_seed(1)
    with torch.no_grad():
        assert torch.equal(acting(obs), noisy(obs)), "of the means, at first"
        for _ in range(2):
            for param in noisy.parameters():  # it learned
                param.add_(0.01)
            found = samples_of(acting, noisy, obs, generator)
            torch.testing.assert_close(found, noisy(obs, noisy.draw(1, again)[0]))
            torch.testing.assert_close(torch.as_tensor(acting(array)), found, atol=1e-5, rtol=1e-5)
            assert isinstance(acting(array), np.ndarray) == (kind == "numbers"), "as fast as a plain one"
    assert not torch.equal(found, noisy(obs))
    assert not [*acting.parameters()] and len(acting.state_dict()) == len(noisy.net.state_dict())


def test_what_acts_does_so_by_its_own_weights_wherever_they_lie() -> None:
    acting = Acting(Noisy(mlp([2, 8, 3])))
    array = np.ones((1, 2), np.float32)
    acting(array)
    for name, value in [*acting.named_buffers()]:  # as where seeds are stacked
        acting.get_buffer(name).data = torch.zeros_like(value)
    assert not acting(array).any()
    other = copy.deepcopy(acting)
    with torch.no_grad():
        other.get_buffer("net.2.bias").add_(1.0)
    assert other(array).all() and not acting(array).any()
