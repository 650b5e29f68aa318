"""What layers are made of, as options: activation, normalisation, initialisation, and the size of a CNN.

There is no batch normalisation, whose running statistics a loss may not change, and no dropout or weight normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rlgen.errors import UsageError
from rlgen.nets.spectral import FIRST, Spectral


@dataclass(frozen=True)
class LayerOptions:
    """For an algorithm's `Config` to extend; `auto` is what the algorithm's own file says."""

    # fixed: networks of other layers
    activation: Literal["auto", "relu", "leaky_relu", "elu", "gelu", "silu", "tanh"] = "auto"  # of hidden layers
    # fixed: networks of other layers
    norm: Literal["none", "layer", "rms"] = "none"  # before activations, LayerNorm or RMSNorm; in a CNN over channels
    # fixed: its weights
    init: Literal["auto", "torch", "orthogonal", "he", "xavier", "lecun"] = "auto"  # of weights; biases are then 0


@dataclass(frozen=True)
class NetworkOptions(LayerOptions):
    """The same, for an agent, whose observations may be pictures."""

    # fixed: networks of other sizes
    cnn_width: float = 1.0  # features of every convolution, times this; in (0, 64]
    # fixed: networks of other sizes
    cnn_depth: int | None = None  # convolutions, of impala blocks (None: as published); in [1, 32]
    # fixed: networks of other sizes
    cnn_pool: int | None = None  # the last maps are max-pooled to so many places a side (None: not); in [1, 64]
    # fixed: networks of other layers
    cnn_spectral_norm: bool = False  # divide weights of convolutions (of impala the residual ones) by their norm


PLAIN = NetworkOptions()
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}


def activation_of(options: LayerOptions, own: type[nn.Module]) -> type[nn.Module]:
    """The activation that is wanted, or an algorithm's own."""
    return ACTIVATIONS.get(options.activation, own)


def norms(options: LayerOptions, size: int) -> list[nn.Module]:
    """The normalisation of features [..., size], before their activation; none or one.

    Raises:
        UsageError: of one feature a LayerNorm is 0, whatever comes in.
    """
    if size == 1 and options.norm == "layer":
        raise UsageError("--norm layer over a layer of 1: it would be 0 whatever comes in; make the layer wider")
    return [NORMS[options.norm](size)] if options.norm in NORMS else []


class OverChannels(nn.Module):
    """A normalisation of the features at every place of a map: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(maps.movedim(-3, -1)).movedim(-1, -3)


def scaled_normal(weight: Tensor, gain: float) -> Tensor:
    """Normal, of a variance of gain ** 2 over the number of inputs (LeCun et al. 1998; He et al. 2015: sqrt(2))."""
    return nn.init.kaiming_normal_(weight, nonlinearity="linear").mul_(gain)


DRAWS: dict[str, tuple[Callable[[Tensor, float], Any], float]] = {  # how weights are drawn, and gain of hidden layers
    "orthogonal": (nn.init.orthogonal_, math.sqrt(2)),  # Saxe et al. 2014
    "he": (scaled_normal, math.sqrt(2)),
    "xavier": (nn.init.xavier_uniform_, 1.0),  # Glorot and Bengio 2010
    "lecun": (scaled_normal, 1.0),
}


@torch.no_grad()
def initialise(
    net: nn.Module, options: LayerOptions, last_gain: float | None = None, outputs: Sequence[nn.Module] = ()
) -> None:
    """Draw the weights of linear layers and convolutions as the options say, with biases of 0; nothing for `auto`.

    Args:
        net: whose layers.
        options: `torch` is how PyTorch draws them, biases too.
        last_gain: of layers of the output; None is 1.
        outputs: layers of the output; the last layer where none are given.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    for layer in layers if options.init != "auto" else ():
        if options.init == "torch":
            layer.reset_parameters()
            continue
        draw, gain = DRAWS[options.init]
        if layer in (outputs or layers[-1:]):
            gain = 1.0 if last_gain is None else last_gain
        weight = torch.empty_like(layer.weight, memory_format=torch.contiguous_format)
        draw(weight, gain)
        layer.weight.copy_(weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, Spectral):
            module.iterate(FIRST)
