"""Noisy networks: linear layers whose noise explores and is learned (Fortunato et al. 2018, arXiv:1706.10295).

A layer computes (mu + sigma * noise) x + (mu_b + sigma_b * noise_b) (equation 9). Here mu are the weights of a plain
network, and sigma lie beside it: the means alone are that network, and a sample of the noise makes another plain one.
Shapes: p inputs and q outputs of a layer, B batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

SIGMA = 0.5  # at the start, times 1 / sqrt(p) (section 3.2)


class Noisy(nn.Module):
    """A network all of whose linear layers have factorised Gaussian noise.

    Args:
        net: by default with weights as PyTorch draws them, those of the paper: uniform within 1 / sqrt(p).

    Attributes:
        sizes: p, q, p, q, ... of all layers.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        linear = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Linear)}
        self.layers, self.sizes, sigma = [*linear], list[int](), list[nn.Parameter]()
        for layer in linear.values():
            self.sizes += [layer.in_features, layer.out_features]
            start = SIGMA / layer.in_features**0.5
            sigma += [nn.Parameter(torch.full_like(mean, start)) for mean in (layer.weight, layer.bias)]
        self.sigma = nn.ParameterList(sigma)  # of a weight [q, p], of its bias [q], of the next weight, ...

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """Samples of the noise: [num, num_noise], p + q standard normal numbers of every layer."""
        return torch.randn(num, sum(self.sizes), generator=generator, device=generator.device)

    def size(self) -> float:
        """How large the noise is: the mean of |sigma| over the weights of the last layer."""
        return self.sigma[-2].abs().mean().item()

    def weights(self, noise: Tensor) -> dict[str, Tensor]:
        """Weights and biases of the linear layers with a sample of the noise [num_noise], by name (section 3, b)."""
        scaled = (noise.sign() * noise.abs().sqrt()).split(self.sizes)  # f(x) = sgn(x) sqrt(|x|)
        found = {}
        for i, name in enumerate(self.layers):
            layer: Any = self.net.get_submodule(name)
            of_input, of_output = scaled[2 * i : 2 * i + 2]
            found[f"{name}.weight"] = layer.weight + self.sigma[2 * i] * torch.outer(of_output, of_input)
            found[f"{name}.bias"] = layer.bias + self.sigma[2 * i + 1] * of_output
        return found

    def forward(self, obs: Any, noise: Tensor | None = None, **more: Any) -> Any:
        """Observations [B, ...] -> what the network gives, with a sample of the noise or, without one, of the means.

        What else it is given goes to the network.
        """
        return self.net(obs, **more) if noise is None else functional_call(self.net, self.weights(noise), (obs,), more)


def with_noise(nets: Sequence[Any], noise: Tensor | None) -> tuple[Callable[..., Any], ...]:
    """Networks with a sample of the noise each, independent of one another (section 3.1).

    Args:
        nets: each a `Noisy`, or any networks where there is no noise.
        noise: [number of networks, num_noise]; None: as they are.
    """
    if noise is None:
        return tuple(nets)
    return tuple(partial(net, noise=own) for net, own in zip(nets, noise, strict=True))


class Acting(nn.Module):
    """A network as it was with one sample of the noise: a plain one, which acts as fast as any.

    Its weights are buffers, as nothing learns them.

    Args:
        noisy: whose layers it has.
    """

    def __init__(self, noisy: Noisy) -> None:
        super().__init__()
        self.net = copy.deepcopy(noisy.net)
        for module in self.net.modules():
            for name, param in [*module.named_parameters(recurse=False)]:
                delattr(module, name)
                module.register_buffer(name, param.detach())

    def __call__(self, obs: Any) -> Any:
        """Observations [B, ...] -> what the network gives."""
        return self.net(obs)

    @torch.no_grad()
    def draw(self, noisy: Noisy, generator: torch.Generator) -> None:
        """Become the network as it is now, with a new sample of its noise."""
        now = dict(noisy.net.named_parameters()) | dict(noisy.net.named_buffers())
        now |= noisy.weights(noisy.draw(1, generator)[0])
        torch._foreach_copy_(list(self.net.buffers()), [now[name] for name, _ in self.net.named_buffers()])
