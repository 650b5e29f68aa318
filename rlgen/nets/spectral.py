"""Spectral normalisation: a layer's weight over the largest singular value of its matrix.

Miyato et al. 2018, "Spectral normalization for generative adversarial networks" (arXiv:1802.05957), section 2.1. The
singular vectors are found by power iteration (appendix A, algorithm 1), a step before each update, which every learner
takes by itself. A loss reads them and changes nothing. Shapes: q outputs, p inputs, those at every place of a kernel.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import normalize

FIRST = 15  # steps for a weight that is new: the vectors begin at random
known: WeakKeyDictionary[nn.Module, list[Spectral]] = WeakKeyDictionary()


class Spectral(nn.Module):
    """A linear layer, a convolution or an embedding with the weight W / sigma(W) (equation 8); its matrix is [q, p].

    Gradients go through sigma too, and not through the vectors (equation 12). Where weights are drawn again later,
    `iterate(FIRST)` finds their vectors.

    Args:
        layer: with the weight W, [q, ...].

    Attributes:
        u: the left singular vector of the largest singular value, as it is known so far, [q].
        v: the right one, [p].
    """

    u: Tensor
    v: Tensor

    def __init__(self, layer: nn.Linear | nn.Conv2d | nn.Embedding) -> None:
        super().__init__()
        self.layer = layer
        num_out, num_in = layer.weight.flatten(1).shape
        self.register_buffer("u", torch.randn(num_out))
        self.register_buffer("v", torch.zeros(num_in))
        self.iterate(FIRST)

    @torch.no_grad()
    def iterate(self, steps: int = 1) -> None:
        """Steps of power iteration, in place."""
        matrix = self.layer.weight.flatten(1)  # [q, p]
        for _ in range(steps):
            self.v.copy_(normalize(matrix.T @ self.u, dim=0))
            self.u.copy_(normalize(matrix @ self.v, dim=0))

    def sigma(self) -> Tensor:
        """u^T W v, the largest singular value as it is known so far; 0-d."""
        return (self.layer.weight.flatten(1) * torch.outer(self.u, self.v)).sum()  # of bf16 no product of matrices

    def forward(self, value: Tensor) -> Any:
        """As of the layer."""
        return functional_call(self.layer, {"weight": self.layer.weight / self.sigma()}, (value,))


def power_iteration(net: nn.Module) -> None:
    """A step in every such layer of a network whose weight learns; those of a target network are copied with it."""
    layers = known.get(net)
    if layers is None:
        found = [each for each in net.modules() if isinstance(each, Spectral)]
        layers = known[net] = [each for each in found if each.layer.weight.requires_grad]
    for layer in layers:
        layer.iterate()
